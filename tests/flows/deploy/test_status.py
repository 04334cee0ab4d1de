"""One screen on a project: what a local registry and a server say, and what needs a person."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.config.freshness import FreshnessConfig, overdue
from flows.config.ladder import LadderConfig
from flows.config.promotion import PromotionConfig
from flows.deploy.status.report import Concern, as_json, lines, status_of
from flows.promotion.outbox import Outbox
from flows.promotion.promote import promote, propose
from flows.registry.glance import glance
from flows.registry.names import (
    APPROVED_TAG,
    CHALLENGER,
    CHAMPION,
    DATA_TAG,
    FAILED,
    OUTCOME_TAG,
    PROCESS_TAG,
    STAGE_TAG,
    STATUS_TAG,
    WITHDRAWN_PREFIX,
)
from tests.conftest import Finished
from tests.flows.toys import Toys

DAY = 86_400.0


def test_what_is_older_than_it_may_be_is_overdue() -> None:
    settings = FreshnessConfig(champion_days=30, data_days=7)
    assert overdue(settings, {"desk-policy/3": 0.0}, 24 * DAY, 29 * DAY) == []
    assert overdue(settings, {"desk-policy/3": 0.0}, 24 * DAY, 31.5 * DAY) == [
        "desk-policy/3 is overdue as champion: made 31.5 days ago, 30 may pass",
        "data are overdue: nothing new for 7.5 days, 7 may pass",
    ]
    assert overdue(FreshnessConfig(), {"desk-policy/3": 0.0}, 0.0, 999 * DAY) == []
    assert overdue(settings, {}, None, 999 * DAY) == []


def test_the_state_of_a_project_and_what_needs_a_person(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK", str(storage / "stack"))
    toys = Toys("toys", storage)
    client, registry = toys.registry.client, toys.registry
    config = LadderConfig(project="toys", storage=storage)
    sft, policy = toys.stage("sft", "a"), toys.stage("policy", "a")
    registry.set_alias(sft, CHAMPION)
    for ref in (policy, toys.stage("value", "a")):  # nobody promotes a value model by itself
        registry.set_alias(ref, CHALLENGER)
    registry.tag_run(toys.context.run_id, {STAGE_TAG: "ladder", OUTCOME_TAG: "trained sft", DATA_TAG: "d1"})
    registry.end_run(toys.context.run_id, "FINISHED")
    well = status_of(config, "ladder.yaml")
    assert [version.label for version in well.champions] == [sft.label]
    assert [version.label for version in well.waiting] == [policy.label]
    assert well.last is not None and well.last.run_id == toys.context.run_id
    assert well.concerns == [] and "nothing needs a person" in [*lines(well)]

    registry.tag_versions([sft], {f"{WITHDRAWN_PREFIX}abc": "source week-2.csv, withdrawn today by ann: flipped"})
    Outbox(storage / "stack" / "receiver" / "ledger.db").add(sft.name, sft.version, held="its gate.status is 'failed'")
    failed = registry.start_run("ladder", tags={STAGE_TAG: "ladder", OUTCOME_TAG: "stopped by gate kl"})
    registry.end_run(failed, "FAILED")
    dead = registry.start_run("ladder", tags={STAGE_TAG: "ladder"})
    client.set_tag(dead, PROCESS_TAG, client.get_run(dead).data.tags[PROCESS_TAG].rpartition(":")[0] + ":1")
    late = config.model_copy(update={"freshness": FreshnessConfig(champion_days=1e-9, data_days=1e-9)})
    unwell = status_of(late, "ladder.yaml")
    todo = {concern.what.split(":")[0]: concern.todo for concern in unwell.concerns}
    assert todo[f"champion {sft.label} was trained on source week-2.csv, withdrawn today by ann"] == (
        f"rlhf rollback {sft.name}, or promote another version"
    )
    assert todo[f"the promotion of {sft.label} is held"].startswith(f"rlhf rollback {sft.name}")
    assert todo[f"{sft.label} is overdue as champion"] == "rlhf run ladder.yaml, once data are new"
    assert "data are overdue" in todo and len(unwell.overdue) == 2
    assert (
        Concern(
            f"run {dead} (ladder) says that it is running, and its process is dead", "rlhf doctor ladder.yaml --fix"
        )
        in unwell.concerns
    )
    assert json.loads(json.dumps(as_json(unwell)))["last_run"]["status"] == "RUNNING"
    client.delete_run(dead)
    assert "the last run did not come to its end: stopped by gate kl" in [
        one.what for one in status_of(config, "c").concerns
    ]


def test_a_champion_waits_for_a_second_person_where_two_must_sign(storage: Path) -> None:
    toys = Toys("toys", storage)
    config = LadderConfig.model_validate({"project": "toys", "storage": storage, "promotion": {"two_people": True}})
    sft = toys.stage("sft", "a")
    toys.registry.set_alias(sft, CHAMPION)
    waits = Concern(
        f"champion {sft.label} waits for a second person, and nothing starts from it", f"rlhf approve {sft.label}"
    )
    assert waits in status_of(config, "c").concerns
    assert waits not in status_of(config.model_copy(update={"promotion": PromotionConfig()}), "c").concerns
    toys.registry.tag_versions([sft], {APPROVED_TAG: "Ada"})
    assert waits in status_of(config, "c").concerns
    toys.registry.tag_versions([sft], {APPROVED_TAG: "Ada, Bob"})
    assert waits not in status_of(config, "c").concerns


def test_data_are_as_old_as_their_first_reading(storage: Path) -> None:
    toys = Toys("toys", storage)
    for digest in ("d1", "d2", "d2"):
        toys.registry.start_run("ladder", tags={STAGE_TAG: "ladder", DATA_TAG: digest})
        time.sleep(0.01)
    newest, *_ = glance().runs("toys", DATA_TAG)
    first, *_ = glance().runs("toys", DATA_TAG, newest.tags[DATA_TAG], newest=False)
    assert newest.tags[DATA_TAG] == "d2" == first.tags[DATA_TAG] and first.started < newest.started


def test_the_command_tells_by_its_exit_code(rlhf: Callable[..., Finished], tmp_path: Path) -> None:
    nothing = rlhf("status", "configs/tiny.yaml", "--set", f"storage={tmp_path / 'none'}")
    assert nothing.returncode == 2 and "climb first with `rlhf run`" in nothing.stderr
    assert not (tmp_path / "none").exists()


def test_a_champion_whose_gates_failed_is_told_unless_somebody_forced_it(storage: Path) -> None:
    toys = Toys("toys", storage)
    config = LadderConfig(project="toys", storage=storage)
    policy = toys.stage("policy", "a")
    toys.registry.tag_versions([policy], {STATUS_TAG: FAILED})
    toys.registry.set_alias(policy, CHAMPION)  # as by MLflow's page
    told = [concern for concern in status_of(config, "ladder.yaml").concerns if "gates" in concern.what]
    assert [concern.todo for concern in told] == [f"rlhf rollback {policy.name}, or promote another version"]
    toys.registry.client.delete_registered_model_alias(policy.name, CHAMPION)
    promote(toys.registry, propose(toys.registry, policy.label), by="ann", why="to try it")
    assert not [concern for concern in status_of(config, "ladder.yaml").concerns if "gates" in concern.what]


def test_a_project_whose_name_begins_another_ones_shows_only_its_own(storage: Path) -> None:
    for project in ("toys", "toys-sft"):
        toys = Toys(project, storage)
        toys.registry.set_alias(toys.stage("policy", "a"), CHAMPION)
    seen = [glance().aliased(project) for project in ("toys", "toys-sft")]
    assert [[version.label for version in versions] for versions in seen] == [["toys-policy/1"], ["toys-sft-policy/1"]]
