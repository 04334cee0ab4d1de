"""Gates: a figure, a bound and a threshold give pass, fail or abstain. Pure functions of estimates."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.evaluation.estimates import Estimate


class Gate(Frozen):
    """What one figure of a stage must show, by its whole 95 % interval and never by its value alone."""

    name: str = Field(min_length=1)
    metric: str = Field(min_length=1)
    """Name of an estimate of the stage."""
    direction: Literal["above", "below"]
    """`above`: the lower bound must exceed the threshold. `below`: the upper bound must stay under it."""
    threshold: float
    min_samples: int = Field(100, ge=1)
    """With fewer samples the gate abstains."""
    when_missing: Literal["abstain", "pass"] = "abstain"
    """What the gate says where the figure was not measured; `pass` is for what some data cannot tell at all."""
    in_doubt: Literal["fail", "pass"] = "fail"
    """What the gate says where the interval holds the threshold. `pass` turns the question round: the other bound is
    judged, so that only what lies on the wrong side with its whole interval, significantly, fails."""
    failure: str = Field(min_length=1)
    """What a failure means, in a word or two, such as `undertrained`."""
    reason: str = Field(min_length=1)
    """Why the threshold is what it is."""


class Verdict(Frozen):
    """What a gate says about a stage; numbers are None where the figure is missing."""

    gate: str
    status: Literal["pass", "fail", "abstain"]
    metric: str
    direction: Literal["above", "below"]
    threshold: float
    value: float | None
    lower: float | None
    upper: float | None
    n: int
    explanation: str


def judge(gates: Sequence[Gate], estimates: Mapping[str, Estimate]) -> list[Verdict]:
    """Hold a stage's figures against its gates.

    Args:
        gates: what must hold.
        estimates: the stage's figures by name.

    Returns:
        One verdict for each gate, in order.
    """
    return [_judge(gate, estimates.get(gate.metric)) for gate in gates]


def blocked(verdicts: Sequence[Verdict], *, abstain_blocks: bool = True) -> list[Verdict]:
    """The verdicts that keep the ladder from going on: failures, and abstentions unless those are allowed."""
    blocking = {"fail", "abstain"} if abstain_blocks else {"fail"}
    return [verdict for verdict in verdicts if verdict.status in blocking]


def _judge(gate: Gate, estimate: Estimate | None) -> Verdict:
    status, why = _decide(gate, estimate)
    return Verdict(
        gate=gate.name,
        status=status,
        metric=gate.metric,
        direction=gate.direction,
        threshold=gate.threshold,
        value=estimate.value if estimate else None,
        lower=estimate.lower if estimate else None,
        upper=estimate.upper if estimate else None,
        n=estimate.n if estimate else 0,
        explanation=f"{gate.metric}: {why}",
    )


def _decide(gate: Gate, estimate: Estimate | None) -> tuple[Literal["pass", "fail", "abstain"], str]:
    if estimate is None:
        allowed = ", which this gate allows" if gate.when_missing == "pass" else ""
        return gate.when_missing, f"was not measured{allowed}"
    if estimate.n < gate.min_samples:
        return "abstain", f"{estimate.n} samples are fewer than the {gate.min_samples} that a verdict needs"
    lowest = (gate.direction == "above") == (gate.in_doubt == "fail")
    side, bound = ("lower", estimate.lower) if lowest else ("upper", estimate.upper)
    passed = bound > gate.threshold if gate.direction == "above" else bound < gate.threshold
    said = (
        f"{side} bound {bound:.4g} is {'' if passed else 'not '}{gate.direction} {gate.threshold:.4g} (n={estimate.n})"
    )
    return ("pass", said) if passed else ("fail", f"{said}: {gate.failure}")


DEFAULT_SFT_GATES = (
    Gate(
        name="ends",
        metric="eos_rate",
        direction="above",
        threshold=0.9,
        failure="does not end its answers",
        reason="An answer that never ends gets no reward at its end, so PPO learns nothing from it.",
    ),
    Gate(
        name="no-regurgitation",
        metric="regurgitation_rate",
        direction="below",
        threshold=0.05,
        failure="repeats the prompt",
        reason="A base continues prompts; a model that answers repeats six words of one in few answers.",
    ),
    Gate(
        name="learned",
        metric="held_out_loss_gain",
        direction="above",
        threshold=0.0,
        failure="no better than the base",
        reason="Held-out demonstrations must be more likely than under the base.",
    ),
)
DEFAULT_REWARD_MODEL_GATES = (
    Gate(
        name="agrees",
        metric="agreement",
        direction="above",
        threshold=0.5,
        min_samples=200,
        failure="disagrees",
        reason="Below one half the reward model prefers what people reject.",
    ),
    Gate(
        name="beats-floors",
        metric="agreement_above_floor",
        direction="above",
        threshold=0.0,
        min_samples=200,
        failure="no better than length or a bag of words",
        reason="PPO would learn the trivial rule (longest, shortest, a bag of words) and call it preference.",
    ),
    Gate(
        name="near-ceiling",
        metric="share_of_ceiling",
        direction="above",
        threshold=0.8,
        min_samples=200,
        when_missing="pass",
        failure="far from what the labels allow",
        reason="A good reward model reaches nine tenths of what noisy labels allow; without several votes on a pair, "
        "that ceiling cannot be known.",
    ),
    Gate(
        name="below-ceiling",
        metric="share_of_ceiling",
        direction="below",
        threshold=1.0,
        min_samples=200,
        when_missing="pass",
        in_doubt="pass",
        failure="better than a perfect judge, so it has seen held-out pairs",
        reason="Nothing agrees with noisy labels more than a perfect judge does, unless it was shown them.",
    ),
    Gate(
        name="demonstrations-above-rejected",
        metric="demonstrations_above_rejected",
        direction="above",
        threshold=0.0,
        min_samples=200,
        in_doubt="pass",
        failure="prefers what people reject to what they demonstrate",
        reason="Labels the wrong way round, or damaged demonstrations, look sound by themselves and not together.",
    ),
    Gate(
        name="members-differ",
        metric="member_correlation",
        direction="below",
        threshold=0.999,
        min_samples=200,
        when_missing="pass",
        failure="members of the ensemble are one and the same",
        reason="Five heads on one trunk correlate by .990; copies by 1, and then their disagreement means nothing.",
    ),
    Gate(
        name="delta-in-band",
        metric="share_in_band",
        direction="above",
        threshold=0.5,
        min_samples=200,
        failure="most |delta| lie outside [0.5, 4]",
        reason="The recipe's band; a calibrated model of 63 % agreement has 48 % inside, of 69 % 65 %.",
    ),
    Gate(
        name="delta-not-small",
        metric="abs_delta_ratio",
        direction="above",
        threshold=0.6,
        min_samples=200,
        failure="undertrained",
        reason="Median |delta| over that of a calibrated model of the same agreement; 1 is calibrated.",
    ),
    Gate(
        name="delta-not-large",
        metric="abs_delta_ratio",
        direction="below",
        threshold=1.5,
        min_samples=200,
        failure="overconfident",
        reason="Large |delta| at this agreement tells PPO to chase noise.",
    ),
    Gate(
        name="not-overconfident",
        metric="overconfidence_gap",
        direction="below",
        threshold=0.05,
        min_samples=200,
        failure="overconfident",
        reason="mean sigmoid(|delta|) may exceed the agreement by 5 points, about three standard errors of 1000 pairs.",
    ),
    Gate(
        name="calibrated",
        metric="ece",
        direction="below",
        threshold=0.06,
        min_samples=1000,
        failure="not calibrated even after its temperature",
        reason="In simulations of 1000 pairs, 90 to 97 % of calibrated models pass, 1 to 4 % of those 6 points off.",
    ),
    Gate(
        name="better-than-chance",
        metric="nll_above_chance",
        direction="below",
        threshold=0.0,
        min_samples=200,
        failure="less likely than a coin",
        reason="A likelihood worse than ln 2 means that ignoring the model is better.",
    ),
    Gate(
        name="near-temperature-scaled",
        metric="nll_above_calibrated",
        direction="below",
        threshold=0.02,
        min_samples=200,
        failure="margins of the wrong size",
        reason="A temperature, above or below 1, should change little: it scales rewards and mends no wrong ranking.",
    ),
)
DEFAULT_POLICY_GATES = (
    Gate(
        name="kl-budget",
        metric="kl_to_sft_nats",
        direction="below",
        threshold=6.5,
        failure="left the KL budget",
        reason="Training stops at `kl_budget_nats` on watched prompts; a policy beyond this had no budget or left it.",
    ),
    Gate(
        name="judge-gain",
        metric="judge_reward_gain",
        direction="above",
        threshold=0.0,
        failure="no better than SFT",
        reason="A judge trained on other pairs must see the gain, or the policy exploited its own reward model.",
    ),
    Gate(
        name="judge-wins",
        metric="judge_win_rate",
        direction="above",
        threshold=0.5,
        failure="loses to SFT",
        reason="A few large gains must not hide that most answers got worse.",
    ),
    Gate(
        name="judge-agrees",
        metric="judge_correlation",
        direction="above",
        threshold=0.3,
        failure="the reward that was maximised is not what the judge knows",
        reason="Two models of the same preferences order answers of SFT alike, unless PPO reads one of them wrongly, "
        "such as with a lost head or without the end of the answer.",
    ),
    Gate(
        name="best-of-n",
        metric="judge_gain_over_best_of_n",
        direction="above",
        threshold=0.0,
        when_missing="pass",
        in_doubt="pass",
        failure="significantly worse than the best of n answers of SFT at no more KL",
        reason="Choosing among answers of SFT by the reward model needs no training; what training makes must not be "
        "worse at the same drift. Measured where `policy.best_of_n` is set.",
    ),
    Gate(
        name="ends",
        metric="eos_rate",
        direction="above",
        threshold=0.9,
        failure="does not end its answers",
        reason="As for SFT.",
    ),
    Gate(
        name="not-longer",
        metric="length_ratio",
        direction="below",
        threshold=1.75,
        failure="grew long",
        reason="Most reward hacking of published runs is length.",
    ),
    Gate(
        name="not-shorter",
        metric="length_ratio",
        direction="above",
        threshold=0.5,
        failure="grew short",
        reason="Half the length of SFT no longer answers.",
    ),
    Gate(
        name="diverse-words",
        metric="distinct_2_ratio",
        direction="above",
        threshold=0.5,
        failure="collapsed",
        reason="Healthy runs keep three quarters of the distinct word pairs of SFT, collapsed ones a quarter.",
    ),
    Gate(
        name="diverse-answers",
        metric="duplicate_share",
        direction="below",
        threshold=0.4,
        failure="collapsed",
        reason="Different prompts deserve different answers; healthy runs repeat up to a quarter, collapsed ones more.",
    ),
)
