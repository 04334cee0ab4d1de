"""Champions on a real MLflow: promotion, refusal, roll-back, and the ledger of all of it."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from flows.cli.withdrawals import way_out
from flows.config.errors import InputError
from flows.promotion.history import PromotionRecord, history, recorded_promotion, settle
from flows.promotion.promote import PromotionRefused, check_gates, earlier_champion, promote, propose, roll_back
from flows.registry.client import Registry, open_registry
from flows.registry.names import CHAMPION, WITHDRAWN_PREFIX
from flows.registry.references import ModelRef

Register = Callable[..., ModelRef]
Three = tuple[ModelRef, ModelRef, ModelRef]


@pytest.fixture
def desk(storage: Path) -> Registry:
    """The registry of a project of each test's own, as champions are of the models that a ladder registers."""
    return open_registry("desk", storage)


@pytest.fixture
def name() -> str:
    return "desk-policy"


@pytest.fixture
def three(register: Register, name: str) -> Three:
    """Versions whose gates passed."""
    first, second, third = (register(name, gate_status="passed", gate_agrees="pass") for _ in range(3))
    return first, second, third


def crown(desk: Registry, *refs: ModelRef) -> None:
    for ref in refs:
        promote(desk, propose(desk, ref.label), by="ann@desk", why=f"better, {ref.version}")


def champion(desk: Registry, name: str) -> str | None:
    found = desk.champion(name)
    return found.version if found else None


def moves(desk: Registry, name: str) -> list[tuple[str | None, str, str]]:
    return [(move.previous, move.version, move.how) for move in reversed(history(desk, name))]


def test_the_first_champion_replaces_nobody_and_is_recorded(desk: Registry, three: Three, name: str) -> None:
    proposal = propose(desk, f"{name}/1")
    assert (proposal.version, proposal.champion, proposal.blocking, proposal.differences) == (three[0], None, (), ())
    promote(desk, proposal, by="ann@desk", why="the first")
    assert champion(desk, name) == "1"
    (move,) = history(desk, name)
    assert timedelta(0) <= datetime.now(UTC) - move.when < timedelta(minutes=5)
    assert move == PromotionRecord(
        model=name, version="1", previous=None, by="ann@desk", why="the first", how="rlhf promote", forced=False,
        when=move.when, run_id=move.run_id,
    )  # fmt: skip


def test_a_name_alone_means_its_challenger(desk: Registry, three: Three, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} has no alias 'challenger'"):
        propose(desk, name)
    desk.set_alias(three[1], "challenger")
    crown(desk, three[0])
    proposal = propose(desk, name)
    assert proposal == propose(desk, f"{name}@challenger") == propose(desk, f"{name}/2")
    assert (proposal.version, proposal.champion) == (three[1], three[0])


def test_who_is_champion_already_cannot_become_it(desk: Registry, three: Three, name: str) -> None:
    crown(desk, three[0])
    with pytest.raises(InputError, match=f"{name}/1 is champion already"):
        propose(desk, f"{name}/1")


def test_what_went_into_one_only_is_named(desk: Registry, register: Register, name: str) -> None:
    run_a, run_b = desk.start_run("a"), desk.start_run("b")
    desk.log_params(run_a, {"reward-model": {"epochs": 1, "lr": 0.1}})
    desk.log_params(run_b, {"reward-model": {"epochs": 3, "lr": 0.1}})
    same = {"gate_status": "passed", "rlhf_code": "c1"}
    register(name, run_id=run_a, dataset_training="preferences:aaa", **same)
    register(name, run_id=run_b, dataset_training="preferences:bbb", **same)
    desk.set_alias(desk.reference(name, "1"), CHAMPION)
    assert propose(desk, f"{name}/2").differences == (
        "dataset.training: preferences:bbb, there preferences:aaa",
        "reward-model.epochs: 3, there 1",
    )


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"gate_status": "failed", "gate_agrees": "fail", "gate_ends": "pass"}, "gate agrees says fail"),
        ({"gate_status": "failed", "gate_agrees": "abstain"}, "gate agrees says abstain"),
        ({}, "no gate has judged it"),
    ],
)
def test_a_version_whose_gates_did_not_pass_is_refused_unless_a_reason_is_given(
    desk: Registry, register: Register, name: str, tags: dict[str, str], reason: str
) -> None:
    register(name, **tags)
    proposal = propose(desk, f"{name}/1")
    assert proposal.blocking == (reason,)
    with pytest.raises(PromotionRefused, match=f"{name}/1 is not promoted: {reason}.*--force --why"):
        check_gates(proposal, force=False, why="because")
    with pytest.raises(InputError, match="--why"):
        check_gates(proposal, force=True, why="")
    assert champion(desk, name) is None and history(desk, name) == []
    check_gates(proposal, force=True, why="the gate is broken")
    promote(desk, proposal, by="ann@desk", why="the gate is broken")
    (move,) = history(desk, name)
    assert move.forced and move.why == "the gate is broken"


def test_a_passed_version_is_not_forced_and_needs_no_reason(desk: Registry, three: Three, name: str) -> None:
    proposal = propose(desk, f"{name}/1")
    check_gates(proposal, force=True, why="")
    promote(desk, proposal, by="ann@desk")
    assert not history(desk, name)[0].forced


def test_a_proposal_that_another_promotion_overtook_changes_nothing(desk: Registry, three: Three, name: str) -> None:
    proposal = propose(desk, f"{name}/2")
    crown(desk, three[2])
    with pytest.raises(InputError, match=f"{name}/3 is champion by now; look again"):
        promote(desk, proposal, by="bob@desk")
    assert champion(desk, name) == "3" and len(history(desk, name)) == 1


@pytest.fixture
def slow_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record takes long enough for another promotion to check in the meantime."""

    def slowly(*arguments: Any, **named: Any) -> AbstractContextManager[None]:
        time.sleep(0.5)
        return recorded_promotion(*arguments, **named)

    monkeypatch.setattr("flows.promotion.promote.recorded_promotion", slowly)


def at_once(desk: Registry, *moves: Callable[[Registry], None]) -> list[str]:
    """Make moves at the same time, each by a registry of its own; what refused those that were refused."""
    barrier = Barrier(len(moves))

    def make(move: Callable[[Registry], None]) -> str | None:
        registry = open_registry("desk", desk.storage)
        barrier.wait(timeout=60)
        try:
            move(registry)
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(len(moves)) as pool:
        return [refusal for refusal in pool.map(make, moves) if refusal is not None]


@pytest.mark.usefixtures("slow_record")
def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(desk: Registry, three: Three, name: str) -> None:
    crown(desk, three[0])
    proposals = [propose(desk, f"{name}/{version}") for version in (2, 3)]
    refusals = at_once(desk, *(partial(promote, proposal=proposal, by="ann@desk") for proposal in proposals))
    now = champion(desk, name)
    assert now in ("2", "3") and refusals == [f"{name}: {name}/{now} is champion by now; look again"]
    assert moves(desk, name) == [(None, "1", "rlhf promote"), ("1", now, "rlhf promote")]


@pytest.mark.usefixtures("slow_record")
def test_promotions_at_once_that_each_look_again_are_all_in_the_history_in_order(
    desk: Registry, three: Three, name: str
) -> None:
    def until_it_is(ref: ModelRef) -> Callable[[Registry], None]:
        def move(registry: Registry) -> None:
            promoted = False
            while not promoted:
                with suppress(InputError):
                    crown(registry, ref)
                    promoted = True

        return move

    assert at_once(desk, *map(until_it_is, three)) == []
    made = moves(desk, name)
    assert sorted(version for _, version, _ in made) == ["1", "2", "3"]
    assert [previous for previous, _, _ in made] == [None, *(version for _, version, _ in made[:-1])]
    assert champion(desk, name) == made[-1][1]


@pytest.mark.usefixtures("slow_record")
def test_of_two_roll_backs_at_once_one_goes_back_and_the_other_is_told(desk: Registry, three: Three, name: str) -> None:
    crown(desk, *three)
    back = partial(roll_back, ref=earlier_champion(desk, name), past=three[2], by="ann@desk")
    assert at_once(desk, back, back) == [f"{name}: {name}/2 is champion by now; look again"]
    assert champion(desk, name) == "2" and moves(desk, name)[3:] == [("3", "2", "rlhf rollback")]


def test_going_back_twice_goes_back_two_champions(desk: Registry, three: Three, name: str) -> None:
    crown(desk, *three)
    for expected in ("2", "1"):
        earlier = earlier_champion(desk, name)
        assert earlier.version == expected
        roll_back(desk, earlier, past=desk.champion(name), by="bob@desk", why="worse than it looked")
        assert champion(desk, name) == expected
    with pytest.raises(InputError, match=f"{name} has no earlier champion"):
        earlier_champion(desk, name)
    crown(desk, three[2])
    assert earlier_champion(desk, name).version == "1"
    assert moves(desk, name) == [
        (None, "1", "rlhf promote"), ("1", "2", "rlhf promote"), ("2", "3", "rlhf promote"),
        ("3", "2", "rlhf rollback"), ("2", "1", "rlhf rollback"), ("1", "3", "rlhf promote"),
    ]  # fmt: skip


def test_a_withdrawal_sends_back_to_an_earlier_champion_where_there_is_one(
    desk: Registry, three: Three, name: str
) -> None:
    crown(desk, three[0])
    assert way_out(desk, name).startswith("rlhf run CONFIGURATION, and promote what comes of it")
    crown(desk, three[1])
    assert way_out(desk, name) == f"rlhf rollback {name}"
    desk.tag_versions([three[0]], {f"{WITHDRAWN_PREFIX}abc": "source week-2.csv, withdrawn today by ann: flipped"})
    assert "no earlier champion is without them" in way_out(desk, name)


def test_one_move_goes_back_several_champions(desk: Registry, three: Three, name: str) -> None:
    crown(desk, *three)
    back = earlier_champion(desk, f"{name}/1")
    with pytest.raises(InputError, match=f"{name}/3 is champion by now; look again"):
        roll_back(desk, back, past=three[1], by="bob@desk")
    roll_back(desk, back, past=three[2], by="bob@desk")
    assert champion(desk, name) == "1" and moves(desk, name)[3:] == [("3", "1", "rlhf rollback")]
    for never in ("1", "2", "3"):
        with pytest.raises(InputError, match=f"{name}/{never} was no champion before .* these were: none"):
            earlier_champion(desk, f"{name}/{never}")


def test_a_champion_that_somebody_set_in_mlflow_can_be_gone_back_from(desk: Registry, three: Three, name: str) -> None:
    crown(desk, three[0])
    desk.set_alias(three[2], CHAMPION)  # nobody recorded it
    assert earlier_champion(desk, name) == three[0]
    crown(desk, three[1])
    assert moves(desk, name)[-1] == ("3", "2", "rlhf promote")
    assert earlier_champion(desk, name) == three[2]


def test_one_who_lost_the_alias_is_the_one_to_go_back_to(desk: Registry, three: Three, name: str) -> None:
    crown(desk, three[0], three[1])
    desk.client.delete_registered_model_alias(name, CHAMPION)
    assert earlier_champion(desk, name) == three[1]


def test_deleted_versions_are_passed_over(desk: Registry, three: Three, name: str) -> None:
    crown(desk, *three)
    desk.client.delete_model_version(name, "2")
    assert earlier_champion(desk, name) == three[0]


def test_moves_of_one_model_or_of_all_are_listed_the_newest_first(
    desk: Registry, register: Register, three: Three, name: str
) -> None:
    other = register("desk-sft", gate_status="passed")
    crown(desk, three[0], other, three[1])
    assert [(move.model, move.version) for move in history(desk)] == [(name, "2"), ("desk-sft", "1"), (name, "1")]
    assert [move.version for move in history(desk, name)] == ["2", "1"]
    assert history(desk, "desk-nobody's") == []


def test_a_move_that_was_made_in_mlflow_is_kept_as_such(desk: Registry, three: Three, name: str) -> None:
    with recorded_promotion(
        desk, model=name, version="2", previous="1", by="mlflow", why="", how="MLflow", forced=True
    ):  # fmt: skip
        desk.set_alias(three[1], CHAMPION)
    (move,) = history(desk, name)
    assert (move.how, move.forced, move.previous, move.why) == ("MLflow", True, "1", "")


def test_models_of_another_project_are_refused(desk: Registry, register: Register) -> None:
    register("shop-reward-model", gate_status="passed")
    with pytest.raises(InputError, match=r"shop-reward-model is no model of project desk; .*--config"):
        propose(desk, "shop-reward-model/1")
    with pytest.raises(InputError, match="shop-reward-model is no model of project desk"):
        earlier_champion(desk, "shop-reward-model")


def alter(desk: Registry, ref: ModelRef, how: str) -> None:
    folder = desk.folder(ref)
    if how == "altered":
        (folder / "weights").write_bytes(b"\0\2")
    else:
        shutil.rmtree(folder)


@pytest.mark.parametrize(("how", "told"), [("altered", "do not match"), ("gone", "files are not at")])
def test_a_version_without_its_files_is_never_promoted(
    desk: Registry, three: Three, name: str, how: str, told: str
) -> None:
    proposal = propose(desk, f"{name}/2")
    alter(desk, three[1], how)
    for attempt in (lambda: propose(desk, f"{name}/2"), lambda: promote(desk, proposal, by="ann@desk")):
        with pytest.raises(InputError, match=told):
            attempt()
    assert champion(desk, name) is None and history(desk, name) == []
    crown(desk, three[0], three[2])
    assert champion(desk, name) == "3"


@pytest.mark.parametrize("how", ["altered", "gone"])
def test_nobody_goes_back_to_a_version_without_its_files(desk: Registry, three: Three, name: str, how: str) -> None:
    crown(desk, *three)
    alter(desk, three[1], how)
    with pytest.raises(InputError, match=f"{name}/2: "):
        roll_back(desk, earlier_champion(desk, name), past=desk.champion(name), by="ann@desk")
    assert champion(desk, name) == "3" and len(history(desk, name)) == 3


def test_a_champion_without_its_files_can_be_replaced(desk: Registry, three: Three, name: str) -> None:
    crown(desk, three[0])
    alter(desk, three[0], "gone")
    crown(desk, three[1])
    assert champion(desk, name) == "2"


def die_while_promoting(storage: Path, label: str, *, moved: bool) -> None:
    """Promote in a process that is killed beside the move of the alias: before it, or after it."""
    registry = open_registry("desk", storage)
    move = registry.set_alias

    def die(ref: ModelRef, alias: str) -> None:
        if moved:
            move(ref, alias)
        os.kill(os.getpid(), signal.SIGKILL)

    registry.set_alias = die  # type: ignore[method-assign]
    promote(registry, propose(registry, label), by="ann@desk")


@pytest.mark.parametrize("moved", [False, True])
def test_a_promotion_that_is_killed_is_what_the_alias_says(
    desk: Registry, three: Three, name: str, moved: bool
) -> None:
    crown(desk, *three[:2])
    killed = multiprocessing.get_context("spawn").Process(
        target=die_while_promoting, args=(desk.storage, three[2].label), kwargs={"moved": moved}
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    expected = [(None, "1", "rlhf promote"), ("1", "2", "rlhf promote"), ("2", "3", "rlhf promote")][: 2 + moved]
    assert moves(desk, name) == expected
    assert earlier_champion(desk, name) == three[moved]
    assert settle(desk) == [f"{name}/3 {'became' if moved else 'did not become'} champion"]
    assert settle(desk) == [] and moves(desk, name) == expected
