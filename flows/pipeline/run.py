"""One climb of the ladder: its run in MLflow, what it has reached, and what is said about it however it ends."""

import time
from collections.abc import Sequence

from prefect import State
from prefect.states import Completed

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.audits.labels import audit_labels
from flows.data.audits.lengths import truncated_shares
from flows.data.audits.prompts import audit_prompts
from flows.data.relabel.relabel import add_fresh_pairs
from flows.data.report import keep_data
from flows.pipeline.gating import enforce, judge_figures, judge_stage
from flows.pipeline.gold_audit import compare_answers
from flows.pipeline.reuse import Earlier, climb_key, find_same, recall
from flows.pipeline.summary import GoldAudit, Summary, publish_summary
from flows.registry.context import RunContext
from flows.registry.model_card import describe_unjudged
from flows.registry.names import (
    ALIASED_TAG,
    ANSWERING,
    CHALLENGER,
    CHAMPION,
    GATED,
    INPUT_PREFIX,
    LADDER_KEY_TAG,
    OUTCOME_TAG,
    PASSED,
    STAGE_PREFIX,
    STATUS_TAG,
    registered_name,
)
from flows.registry.references import DataRefs, LadderResult, ModelRef, Round, StageOutcome, StageRecord
from flows.stages.reward_inputs import RewardInputs
from flows.tasks import name_flow_run
from rlhf_core.gates.gate import Gate, Verdict, blocked
from rlhf_core.training.stage import Event

NOTHING = "NothingToRetrain"


class LadderRun:
    """Keeps what a climb has reached; where it is a round of several, after which ones, and whether it is the last."""

    def __init__(
        self,
        config: LadderConfig,
        context: RunContext,
        arguments: str,
        rewards: RewardInputs,
        *,
        what: str,
        verb: str,
        before: Sequence[Round] = (),
        last: bool = True,
    ) -> None:
        self.before = before
        self.last = last
        self.what = what
        self.verb = verb
        self.config = config
        self.context = context
        self.arguments = arguments
        self.rewards = rewards
        self.started = time.monotonic()
        self.data: DataRefs | None = None
        self.inputs: dict[str, ModelRef] = {}
        self.rungs: dict[str, StageOutcome] = {}
        self.verdicts: dict[str, list[Verdict]] = {}
        self.earlier: Earlier | None = None
        self.published = False

    def given(self, role: str, model: str | None) -> StageRecord:
        """A model that goes in, pinned to the version that it means now: the champion, unless one is named.

        Raises:
            InputError: if there is none, or it did not pass its gates and these are enforced.
        """
        registry = self.context.registry()
        ref = registry.pin(model or f"{registered_name(self.config.project, role)}@{CHAMPION}")
        status = registry.client.get_model_version(ref.name, ref.version).tags.get(STATUS_TAG)
        if status != PASSED and self.config.gates.mode == "enforce":
            raise InputError(
                f"{ref.label} has {STATUS_TAG} '{status or 'unknown'}': name or promote a version that passed its "
                "gates, or set gates.mode to advisory"
            )
        self.inputs[role] = ref
        registry.tag_run(self.context.run_id, {f"{INPUT_PREFIX}{role}": ref.label})
        return recall(ref, registry)

    def refresh(self, data: DataRefs) -> DataRefs:
        """The data with the fresh pairs of the rounds before; in a first round there are none.

        Raises:
            WaitingForLabels: if people are to label those of the last one and have not done so.
        """
        return add_fresh_pairs(self.config, data, self.before[-1], self.context) if self.before else data

    def repeats(self, data: DataRefs) -> bool:
        """Whether a finished climb had the same data, inputs, configuration and code, and its versions still stand."""
        self.data = data
        self._name_flow_run()
        self.earlier = find_same(self._key(data), data, self.context.registry(), CHALLENGER if self.last else None)
        return self.earlier is not None

    def begin(self, data: DataRefs) -> DataRefs:
        """Record the data of the climb as inputs of its run, with what their labels are worth and prompts are like."""
        self.data = data
        self._name_flow_run()
        keep_data(data, self.context.registry(), self.context.run_id)
        audit_labels(data, self.config.reward_model.balance, self.context)
        audit_prompts(data)
        return data

    def enforce_data(self, data: DataRefs, gates: Sequence[Gate]) -> None:
        """Judge the data and stop here, before anything is trained on them, if they block; raises as `enforce`."""
        self.verdicts[data.stage] = judge_figures(data, gates, self.config.gates, self.context)
        enforce(data.stage, self.verdicts[data.stage], self.config.gates)

    def measure_lengths(self, base: StageRecord) -> StageRecord:
        """Record how much of the data the configured lengths cut, by the tokenizer of the base.

        Raises:
            InputError: if no response could end with this tokenizer.
        """
        registry = self.context.registry()
        if self.data is not None:
            shares = truncated_shares(self.config, self.data, registry.folder(base.model))
            registry.log_events(self.context.run_id, [Event(0, shares)])
        return base

    def reached(self, record: StageRecord) -> StageRecord:
        """Record a finished stage."""
        self.rungs[record.stage] = StageOutcome(record=record, reused=record.ladder_run != self.context.run_id)
        made = ", ".join(ref.label for ref in record.models.values())
        self.context.registry().tag_run(self.context.run_id, {f"{STAGE_PREFIX}{record.stage}": made})
        return record

    def enforce(self, record: StageRecord, gates: Sequence[Gate]) -> None:
        """Judge a stage and stop here if it blocks.

        Raises:
            StoppedByGate: naming every gate that blocks, and why.
        """
        enforce(record.stage, self.judge(record, gates), self.config.gates)

    def judge(self, record: StageRecord, gates: Sequence[Gate]) -> list[Verdict]:
        """Judge a stage; if it blocks, versions that an earlier climb gave the alias lose it."""
        verdicts = judge_stage(record, gates, self.config.gates, self.context)
        self.verdicts[record.stage] = verdicts
        if blocked(verdicts, abstain_blocks=self.config.gates.abstain_blocks):
            self.context.registry().take_alias(record.models.values(), CHALLENGER)
        return verdicts

    def publish(self) -> LadderResult | State[LadderResult]:
        """Set the alias if every gate passed, and say which versions there are.

        Returns:
            The result; where nothing was trained, in a completed state named NothingToRetrain that says why.
        """
        if self.earlier is not None:
            self.rungs, self.verdicts = self.earlier.rungs, self.earlier.verdicts
            self.published = self.earlier.published and self.last
        else:
            self._set_alias()
        result = self.result
        return result if result.retrained else Completed(name=NOTHING, message=self.outcome(), data=result)

    @property
    def result(self) -> LadderResult:
        """What the climb came to."""
        versions = [ref for rung in self.rungs.values() for ref in rung.record.models.values()]
        return LadderResult(
            run_id=self.context.run_id,
            versions={ref.name: ref for ref in versions},
            retrained=self._new(),
            published=self.published,
        )

    @property
    def rounds(self) -> list[Round]:
        """The rounds before and this one, as far as it has come."""
        if self.data is None:
            return [*self.before]
        return [*self.before, Round(len(self.before) + 1, self.data, self.rungs, self._new())]

    def _set_alias(self) -> None:
        """Give the alias to the versions of this climb if every gate passed, and leave word for a repetition of it."""
        registry = self.context.registry()
        verdicts = [verdict for judged in self.verdicts.values() for verdict in judged]
        blocking = blocked(verdicts, abstain_blocks=self.config.gates.abstain_blocks)
        self.published = self.config.gates.mode == "enforce" and not blocking
        stages = [stage for stage in GATED if stage in self.rungs and self.published]
        aliased = [ref for stage in stages for ref in self.rungs[stage].record.models.values()]
        for ref in aliased:
            registry.set_alias(ref, CHALLENGER)
        if self.data is not None:
            labels = " ".join(ref.label for ref in aliased)
            registry.tag_run(self.context.run_id, {LADDER_KEY_TAG: self._key(self.data), ALIASED_TAG: labels})

    def outcome(self) -> str:
        """In a sentence what came of the climb, which no gate stopped."""
        if self.earlier is not None:
            return f"nothing to retrain: {self.earlier.reason}"
        new = self._new()
        return f"{self.verb} {', '.join(new)}" if new else "nothing to retrain: every stage was reused"

    def finish(self, status: str, outcome: str) -> None:
        """End the climb's run, publish its summary and name its flow run by what came out."""
        registry = self.context.registry()
        describe_unjudged(self.rungs, self.verdicts, registry)
        ended = {stage: rung.record.outcome for stage, rung in self.rungs.items()}
        outcome = ". ".join([outcome, *(f"{stage} {early}" for stage, early in ended.items() if early)])
        summary = Summary(
            project=self.config.project,
            arguments=self.arguments,
            run_id=self.context.run_id,
            data=self.data,
            rungs=list(self.rungs.values()),
            verdicts=self.verdicts,
            answers=self._answers(),
            outcome=outcome,
            alias=CHALLENGER if self.published else None,
            seconds=time.monotonic() - self.started,
            verb=self.verb,
            rounds=self.rounds,
        )
        publish_summary(summary, registry, self.context.run_id)
        registry.tag_run(self.context.run_id, {OUTCOME_TAG: outcome[:5000]})
        registry.end_run(self.context.run_id, status)
        reached = [rung.record.model.label for rung in self.rungs.values()]
        self._name_flow_run(*reached[-1:], *(() if self._new() else ("nothing new",)))

    def _new(self) -> list[str]:
        return [stage for stage, rung in self.rungs.items() if not rung.reused]

    def _key(self, data: DataRefs) -> str:
        inputs = self.inputs | self.rewards.parents
        return climb_key(self.what, self.config, data, inputs, self.rewards.sources)

    def _name_flow_run(self, *came_to: str) -> None:
        """Let the flow run say what it does, on which data, and which version came out."""
        about = f"{self.config.project} {self.what}"
        on = [] if self.data is None else [f"data {self.data.digest[:8]}"]
        name_flow_run(", ".join([about, *on, *came_to]))

    def _answers(self) -> GoldAudit | None:
        if self.data is None or self.earlier is not None or not self.rungs.keys() >= set(ANSWERING):
            return None
        records = {stage: rung.record for stage, rung in self.rungs.items()}
        return compare_answers(self.config, self.data, records, self.context)
