"""Gates as pure functions of estimates: a figure, a bound and a threshold give pass, fail or abstain."""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.config.units import Prompts, unit
from rlhf_core.metrics.estimates import Estimate

NAME = r"^[\w][\w .:-]{0,99}$"
"""How a gate may be called, as its verdict becomes a tag of that name."""


NORMAL = NormalDist()

POWER = 0.8
"""Chance with which a difference that is there is to be seen."""


class Gate(Frozen):
    """What one figure of a stage must show, by its whole 95 % interval and never by its value alone."""

    name: str = Field(pattern=NAME)
    """What its verdict is called; no two gates of a stage have the same."""
    metric: str = Field(min_length=1)
    """Name of an estimate of the stage."""
    direction: Literal["above", "below"]
    """`above`: the lower bound must exceed the threshold. `below`: the upper bound must stay under it."""
    threshold: Annotated[float, unit("that of the figure")]
    """What the bound of the figure is held against."""
    min_samples: Prompts = Field(100, ge=1)
    """With fewer independent samples, which are prompts, the gate abstains; many pairs of one prompt are one sample."""
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
    """What a gate says about a stage; numbers are None where none or NaN is there, bounds where no interval is.

    Attributes:
        detectable: the smallest distance from the threshold that so large a sample shows in 80 of 100 cases, in the
            unit of the figure.
    """

    gate: str
    status: Literal["pass", "fail", "abstain"]
    metric: str
    direction: Literal["above", "below"]
    threshold: float
    value: float | None
    lower: float | None
    upper: float | None
    n: int
    detectable: float | None = None
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
    known = estimate if estimate and estimate.is_number else None
    return Verdict(
        gate=gate.name,
        status=status,
        metric=gate.metric,
        direction=gate.direction,
        threshold=gate.threshold,
        value=known.value if known else None,
        lower=known.lower if known and known.has_interval else None,
        upper=known.upper if known and known.has_interval else None,
        n=estimate.n if estimate else 0,
        detectable=_detectable(gate, known) if known and known.has_interval else None,
        explanation=f"{gate.metric}: {why}",
    )


def _decide(gate: Gate, estimate: Estimate | None) -> tuple[Literal["pass", "fail", "abstain"], str]:
    if estimate is None:
        allowed = ", which this gate allows" if gate.when_missing == "pass" else ""
        return gate.when_missing, f"was not measured{allowed}"
    if not estimate.is_number:
        return "fail", "is no number (NaN), so it cannot pass"
    if estimate.n < gate.min_samples:
        return "abstain", f"a verdict needs {gate.min_samples} prompts, and this has {estimate.n}"
    if not estimate.has_interval:
        return "abstain", f"{estimate.value:.4g} has no interval, as there is one prompt"
    side = _judged_side(gate)
    bound = estimate.lower if side == "lower" else estimate.upper
    passed = bound > gate.threshold if gate.direction == "above" else bound < gate.threshold
    comparison = (
        f"{side} bound {bound:.4g} is {'' if passed else 'not '}{gate.direction} {gate.threshold:.4g} (n={estimate.n})"
    )
    return ("pass", comparison) if passed else ("fail", f"{comparison}: {gate.failure}")


def _judged_side(gate: Gate) -> Literal["lower", "upper"]:
    """Which end of the interval is held against the threshold."""
    return "lower" if (gate.direction == "above") == (gate.in_doubt == "fail") else "upper"


def _detectable(gate: Gate, estimate: Estimate) -> float:
    """How far from the threshold a figure must truly lie for its bound to be beyond it with a chance of `POWER`.

    A figure with normal errors of standard deviation s has its bound 1.96 s from its value; so that the bound is beyond
    the threshold with this chance, the truth must lie another z s away, z being that quantile of a standard normal (the
    minimum detectable effect of Bloom, 1995, 'Minimum detectable effects'). The s is that of the end that is judged.
    """
    half = estimate.value - estimate.lower if _judged_side(gate) == "lower" else estimate.upper - estimate.value
    return float(half * (1.0 + NORMAL.inv_cdf(POWER) / NORMAL.inv_cdf(0.975)))
