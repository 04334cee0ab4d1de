"""Withdrawn data are said of every version that was trained on them, and of no other."""

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from flows.attestation.keys import pipeline_key
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.lineage import withdrawing
from flows.lineage.archive import Archive
from flows.lineage.audit import audit
from flows.lineage.data_names import DataBook
from flows.lineage.finding import DOUBTS
from flows.lineage.impact import render
from flows.lineage.proof import prove
from flows.lineage.story import facts
from flows.lineage.withdrawing import listed, restore_data, withdraw_data
from flows.pipeline.reuse import require_passed
from flows.pipeline.run import LadderRun
from flows.pipeline.withdrawn import trained_on_withdrawn
from flows.promotion.promote import PromotionRefused, check_gates, propose
from flows.promotion.reconcile import _doubt_of_gates
from flows.registry.client import Registry
from flows.registry.contributors import CONTRIBUTORS_FILE, Contributors, keep_contributors
from flows.registry.names import CHALLENGER, PASSED, STATUS_TAG
from flows.registry.references import DatasetRef, StageOutcome, StageRecord
from flows.registry.withdrawals import DataName, withdrawals_in_force, withdrawn_keys
from flows.stages.reward_inputs import RewardInputs
from tests.flows.toys import Ladder, Toys


class Made(NamedTuple):
    """Two ladders: the second has pairs of a bad batch; SFT and below are those of the first."""

    toys: Toys
    good: Ladder
    bad: dict[str, str]
    pairs: DatasetRef


def contribute(ref: DatasetRef, *sources: str, without: tuple[str, ...] = (), annotators: tuple[str, ...] = ()) -> None:
    given = Contributors(sources=dict.fromkeys(sources, 2), annotators=dict.fromkeys(annotators, 2), without=without)
    (Path(ref.report) / CONTRIBUTORS_FILE).write_text(given.model_dump_json())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Made once; each test takes back what it withdraws."""
    with pytest.MonkeyPatch.context() as patch:
        storage = tmp_path_factory.mktemp("toys")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{storage / 'mlflow.db'}")
        yield two_ladders(Toys("toys", storage))


@pytest.fixture
def made(home: Made, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    assert storage.is_dir()  # the test's own, which is replaced here
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home.toys.storage / 'mlflow.db'}")
    registry = home.toys.registry
    registry.set_alias(registry.pin(home.bad["policy"]), CHALLENGER)
    yield home
    for withdrawal in withdrawals_in_force(registry.client, "toys"):
        restore_data(registry, "toys", withdrawal.target, why="the test is over", by="me")


def two_ladders(toys: Toys) -> Made:
    good = toys.ladder("good")
    pairs = toys.table("preferences", "bad")
    contribute(pairs, "week-1.csv", "week-2.csv", annotators=("ann", "ben"))
    training = {"training": pairs, "centring": good.demonstrations}
    reward_model = toys.stage("reward-model", "bad", {"sft": good.sft}, training)
    judge = toys.stage("judge", "bad", {"sft": good.sft}, training)
    above = {"sft": good.sft, "reward-model": reward_model, "judge": judge}
    policy = toys.stage("policy", "bad", above, {"training": good.prompts})
    refs = {"reward-model": reward_model, "judge": judge, "policy": policy}
    toys.registry.tag_versions(refs.values(), {STATUS_TAG: PASSED})
    return Made(toys, good, {stage: ref.label for stage, ref in refs.items()}, pairs)


def marked(registry: Registry) -> set[str]:
    versions = Archive(registry.client).everything().versions
    return {label for label, version in versions.items() if version.withdrawn}


def test_every_version_with_the_batch_is_marked_and_no_other(made: Made) -> None:
    registry = made.toys.registry
    withdrawal, versions = withdraw_data(registry, "toys", "week-2.csv", why="labels flipped", by="ann@desk")
    assert {version.label for version in versions} == {*made.bad.values()} == marked(registry)
    assert "source week-2.csv went into 3 of" in said_of(registry, "source:week-2.csv")
    assert "withdrawn" in said_of(registry, "week-2.csv") and "labels flipped" in said_of(registry, "week-2.csv")
    policy = registry.pin(made.bad["policy"])
    assert CHALLENGER not in registry.client.get_registered_model(policy.name).aliases
    archive = Archive(registry.client)
    assert ("withdrawn", withdrawal.sentence) in facts(archive.find(policy.label), None)
    findings = [item for item in audit(archive, [archive.find(policy.label)]) if item.status == "withdrawn"]
    assert {item.of for item in findings} == {*made.bad.values()} and "withdrawn" not in DOUBTS
    assert all("labels flipped" in item.detail and "by ann@desk" in item.detail for item in findings)
    with pytest.raises(InputError, match="left out already"):
        withdraw_data(registry, "toys", "source:week-2.csv", why="again", by="ben@desk")
    *_, row = listed(registry, "toys")
    assert (row["why"], row["versions"]) == ("labels flipped", sorted(made.bad.values()))


def said_of(registry: Registry, source: str) -> str:
    console = Console(width=500, record=True, file=io.StringIO())
    console.print(render(Archive(registry.client), source))
    return console.export_text()


def test_nobody_promotes_or_trains_on_a_marked_version(made: Made) -> None:
    registry = made.toys.registry
    withdraw_data(registry, "toys", "annotator:ben", why="asks to be forgotten", by="ann@desk")
    policy = registry.pin(made.bad["policy"])
    with pytest.raises(PromotionRefused, match=r"trained on annotator ben, withdrawn .* asks to be forgotten"):
        check_gates(propose(registry, policy.label), force=False, why="")
    check_gates(propose(registry, policy.label), force=True, why="nothing else runs")
    held = _doubt_of_gates(registry.client.get_model_version(policy.name, policy.version))
    assert held.startswith("it was trained on annotator ben")
    with pytest.raises(InputError, match=r"was trained on annotator ben.* name another version"):
        require_passed(policy, registry)


def test_a_climb_that_read_the_batch_before_gives_no_alias(made: Made) -> None:
    registry, context = made.toys.registry, made.toys.context
    policy = registry.pin(made.bad["policy"])
    record = StageRecord(
        stage="policy",
        key="k",
        ladder_run=context.run_id,
        run_id=policy.run_id,
        models={"policy": policy},
        estimates={},
    )
    run = LadderRun(LadderConfig(project="toys"), context, "CONFIG", RewardInputs(), what="ladder", verb="trained")
    run.stages["policy"] = StageOutcome(record, reused=False)
    run.set_alias()
    assert run.published and registry.pin(f"{policy.name}@{CHALLENGER}") == policy
    withdraw_data(registry, "toys", "week-2.csv", why="labels flipped", by="ann@desk")
    run.set_alias()
    assert not run.published and CHALLENGER not in registry.client.get_registered_model(policy.name).aliases
    (verdict,) = run.withdrawn
    assert (verdict.gate, verdict.status) == ("not-withdrawn", "fail")
    assert f"{policy.label} was trained on source week-2.csv" in verdict.explanation
    # what is made of a marked version after that is marked too, though its own data are fine
    child = made.toys.stage("policy", "child", {"sft": made.good.sft, "last": policy}, {"training": made.good.prompts})
    later = record.model_copy(update={"models": {"policy": child}})
    assert trained_on_withdrawn([later], context) and child.label in marked(registry)


def test_the_same_table_made_without_the_batch_takes_the_marks_back(made: Made) -> None:
    registry = made.toys.registry
    withdraw_data(registry, "toys", "week-1.csv", why="wrong file", by="ann@desk")
    assert marked(registry) >= {*made.bad.values()}
    again = made.pairs.model_copy(update={"report": str(made.toys.storage / "ingests" / "later" / "preferences")})
    Path(again.report).mkdir(parents=True)
    contribute(again, "week-2.csv", without=("source:week-1.csv",))
    keep_contributors([again], "toys", registry)
    policy = registry.pin(made.bad["reward-model"])
    record = StageRecord(
        stage="reward-model", key="k", ladder_run="r", run_id=policy.run_id, models={"m": policy}, estimates={}
    )
    assert trained_on_withdrawn([record], made.toys.context) == []
    assert policy.label not in marked(registry)


def test_what_is_taken_back_is_no_mark(made: Made) -> None:
    registry = made.toys.registry
    withdraw_data(registry, "toys", "week-2.csv", why="labels flipped", by="ann@desk")
    with pytest.raises(InputError, match=r"names 0 withdrawals; withdrawn are source:week-2\.csv"):
        restore_data(registry, "toys", "week-3.csv", why="", by="ann@desk")
    restore_data(registry, "toys", "week-2.csv", why="they were right", by="ann@desk")
    assert marked(registry) == set() and withdrawals_in_force(registry.client, "toys") == []
    *_, row = listed(registry, "toys")
    assert "they were right" in row["restored"]


def test_names_match_exactly_and_the_nearest_are_said(made: Made) -> None:
    book = DataBook(Archive(made.toys.registry.client), ["toys"])
    assert book.find("ann") == DataName("annotator", "ann")
    assert book.find(f"dataset:{made.pairs.digest[:8]}").name == made.pairs.digest
    with pytest.raises(InputError, match=r"no source of the data is called so; did you mean week-[12]\.csv"):
        book.find("source:week-22.csv")
    with pytest.raises(InputError, match="no annotator of the data is called so; did you mean ann"):
        book.find("annotator:anna")
    with pytest.raises(InputError, match="starts no digest that a version names; there are "):
        book.find("dataset:ffff0000")
    assert book.find("group:good").kind == "group"
    assert book.digests(book.find("group:bad")) == {made.pairs.digest}
    with pytest.raises(InputError, match="no group of the data is called so"):
        book.find("group:goods")


def test_a_dataset_takes_along_whatever_shares_its_rows(made: Made) -> None:
    registry = made.toys.registry
    prompts = f"dataset:{made.good.prompts.digest[:12]}"
    withdrawal, versions = withdraw_data(registry, "toys", prompts, why="old guideline", by="a@b")
    assert {version.name for version in versions} == {"toys-policy"} and withdrawal.table == "prompts"
    assert {made.good.policy.label, made.bad["policy"]} <= {version.label for version in versions}
    assert len(withdrawn_keys(registry.client, withdrawal)) == 2


def test_snapshots_of_before_tell_their_sources_themselves(made: Made) -> None:
    book = DataBook(Archive(made.toys.registry.client), ["toys"])
    old = {made.good.demonstrations.digest, made.good.preferences.digest, made.good.prompts.digest}
    assert book.digests(book.find("source:a")) == old


def test_two_who_withdraw_the_same_at_once_are_one_and_a_refusal(made: Made) -> None:
    said: list[object] = []

    def withdraw_it(by: str) -> None:
        try:
            said.append(withdraw_data(made.toys.registry, "toys", "week-2.csv", why="labels flipped", by=by)[0].by)
        except InputError as error:
            said.append(error)

    threads = [threading.Thread(target=withdraw_it, args=(by,)) for by in ("ann", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(one).__name__ for one in said) == ["InputError", "str"]
    assert len(withdrawals_in_force(made.toys.registry.client, "toys")) == 1


@pytest.mark.parametrize("step", ["settle_marks", "_state"])
def test_a_withdrawal_that_was_cut_off_is_brought_to_its_end_by_typing_it_again(
    made: Made, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    registry = made.toys.registry

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def unproved() -> set[tuple[str, str]]:
        found = prove(Archive(registry.client), None, [pipeline_key(registry.storage).public_key])
        return {(item.of, item.what) for item in found if item.status in DOUBTS}

    before = unproved()  # toys are made without statements
    with monkeypatch.context() as patch:
        patch.setattr(withdrawing, step, cut_off)
        with pytest.raises(KeyboardInterrupt):
            withdraw_data(registry, "toys", "week-2.csv", why="labels flipped", by="ann@desk")
    assert unproved() - before
    withdrawal, versions = withdraw_data(registry, "toys", "week-2.csv", why="again", by="ben@desk")
    assert (withdrawal.why, withdrawal.by) == ("labels flipped", "ann@desk")
    assert {*made.bad.values()} <= {version.label for version in versions} == marked(registry)
    assert unproved() <= before
    with pytest.raises(InputError, match="left out already"):
        withdraw_data(registry, "toys", "week-2.csv", why="once more", by="ben@desk")
    with monkeypatch.context() as patch:
        patch.setattr(withdrawing, step, cut_off)
        with pytest.raises(KeyboardInterrupt):
            restore_data(registry, "toys", "week-2.csv", why="they were right", by="ann@desk")
    assert "they were right" in restore_data(registry, "toys", "week-2.csv", why="again", by="ben@desk").restored
    assert marked(registry) == set() and unproved() <= before
    with pytest.raises(InputError, match="names 0 withdrawals"):
        restore_data(registry, "toys", "week-2.csv", why="once more", by="ben@desk")


def test_many_sources_are_kept_whole(storage: Path) -> None:
    toys = Toys("toys", storage)
    pairs = toys.table("preferences", "many")
    names = tuple(f"exports/vendor {number}.csv" for number in range(400))  # far more than one tag holds
    contribute(pairs, *names)
    toys.stage("reward-model", "many", {}, {"training": pairs})
    kept = next(
        one for one in DataBook(Archive(toys.registry.client), ["toys"]).snapshots if one.digest == pairs.digest
    )
    assert kept.names("source") == {*names} and json.loads(kept.ingestions[0].model_dump_json())["without"] == []
