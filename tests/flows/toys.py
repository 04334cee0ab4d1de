"""Ladders of toys on a real registry: each stage writes two small files instead of training, all else is real."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from data_contracts.records import Kind
from flows.attestation.statement import JUDGEMENT, PROMOTION
from flows.config.compute import ComputeConfig
from flows.registry.client import Registry, open_registry
from flows.registry.context import RunContext
from flows.registry.dataset_uploads import DIGEST_FILE
from flows.registry.names import CHAMPION, CONFIGURATION, FAILED, GATE_PREFIX, STAGE_PREFIX, STATUS_TAG, verdicts_record
from flows.registry.references import Counts, DatasetRef, ModelRef, StageRecord
from flows.registry.statements import holds_alias, holds_versions, state, version_subject
from flows.stages.finished import FinishedTraining
from flows.stages.plan import Plan
from flows.stages.runner import register, train
from flows.storage.cached_results import unsealed
from flows.storage.snapshots import SnapshotWriter
from rlhf_core.config import Frozen
from rlhf_core.gates.gate import Gate, judge
from rlhf_core.metrics.estimates import point
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Event, Stage, StageResult

TEMPERATURE = 1.25


class ToyConfig(Frozen):
    """What a toy says."""

    text: str


class Ladder(NamedTuple):
    """The versions of a toy ladder, and its tables."""

    base: ModelRef
    sft: ModelRef
    reward_model: ModelRef
    judge: ModelRef
    policy: ModelRef
    demonstrations: DatasetRef
    preferences: DatasetRef
    prompts: DatasetRef


class Toys:
    """Makes toys of a project in a storage folder; the environment says where MLflow is."""

    def __init__(self, project: str, storage: Path, price: float | None = None) -> None:
        self.storage = storage
        self.registry: Registry = open_registry(project, storage)
        self.context = RunContext(
            project=project,
            seed=1,
            storage=storage,
            threads=None,
            run_id=self.registry.start_run("ladder"),
            compute=ComputeConfig(price_per_hour=price),
        )

    def table(self, kind: Kind, text: str) -> DatasetRef:
        """A snapshot of two rows with its report, one more row being quarantined."""
        rows = [
            {"prompt": f"{text} {kind} {row}", "group": text, "source": "a", "row": row, "split": "train"}
            for row in (1, 2)
        ]
        folder = self.storage / "work"
        folder.mkdir(parents=True, exist_ok=True)
        writer = SnapshotWriter(folder / "temporary")
        writer.add(pd.DataFrame(rows))
        writer.close()
        snapshot = writer.publish(kind, self.storage / "snapshots")
        report = self.storage / "ingests" / text / kind
        report.mkdir(parents=True, exist_ok=True)
        counts = Counts(
            rows=3, records=3, written=2, merged=0, quarantined=1, by_rule={"too_odd": 1}, left_out={}, sources={"a": 2}
        )
        (report / "counts.json").write_text(json.dumps(counts.model_dump(mode="json")))
        (report / DIGEST_FILE).write_text(snapshot.digest)
        return DatasetRef(
            name=kind,
            digest=snapshot.digest,
            path=str(snapshot.path),
            rows=2,
            splits=snapshot.split_rows,
            sources=("a",),
            report=str(report),
        )

    def stage(
        self,
        name: str,
        text: str,
        parents: Mapping[str, ModelRef] | None = None,
        datasets: Mapping[str, DatasetRef] | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> ModelRef:
        """Train and register a toy."""

        def start(out: Path, _: Checkpoints) -> Stage:
            (out / "config.json").write_text("{}")
            (out / "weights").write_text(text)
            yield from _one_step()
            return StageResult(artifacts={name: out}, estimates={"temperature": point(TEMPERATURE, 10)})

        plan = Plan(
            stage=name,
            config=ToyConfig(text=text),
            seed=1,
            start=start,
            main=name,
            models={name: "A toy"},
            uses={},
            parents=parents or {},
            datasets=datasets or {},
            sources=sources or {},
            alone=True,
        )
        trained = unsealed(FinishedTraining, train.fn(plan.key, plan, self.context))
        assert trained is not None
        record = StageRecord.model_validate(register.fn(plan.key, plan, self.context, trained))
        shutil.rmtree(self.storage / "work")  # as a stage does that came to its end
        return record.model

    def judge(self, policy: ModelRef) -> None:
        """Verdicts on a toy, of which one abstains, as a run of the pipeline leaves them."""
        asked = {"kl-budget": ("temperature", "below", 6.5), "judge-gain": ("judge_reward_gain", "above", 0.0)}
        words = {"min_samples": 1, "failure": "bad", "reason": "for the test"}
        gates = [
            Gate.model_validate({"name": name, "metric": metric, "direction": way, "threshold": bound, **words})
            for name, (metric, way, bound) in asked.items()
        ]
        verdicts = judge(gates, {"temperature": point(TEMPERATURE, 10)})
        settings = {"policy": [gate.model_dump() for gate in gates], "abstain_blocks": True}
        run_id, client = self.context.run_id, self.registry.client
        client.log_dict(run_id, {"gates": settings}, CONFIGURATION)
        client.log_dict(run_id, {"verdicts": [verdict.model_dump() for verdict in verdicts]}, verdicts_record("policy"))
        self.registry.tag_run(run_id, {f"{STAGE_PREFIX}policy": policy.label})
        tags = {f"{GATE_PREFIX}{verdict.gate}": verdict.status for verdict in verdicts}
        self.registry.tag_versions([policy], {**tags, STATUS_TAG: FAILED})
        holds = holds_versions(self.registry, [policy], "tags")
        state(self.registry, JUDGEMENT, [version_subject(policy)], {"run": run_id}, holds)

    def crown(self, policy: ModelRef) -> None:
        """Make a toy champion, and state it."""
        self.registry.set_alias(policy, CHAMPION)
        holds = holds_alias([policy], CHAMPION)
        state(self.registry, PROMOTION, [version_subject(policy)], {"alias": CHAMPION}, holds)

    def ladder(self, text: str) -> Ladder:
        """All rungs."""
        demonstrations, preferences, prompts = (
            self.table("demonstrations", text),
            self.table("preferences", text),
            self.table("prompts", text),
        )
        base = self.stage("base", text)
        sft = self.stage("sft", text, {"base": base}, {"training": demonstrations})
        pairs = {"training": preferences, "centring": demonstrations}
        reward_model = self.stage("reward-model", text, {"sft": sft}, pairs)
        judge = self.stage("judge", text, {"sft": sft}, pairs)
        above = {"sft": sft, "reward-model": reward_model, "judge": judge}
        policy = self.stage("policy", text, above, {"training": prompts})
        return Ladder(base, sft, reward_model, judge, policy, demonstrations, preferences, prompts)


def _one_step() -> Iterator[Event]:
    yield Event(1, {"loss": 1.0})


def keep_table(name: str, frame: pd.DataFrame, folder: Path) -> DatasetRef:
    """A table as a snapshot below a folder, with an empty report."""
    writer = SnapshotWriter(folder / "part")
    writer.add(frame)
    writer.close()
    kept = writer.publish(name, folder / "snapshots")
    (folder / "report").mkdir(exist_ok=True)
    return DatasetRef(
        name=name,
        digest=kept.digest,
        path=str(kept.path),
        rows=kept.rows,
        splits=kept.split_rows,
        sources=("made",),
        report=str(folder / "report"),
    )
