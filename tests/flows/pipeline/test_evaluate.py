"""Evaluation leaves out what a version was trained on: a real small reward model on real snapshots and a registry."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from data_contracts.records import Kind
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.lineage.archive import Archive
from flows.lineage.finding import DOUBTS
from flows.lineage.recomputation import Recomputation
from flows.pipeline.evaluate import held_out_rows, measure
from flows.registry.client import Registry
from flows.registry.context import RunContext
from flows.registry.names import CONFIGURATION, EVALUATION, KEY_TAG, STAGE_TAG, verdicts_record
from flows.registry.references import DataRefs, DatasetRef, ModelRef, StageRecord
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Demonstration
from rlhf_core.evaluators.reward_model import score
from rlhf_core.gates.gate import Gate, Verdict, judge
from tests.flows.toys import keep_table

CONFIG = LadderConfig(project="desk", seed=3)
THINGS = ("kettle", "bike", "phone", "lamp", "oven", "car", "door", "knife", "plant", "shoes")
PAIRS = [
    (f"how do i {verb} my {thing} ?", f"you should check the {thing} .", f"buy another {thing} .")
    for verb in ("fix", "clean", "charge")
    for thing in THINGS
]
TRAINED, HELD_OUT = PAIRS[:12], PAIRS[8:]
"""Four pairs are in both."""


class Desk(NamedTuple):
    """A reward model that was trained on TRAINED and tuned on the first of two other pairs; what measures it now."""

    registry: Registry
    version: ModelRef
    data: DataRefs
    context: RunContext


@pytest.fixture
def evaluated(
    desk: Registry, desk_home: Path, register: Callable[..., ModelRef], scorer: Path, speaker: Path, tmp_path: Path
) -> Desk:
    def table(kind: Kind, **splits: Sequence[tuple[str, str, str]]) -> DatasetRef:
        columns = ("prompt", "chosen", "rejected") if kind == "preferences" else ("prompt", "response")
        votes = {"votes_chosen": 1, "votes_rejected": 0} if kind == "preferences" else {}
        rows = [
            dict(zip(columns, row, strict=False)) | votes | {"split": split, "group": row[0]}
            for split, part in splits.items()
            for row in part
        ]
        return keep_table(kind, pd.DataFrame(rows), tmp_path)

    demonstrations = table("demonstrations", train=PAIRS[:1], test=PAIRS[1:2])
    tuned_and_not = [PAIRS[20], ("how do i mend my heart ?", "time .", "no .")]
    runs = [desk.start_run("stage", parent=desk.start_run("ladder"), tags={STAGE_TAG: "reward-model"}) for _ in "12"]
    desk.log_datasets(runs[0], {"training": demonstrations})
    desk.log_datasets(runs[1], {"training": table("preferences", train=TRAINED, test=tuned_and_not)})
    for run in runs:
        desk.end_run(run, "FINISHED")
    sft = register("desk-sft", speaker, run_id=runs[0])
    version = register("desk-reward-model", scorer, run_id=runs[1], parent_sft=sft.label, **{KEY_TAG: "key"})
    data = DataRefs(
        datasets={"demonstrations": demonstrations, "preferences": table("preferences", train=TRAINED, test=HELD_OUT)},
        counts={},
        report=str(tmp_path),
        ladder_run="run",
        seconds=0.0,
    )
    context = RunContext(project="desk", seed=3, storage=desk_home, threads=None, run_id=desk.start_run("evaluate"))
    return Desk(desk, version, data, context)


def test_a_version_is_judged_by_the_pairs_that_it_neither_learned_from_nor_was_tuned_on(
    evaluated: Desk, scorer: Path
) -> None:
    registry, version, data, context = evaluated
    rows = held_out_rows("reward-model", [version], data, registry)
    record = StageRecord.model_validate(measure.fn("reward-model", version, rows, CONFIG, data, context))
    judging = [pair for pair in PAIRS[12:] if pair != PAIRS[20]]
    scores = [
        score(scorer, [Demonstration(pair[0], pair[side]) for pair in judging], RewardModelConfig()) for side in (1, 2)
    ]
    agreement = record.estimates["agreement"]
    assert (agreement.n, agreement.value) == (17, pytest.approx(np.greater(*scores).mean()))
    said = f"4 of 22 held-out pairs left out, which these were trained on: {version.label} (4)"
    assert record.outcome == said
    metrics = registry.client.get_run(record.run_id).data.metrics
    assert (metrics["left_out_rows"], metrics["held_out_rows"]) == (4.0, 22.0)


def test_an_audit_judges_an_evaluation_by_the_rows_that_it_kept(evaluated: Desk) -> None:
    registry, version, data, context = evaluated
    rows = held_out_rows("reward-model", [version], data, registry)
    record = StageRecord.model_validate(measure.fn("reward-model", version, rows, CONFIG, data, context))
    asked = {"name": "agrees", "metric": "agreement", "direction": "above", "threshold": 0.0, "min_samples": 5}
    gates = [Gate.model_validate({**asked, "failure": "disagrees", "reason": "for the test"})]
    (verdict,) = judge(gates, record.estimates)
    settings = {"reward_model": [gate.model_dump() for gate in gates], "abstain_blocks": True}
    registry.client.log_dict(context.run_id, {"gates": settings}, CONFIGURATION)
    registry.tag_run(context.run_id, {STAGE_TAG: EVALUATION, "stage.reward-model": version.label})
    registry.tag_versions([version], {"gate.agrees": verdict.status, "gate.status": "passed"})

    def audited(said: Verdict) -> dict[tuple[str, str], str]:
        document = {"verdicts": [said.model_dump(mode="json")]}
        registry.client.log_dict(context.run_id, document, verdicts_record("reward-model"))
        archive = Archive(registry.client)
        training = archive.training(version.run_id)
        assert training is not None
        findings = Recomputation(archive).findings(archive.find(version.label), training)
        return {(each.what, each.status): each.detail for each in findings}

    found = audited(verdict)
    assert {"figures", "verdicts", "tables", "gates"} <= {what for what, status in found if status == "holds"}
    assert "follow from" in found["figures", "holds"] and not [what for what, status in found if status in DOUBTS]
    assert "value: recorded 0.9" in audited(verdict.model_copy(update={"value": 0.99}))["verdict agrees", "differs"]


def test_a_version_that_learned_from_all_that_is_held_out_is_not_judged(evaluated: Desk) -> None:
    registry, version, data, _ = evaluated
    known = data.model_copy(update={"datasets": {**data.datasets, "preferences": data.demonstrations}})
    with pytest.raises(InputError, match=f"{version.label}: 0 of 1 held-out pairs are left to judge it by, as 1 of 1"):
        held_out_rows("reward-model", [version], known, registry)
