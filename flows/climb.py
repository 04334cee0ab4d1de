"""One climb of the ladder: its run in MLflow, what it has reached, and what is said about it however it ends."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.config import InputError, LadderConfig
from flows.description import describe_versions
from flows.gating import StoppedByGate, enforce, judge_stage
from flows.labels import audit_labels
from flows.lengths import truncated_shares
from flows.lineage import code_version
from flows.orphans import end_orphans, process_tags
from flows.place import Place
from flows.references import DataRefs, ModelRef, StageRecord
from flows.registry import Registry, open_registry
from flows.report.answers import Comparison, compare_answers
from flows.report.data import keep_data
from flows.report.summary import Rung, Summary, publish_summary
from rlhf_core.config import Frozen
from rlhf_core.gates import Gate, blocked
from rlhf_core.stage import Event

ALIAS = "challenger"
ALIASED = ("sft", "reward-model", "policy")


class LadderResult(Frozen):
    """Outcome of a climb.

    Attributes:
        versions: registered versions by registered name.
        retrained: stages that were trained in this climb; empty when there was nothing to do.
        published: whether the versions got the alias.
    """

    run_id: str
    versions: dict[str, ModelRef]
    retrained: list[str]
    published: bool


class Climb:
    """Keeps what a climb has reached."""

    def __init__(self, config: LadderConfig, place: Place, arguments: str) -> None:
        self.config = config
        self.place = place
        self.arguments = arguments
        self.started = time.monotonic()
        self.data: DataRefs | None = None
        self.rungs: dict[str, Rung] = {}
        self.published = False

    def begin(self, data: DataRefs) -> DataRefs:
        """Record the data of the climb as inputs of its run, and what their labels are worth."""
        self.data = data
        keep_data(data, self.place.registry(), self.place.run_id)
        audit_labels(data, self.config.reward_model.balance, self.place)
        return data

    def measure_lengths(self, base: StageRecord) -> StageRecord:
        """Record how much of the data the configured lengths cut, by the tokenizer of the base.

        Raises:
            InputError: if no response could end with this tokenizer.
        """
        registry = self.place.registry()
        if self.data is not None:
            shares = truncated_shares(self.config, self.data, registry.folder(base.model))
            registry.log_events(self.place.run_id, [Event(0, shares)])
        return base

    def reached(self, record: StageRecord) -> StageRecord:
        """Record a finished stage."""
        self.rungs[record.stage] = Rung(record=record, reused=record.ladder_run != self.place.run_id)
        made = ", ".join(ref.label for ref in record.models.values())
        self.place.registry().tag_run(self.place.run_id, {f"stage.{record.stage}": made})
        return record

    def enforce(self, record: StageRecord, gates: Sequence[Gate]) -> None:
        """Judge a stage and stop here if it blocks; versions that an earlier climb gave the alias lose it then.

        Raises:
            StoppedByGate: naming every gate that blocks, and why.
        """
        verdicts = judge_stage(record, gates, self.config.gates, self.place)
        self.rungs[record.stage] = self.rungs[record.stage]._replace(verdicts=verdicts)
        if blocked(verdicts, abstain_blocks=self.config.gates.abstain_blocks):
            self._withdraw(record)
        enforce(record.stage, verdicts, self.config.gates)

    def _withdraw(self, record: StageRecord) -> None:
        """Take the alias off the versions of a stage; versions of other climbs keep it."""
        client = self.place.registry().client
        for ref in record.models.values():
            if str(client.get_registered_model(ref.name).aliases.get(ALIAS)) == ref.version:
                client.delete_registered_model_alias(ref.name, ALIAS)

    def publish(self) -> LadderResult:
        """Set the alias if every gate passed, and say which versions there are."""
        registry = self.place.registry()
        verdicts = [verdict for rung in self.rungs.values() for verdict in rung.verdicts]
        if self.config.gates.mode == "enforce" and not blocked(
            verdicts, abstain_blocks=self.config.gates.abstain_blocks
        ):
            for stage in ALIASED:
                for ref in self.rungs[stage].record.models.values():
                    registry.set_alias(ref, ALIAS)
            self.published = True
        versions = [ref for rung in self.rungs.values() for ref in rung.record.models.values()]
        return LadderResult(
            run_id=self.place.run_id,
            versions={ref.name: ref for ref in versions},
            retrained=[stage for stage, rung in self.rungs.items() if not rung.reused],
            published=self.published,
        )

    def finish(self, status: str, outcome: str) -> None:
        """End the climb's run and publish its summary."""
        registry = self.place.registry()
        self._describe_unjudged(registry)
        summary = Summary(
            project=self.config.project,
            arguments=self.arguments,
            run_id=self.place.run_id,
            data=self.data,
            rungs=list(self.rungs.values()),
            answers=self._answers(),
            outcome=outcome,
            alias=ALIAS if self.published else None,
            seconds=time.monotonic() - self.started,
        )
        publish_summary(summary, registry, self.place.run_id)
        registry.tag_run(self.place.run_id, {"rlhf.outcome": outcome[:5000]})
        registry.end_run(self.place.run_id, status)

    def _describe_unjudged(self, registry: Registry) -> None:
        """Describe the versions of stages without gates; the base by its answers beside those of the SFT model."""
        for stage, rung in self.rungs.items():
            if rung.verdicts:
                continue
            samples = rung.record.samples
            if stage == "base" and "sft" in self.rungs:
                beside = self.rungs["sft"].record.samples
                samples = [{name: sample[name] for name in ("prompt", "base")} for sample in beside]
            describe_versions(rung.record.model_copy(update={"samples": samples}), [], registry)

    def _answers(self) -> Comparison | None:
        if self.data is None or "policy" not in self.rungs:
            return None
        records = {stage: rung.record for stage, rung in self.rungs.items()}
        return compare_answers(self.config, self.data, records, self.place)


@contextmanager
def climbing(config: LadderConfig, arguments: str) -> Iterator[Climb]:
    """Open the climb's run in MLflow; close it with a summary however the climb ends.

    Args:
        config: what to climb.
        arguments: how the configuration is named on a command line, for the hints of the summary.

    Yields:
        The climb.
    """
    registry = open_registry(config.project, config.storage)
    end_orphans(registry)
    run_tags = {"rlhf.stage": "ladder", "rlhf.code": code_version(), **process_tags()}
    run_id = registry.start_run("ladder", tags=run_tags)
    registry.log_params(run_id, config.model_dump(mode="json", exclude={"gates"}))
    registry.client.log_dict(run_id, config.model_dump(mode="json"), "config.json")
    place = Place(
        project=config.project,
        seed=config.seed,
        storage=config.storage,
        threads=config.threads,
        run_id=run_id,
        compute=config.compute,
    )
    climb = Climb(config, place, arguments)
    try:
        # the ladder's heartbeat speaks for its stages, whose own would hold the end of each for up to a second
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield climb
    except StoppedByGate as stop:
        climb.finish("FAILED", str(stop))
        raise
    except InputError as error:
        registry.tag_run(run_id, {"rlhf.outcome": str(error)[:5000]})
        registry.end_run(run_id, "FAILED")
        raise
    except BaseException as error:
        registry.tag_run(run_id, {"rlhf.outcome": f"interrupted by {type(error).__name__}: {error}"[:5000]})
        registry.end_run(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    climb.finish("FINISHED", _outcome(climb))


def _outcome(climb: Climb) -> str:
    trained = [stage for stage, rung in climb.rungs.items() if not rung.reused]
    if not trained:
        return "nothing to retrain: every stage was reused"
    return f"trained {', '.join(trained)}"
