"""Early stopping and selection of the final PPO checkpoint: KL budget, disagreement, collapse, over-optimisation.

E counts evaluations, the first of which is the SFT model itself; N the watched prompts, the same in all of them.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import scipy
from numpy.typing import NDArray

from rlhf_core.config.control import CollapseConfig
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.metrics.diversity import trend
from rlhf_core.metrics.estimates import Estimate, mean, point
from rlhf_core.metrics.over_optimisation import Fit, fit
from rlhf_core.metrics.policy import Answers, disagreements, diversity
from rlhf_core.metrics.win_rate import paired_gain
from rlhf_core.training.stage import Event

Stop = Literal["", "over_kl_budget", "over_disagreement", "over_optimised", "stalled", "collapsed"]

STOPS: tuple[Stop, ...] = get_args(Stop)[1:]


CURVES = {
    "eval_kl": "eval_kl_to_sft_nats",
    "eval_reward": "eval_reward_score",
    "eval_judge": "eval_judge_score",
    "eval_judge_gain": "eval_judge_gain",
    "eval_judge_gain_lower": "eval_judge_gain_lower",
    "eval_judge_gain_upper": "eval_judge_gain_upper",
    "eval_distinct_2_ratio": "eval_distinct_2_ratio",
    "eval_duplicate_share": "eval_duplicate_share",
    "eval_self_bleu": "eval_self_bleu",
    "eval_entropy_ratio": "eval_entropy_ratio",
    "update_kl": "kl_to_sft_nats",
    "update_beta": "beta",
}
"""Series that figures are drawn from, with the metrics that they hold; `eval_step` has the updates of evaluations."""


@dataclass
class History:
    """All evaluations so far, as JSON holds them; lists by evaluation, most of them of lists by prompt.

    Attributes:
        steps: updates done at each.
        kl: to the SFT model of each response, nats.
        reward: its score by the reward model, logits.
        judge: its score by the judge, logits.
        entropy: of the policy, nats per token.
        stop: why training ends before its time, empty where it does not.
        why: the same for people.
    """

    steps: list[int] = field(default_factory=list)
    kl: list[list[float]] = field(default_factory=list)
    reward: list[list[float]] = field(default_factory=list)
    judge: list[list[float]] = field(default_factory=list)
    entropy: list[float] = field(default_factory=list)
    stop: Stop = ""
    why: str = ""


class EarlyStopping:
    """Decides from the evaluations of a run, as they come, when it ends and which state is its result.

    Args:
        config: of the run.
        state: what `state` gave, to go on from there.
    """

    def __init__(self, config: PPOConfig, state: dict[str, Any] | None = None) -> None:
        self._config = config
        self._history = History(**(state or {}))

    @property
    def state(self) -> dict[str, Any]:
        """All that is remembered, as JSON holds it."""
        return asdict(self._history)

    @property
    def stopped(self) -> bool:
        """Whether training is to end here."""
        return bool(self._history.stop)

    @property
    def result(self) -> int:
        """The update whose state is the result, if the run ends now."""
        history = self._history
        if history.stop == "over_optimised":
            return history.steps[self._best()]
        if history.stop == "stalled":
            return history.steps[self._before_patience()]
        return history.steps[-2] if history.stop else history.steps[-1]

    @property
    def candidates(self) -> set[int]:
        """Updates whose states may become the result: the last one, the judge's best, and those of its patience."""
        return {self.result, self._history.steps[self._best()], *self._history.steps[self._before_patience() :]}

    @property
    def outcome(self) -> str:
        """What ended training before its time, in a sentence; empty where nothing did."""
        if not self.stopped:
            return ""
        return (
            f"stopped after update {self._history.steps[-1]} of {self._config.updates}: {self._history.why}; "
            f"the result is the state after update {self.result}"
        )

    def add(
        self, step: int, sft: Answers, answers: Answers, more: Mapping[str, Estimate] | None = None
    ) -> dict[str, float]:
        """Take an evaluation and decide whether training goes on.

        Args:
            step: updates done.
            sft: answers of the SFT model to the watched prompts.
            answers: those of the policy; at step 0 the same.
            more: signs of collapse that these answers cannot show.

        Returns:
            Metrics of this evaluation.

        Raises:
            ValueError: if training shall stop for a disagreement that a reward model with a single head cannot have.
        """
        kl, gain = mean(answers.kl), paired_gain(answers.judge, sft.judge)
        disagreement = disagreements(sft, answers)
        if self._config.disagreement_limit is not None and not disagreement:
            raise ValueError(
                "disagreement_limit needs an ensemble, and the reward model has one head and no peers: set it to null"
            )
        signs = diversity(sft, answers) | dict(more or {})
        history = self._history
        history.steps.append(step)
        for name in ("kl", "reward", "judge"):
            getattr(history, name).append(getattr(answers, name).tolist())
        history.entropy.append(signs["entropy_nats"].value)
        if step > 0:
            self._decide(kl, disagreement, signs)
        return {
            "kl_to_sft_nats": kl.value,
            "kl_to_sft_nats_upper": kl.upper,
            "reward_score": float(answers.reward.mean()),
            **{f"reward_{name}": float(values.mean()) for name, values in answers.terms.items()},
            **{name: figure.value for name, figure in disagreement.items()},
            "judge_score": float(answers.judge.mean()),
            "judge_gain": gain.value,
            "judge_gain_lower": gain.lower,
            "judge_gain_upper": gain.upper,
            "response_tokens": float(answers.tokens.mean()),
            "eos_rate": sum(answers.finished) / len(answers.finished),
            **{name: figure.value for name, figure in signs.items()},
        }

    @property
    def stops(self) -> dict[str, float]:
        """Each of `STOPS`: 1 for what ended training, else 0."""
        return {name: float(self._history.stop == name) for name in STOPS}

    @property
    def fit(self) -> Fit | None:
        """The judge's gain over the distance from the SFT model; None while there are too few evaluations."""
        judge = np.asarray(self._history.judge)
        return fit(self._history.kl, judge - judge[0], result=self._history.steps.index(self.result))

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Figures of the run as a whole, for gates.

        Returns:
            Each of `STOPS`, 1 where that ended training; `entropy_trend_nats`, the change of entropy per token over the
            run; of `fit`, `overoptimisation` (the share lost), `judge_peak_kl_nats`, `judge_curve_alpha` and
            `judge_curve_beta`. All but the first only with three evaluations at least.
        """
        prompts, fitted = len(self._history.judge[0]), self.fit
        figures = {name: point(ended, prompts) for name, ended in self.stops.items()}
        slope = trend(self._history.steps, self._history.entropy)
        if slope is not None:
            figures["entropy_trend_nats"] = slope
        if fitted is not None:
            figures |= {
                "overoptimisation": fitted.lost,
                "judge_peak_kl_nats": fitted.peak_nats,
                "judge_curve_alpha": fitted.alpha,
                "judge_curve_beta": fitted.beta,
            }
        return figures

    def _best(self) -> int:
        """The evaluation whose answers the judge likes best, of those that were not beyond a limit."""
        judge = np.mean(self._history.judge, axis=1)
        within = judge[:-1] if self._history.stop not in ("", "over_optimised", "stalled") else judge
        return int(np.argmax(within))

    def _decide(self, kl: Estimate, disagreement: Mapping[str, Estimate], signs: dict[str, Estimate]) -> None:
        history, budget, limit = self._history, self._config.kl_budget_nats, self._config.disagreement_limit
        if budget is not None and not kl.upper <= budget:
            history.stop = "over_kl_budget"
            history.why = (
                f"the KL to the SFT model, at most {kl.upper:.3g} nats, may be beyond the budget of {budget:g}"
            )
        elif limit is not None and disagreement["reward_disagreement_gain"].lower > limit:
            history.stop = "over_disagreement"
            history.why = (
                "the members of the reward model disagree by at least "
                f"{disagreement['reward_disagreement_gain'].lower:.3g} more than about SFT's answers, above {limit:g}"
            )
        elif broken := _collapsed(self._config.collapse, signs):
            history.stop, history.why = "collapsed", f"its answers collapsed: {broken}"
        elif turned := self._turned():
            history.stop, history.why = "over_optimised", turned
        elif stalled := self._stalled():
            history.stop, history.why = "stalled", stalled

    def _turned(self) -> str:
        """How the judge has turned while the reward model rose; empty where it has not."""
        best = self._best()
        if self._config.monitor is None or best == len(self._history.steps) - 1:
            return ""
        reward, judge = (np.asarray(scores)[[best, -1]] for scores in (self._history.reward, self._history.judge))
        rise, fall = float((reward[1] - reward[0]).mean()), float((judge[0] - judge[1]).mean())
        evaluations = 1 + math.ceil(self._config.updates / self._config.evaluate_every)
        level = (1.0 - self._config.monitor.confidence) / math.comb(evaluations, 2)
        if not (rise > 0.0 and _chance_of_fall(judge[0], judge[1]) < level):
            return ""
        return (
            f"over-optimised, the judge's mean fell by {fall:.3g} since update {self._history.steps[best]} while the "
            f"reward model's rose by {rise:.3g}"
        )

    def _before_patience(self) -> int:
        """The evaluation that the judge's patience counts from; the last one where there is no such patience."""
        patience = self._config.monitor.patience if self._config.monitor else None
        return max(len(self._history.steps) - 1 - (patience or 0), 0)

    def _stalled(self) -> str:
        """How the judge has stalled while policy and reward model went on; empty where it has not."""
        monitor, last = self._config.monitor, len(self._history.steps) - 1
        if monitor is None or monitor.patience is None or last < monitor.patience:
            return ""
        window = [last - monitor.patience, last]
        reward, judge, kl = (
            np.asarray(values)[window] for values in (self._history.reward, self._history.judge, self._history.kl)
        )
        rise, level = float((reward[1] - reward[0]).mean()), 1.0 - monitor.confidence
        drifted = _chance_of_fall(kl[1], kl[0]) < level
        if not (rise > 0.0 and drifted and _chance_of_fall(judge[1], judge[0]) >= level):
            return ""
        return (
            f"the judge stalled, its mean rose by no more than chance, {float((judge[1] - judge[0]).mean()):.3g}, "
            f"since update {self._history.steps[window[0]]} while the reward model's rose by {rise:.3g} and the KL by "
            f"{float((kl[1] - kl[0]).mean()):.3g} nats"
        )


def chart(series: dict[str, list[float]], event: Event) -> None:
    """Add what an event says to the curves."""
    for name, metric in CURVES.items():
        if metric in event.metrics:
            series[name].append(event.metrics[metric])
    if "eval_kl_to_sft_nats" in event.metrics:
        series["eval_step"].append(float(event.step))


def _chance_of_fall(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """One-sided p of Student's paired test that scores did not fall; 0 or 1 where all differ by the same."""
    if np.ptp(now - before) == 0.0:
        return float(now[0] >= before[0])
    return float(scipy.stats.ttest_rel(now, before, alternative="less").pvalue)


def _collapsed(limits: CollapseConfig | None, signs: dict[str, Estimate]) -> str:
    """What says that answers collapsed, by its whole interval; empty where nothing does."""
    if limits is None:
        return ""
    floors = {"distinct_2_ratio": limits.distinct_2_ratio, "entropy_ratio": limits.entropy_ratio}
    ceilings = {
        "duplicate_share_gain": limits.duplicate_share_gain,
        "self_bleu": limits.self_bleu,
        "repeats_within_prompt": limits.repeats_within_prompt,
    }
    low = [
        f"{name} is at most {signs[name].upper:.3g}, below {limit:g}"
        for name, limit in floors.items()
        if limit is not None and signs[name].upper < limit
    ]
    high = [
        f"{name} is at least {signs[name].lower:.3g}, above {limit:g}"
        for name, limit in ceilings.items()
        if limit is not None and signs[name].lower > limit
    ]
    return " and ".join(low + high)
