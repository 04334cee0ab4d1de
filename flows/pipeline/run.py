"""One run of the pipeline: what it has made, how that is judged, and what is said about it however it ends."""

import time
from collections.abc import Sequence
from typing import TypeVar

from prefect import State
from prefect.states import Completed

from flows.config.ladder import LadderConfig
from flows.data.audits.labels import audit_labels
from flows.data.audits.lengths import truncated_shares
from flows.data.audits.prompts import audit_prompts
from flows.data.audits.tokens import audit_tokens
from flows.data.ingest import ingest, plan_of
from flows.data.relabel.relabel import add_fresh_pairs
from flows.pipeline.against_champion import against_champion
from flows.pipeline.climb_page.page import publish_page
from flows.pipeline.freshness import tell_overdue
from flows.pipeline.gating import enforce, judge_figures, mark_versions
from flows.pipeline.outside_functions import measure_sources
from flows.pipeline.outside_measures import OutsideView, view_answers
from flows.pipeline.reuse import EarlierRun, find_same, recall, require_startable, run_key
from flows.pipeline.stated import give_alias, state_climb, state_judgement
from flows.pipeline.summary import Summary, publish_summary
from flows.pipeline.withdrawn import settle_marks_of, trained_on_withdrawn
from flows.promotion.comparison import Comparison
from flows.registry.context import RunContext
from flows.registry.dataset_uploads import log_data
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
    STAGE_PREFIX,
    registered_name,
)
from flows.registry.references import DataRefs, LadderResult, ModelRef, Round, StageOutcome, StageRecord
from flows.registry.statements import UNSIGNED
from flows.registry.withdrawals import LOCK
from flows.stages.reward_inputs import RewardInputs
from flows.tasks import name_flow_run
from rlhf_core.gates.gate import Gate, Verdict
from rlhf_core.training.stage import Event

NOTHING = "NothingToRetrain"

TRAINED, MEASURED, REUSED = "trained", "measured", "reused"
"""How a stage came to what it is: in a run that trains, in one that only measures, in an earlier one."""

Result = LadderResult | State[LadderResult]
Made = TypeVar("Made", DataRefs, StageRecord)


class LadderRun:
    """A run on its way: what it has reached, what gates said; in rounds, after which ones, and whether it is the last.

    Attributes:
        stages: what each finished stage came to, in the order of the ladder.
        verdicts: of gates, by what they judged: the data, or a stage.
        comparisons: versions beside the champions that they would replace, by stage, where there are any.
        blocking: those of all verdicts that keep the alias from these versions.
        earlier: the run that this one would only repeat, None while there is none.
        published: whether the versions have the alias.
        withdrawn: verdicts on withdrawn data that versions were trained on, which keep the alias from all.
    """

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
        self.stages: dict[str, StageOutcome] = {}
        self.verdicts: dict[str, list[Verdict]] = {}
        self.blocking: list[Verdict] = []
        self.comparisons: dict[str, Comparison] = {}
        self.earlier: EarlierRun | None = None
        self.published = False
        self.withdrawn: list[Verdict] = []

    def use_model(self, role: str, model: str | None) -> StageRecord:
        """A model that goes in, pinned to the version that it means now: the champion, unless one is named.

        Raises:
            InputError: if there is none, its files are not those that were registered, it did not pass its gates and
            these are enforced, or two people must sign for it and did not.
        """
        registry = self.context.registry()
        ref = registry.pin(model or f"{registered_name(self.config.project, role)}@{CHAMPION}")
        require_startable(ref, registry, self.config)
        registry.folder(ref)  # refused now, if a file is missing or altered, and not when its turn comes
        self.inputs[role] = ref
        registry.tag_run(self.context.run_id, {f"{INPUT_PREFIX}{role}": ref.label})
        return recall(ref, registry)

    def ingest(self) -> DataRefs:
        """The data of the run: what is configured, with the fresh pairs of the rounds before it.

        Raises:
            InputError: if a file cannot be read, or a table breaks its contract or suite.
            WaitingForLabels: if people are to label answers of the round before and have not done so.
        """
        data = ingest(plan_of(self.config), self.context)
        settle_marks_of(data, self.context)
        self.data = add_fresh_pairs(self.config, data, self.before[-1], self.context) if self.before else data
        self._name_flow_run()
        return self.data

    def is_repeat(self, data: DataRefs) -> bool:
        """Whether a finished run had the same data, inputs, configuration and code, and its versions still stand."""
        self.earlier = find_same(self._key(data), data, self.context.registry(), CHALLENGER if self.last else None)
        if self.earlier is None:
            return False
        self.stages, self.verdicts = self.earlier.stages, self.earlier.verdicts
        self.published = self.earlier.published and self.last
        return True

    def gate(self, made: Made, gates: Sequence[Gate]) -> Made:
        """Record what was made, judge it, publish the verdicts, stop here if they block, else hand it on.

        Raises:
            StoppedByGate: naming every gate that blocks, and why.
        """
        blocking = self.judge(self.keep(made), gates)
        enforce(made.stage, blocking + self.withdrawn, self.config.gates)
        return made

    def keep(self, made: Made) -> Made:
        """Record what was made, and hand it on."""
        match made:
            case DataRefs():
                self._keep_data(made)
            case StageRecord():
                self._keep_stage(made)
        return made

    def judge(self, made: Made, gates: Sequence[Gate]) -> list[Verdict]:
        """Judge what was made, publish the verdicts and return those that block; such versions lose the alias."""
        beside = against_champion(made, gates, self.config, self.context)
        if beside.comparison is not None:
            self.comparisons[made.stage] = beside.comparison
        judgement = judge_figures(made, gates, beside, self.config.gates, self.context)
        self.verdicts[made.stage] = judgement.verdicts
        self.blocking += judgement.blocking
        if isinstance(made, StageRecord):
            mark_versions(made, judgement, self.context)
        state_judgement(made, gates, beside, judgement, self.config.gates, self.context)
        return judgement.blocking

    def measure_tokens(self, data: DataRefs, base: StageRecord) -> None:
        """Record what the tokenizer of the base makes of the data, and how much of it the configured lengths cut.

        Raises:
            InputError: if no response could end with this tokenizer, or it cannot write the texts, or most pairs are
                the same once they are cut.
        """
        registry = self.context.registry()
        folder = registry.folder(base.model)
        shares = truncated_shares(self.config, data, folder) | audit_tokens(self.config, data, folder)
        registry.log_events(self.context.run_id, [Event(0, shares)])

    def set_alias(self) -> None:
        """Give the alias to the versions if every gate passed, and leave word for a repetition; not by a repetition."""
        if self.earlier is not None:
            return
        registry = self.context.registry()
        with registry.alone(LOCK):  # no withdrawal comes between
            self.withdrawn = trained_on_withdrawn((done.record for done in self.stages.values()), self.context)
            self.published = self.config.gates.mode == "enforce" and not self.blocking and not self.withdrawn
            stages = [stage for stage in GATED if stage in self.stages and self.published]
            aliased = [ref for stage in stages for ref in self.stages[stage].record.models.values()]
            give_alias(registry, aliased, CHALLENGER, self.context.run_id)
        if self.data is not None:
            labels = " ".join(ref.label for ref in aliased)
            registry.tag_run(self.context.run_id, {LADDER_KEY_TAG: self._key(self.data), ALIASED_TAG: labels})

    @property
    def result(self) -> LadderResult:
        """What the run came to, with the stages that it and the rounds before it trained."""
        versions = [ref for outcome in self.stages.values() for ref in outcome.record.models.values()]
        return LadderResult(
            run_id=self.context.run_id,
            versions={ref.name: ref for ref in versions},
            retrained=[name for round_ in self.rounds for name in round_.retrained_by_round],
            published=self.published,
        )

    def end_state(self) -> Result:
        """The result; where nothing was trained, in a completed state named NothingToRetrain that says why."""
        result = self.result
        return result if result.retrained else Completed(name=NOTHING, message=self.outcome(), data=result)

    @property
    def rounds(self) -> list[Round]:
        """The rounds before and this one, as far as it has come."""
        if self.data is None:
            return [*self.before]
        return [*self.before, Round(len(self.before) + 1, self.data, self.stages, self._retrained())]

    def outcome(self) -> str:
        """In a sentence what came of the run, which no gate stopped."""
        if self.earlier is not None:
            return f"nothing to retrain: {self.earlier.reason}"
        made = self._made()
        words = (word for word in dict.fromkeys(made.values()) if word != REUSED)
        new = (f"{word} {', '.join(stage for stage in made if made[stage] == word)}" for word in words)
        return "; ".join(new) or "nothing to retrain: every stage was reused"

    def finish(self, status: str, outcome: str, no_alias: str) -> None:
        """End the MLflow run, publish the summary, with why it has no alias, and name the flow run by what came out."""
        registry = self.context.registry()
        describe_unjudged(self.stages, self.verdicts, registry)
        early = [f"{stage} {why}" for stage, done in self.stages.items() if (why := done.record.outcome)]
        outcome = ". ".join([outcome, *early, *([] if self.config.audit.sign else [UNSIGNED])])
        summary = Summary(
            project=self.config.project,
            arguments=self.arguments,
            run_id=self.context.run_id,
            data=self.data,
            stages=list(self.stages.values()),
            verdicts=self.verdicts,
            comparisons=self.comparisons,
            answers=self._outside_view(),
            outcome=outcome,
            alias=CHALLENGER if self.published else None,
            no_alias=no_alias,
            seconds=time.monotonic() - self.started,
            made=self._made(),
            rounds=self.rounds,
        )
        publish_summary(summary, registry, self.context.run_id)
        registry.tag_run(self.context.run_id, {OUTCOME_TAG: outcome[:5000]})
        tell_overdue(self.config.freshness, self.context)
        publish_page(registry, self.context.run_id, self.earlier.run_id if self.earlier else None)
        state_climb(self.what, status, list(self.result.versions.values()), self.context)
        labels = [done.record.model.label for done in self.stages.values()][-1:]
        self._name_flow_run(*labels, *(() if self._retrained() else ("nothing new",)))

    def _keep_data(self, data: DataRefs) -> None:
        """Record the tables as inputs of the run, with what their labels are worth and their prompts are like."""
        log_data(data, self.config.project, self.context.registry(), self.context.run_id)
        audit_labels(data, self.config.reward_model.balance, self.context)
        audit_prompts(data)

    def _keep_stage(self, record: StageRecord) -> None:
        self.stages[record.stage] = StageOutcome(record=record, reused=record.ladder_run != self.context.run_id)
        labels = ", ".join(ref.label for ref in record.models.values())
        self.context.registry().tag_run(self.context.run_id, {f"{STAGE_PREFIX}{record.stage}": labels})
        self.withdrawn = trained_on_withdrawn([record], self.context) or self.withdrawn

    def _made(self) -> dict[str, str]:
        """How each stage came to what it is, in a word."""
        taken = self.config.taken_stages if self.verb == TRAINED else set[str]()
        return {
            stage: REUSED if outcome.reused else "taken" if stage in taken else self.verb
            for stage, outcome in self.stages.items()
        }

    def _retrained(self) -> list[str]:
        return [stage for stage, outcome in self.stages.items() if not outcome.reused]

    def _key(self, data: DataRefs) -> str:
        sources = self.rewards.sources | measure_sources(self.config)
        return run_key(self.what, self.config, data, self.inputs | self.rewards.parents, sources)

    def _name_flow_run(self, *versions: str) -> None:
        """Let the flow run say what it does, on which data, and which version came out."""
        on = [] if self.data is None else [f"data {self.data.digest[:8]}"]
        name_flow_run(", ".join([f"{self.config.project} {self.what}", *on, *versions]))

    def _outside_view(self) -> OutsideView | None:
        if self.data is None or self.earlier is not None or not self.stages.keys() >= set(ANSWERING):
            return None
        return view_answers(self.config, self.data, {name: it.record for name, it in self.stages.items()}, self.context)
