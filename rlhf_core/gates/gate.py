"""Gates as pure functions of estimates: a figure, a bound and a threshold give pass, fail or abstain."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.config.units import Prompts, unit
from rlhf_core.gates.power import chance_of_luck, detectable, samples_needed
from rlhf_core.metrics.estimates import Estimate

NAME = r"^[\w][\w .:-]{0,99}$"
"""How a gate may be called, as its verdict becomes a tag of that name."""

NOTHING_ABSENT: Mapping[str, str] = MappingProxyType({})


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
    difference: Annotated[float, Field(gt=0), unit("that of the figure")] | None = None
    """Smallest distance from the threshold that the gate is about. Where the interval holds the threshold, and a sample
    of this size misses this distance more than once in five times, the gate abstains as underpowered."""
    failure: str = Field(min_length=1)
    """What a failure means, in a word or two, such as `undertrained`."""
    reason: str = Field(min_length=1)
    """Why the threshold is what it is."""


class Verdict(Frozen):
    """What a gate says about a stage; numbers are None where none or NaN is there, bounds where no interval is.

    Attributes:
        detectable: the smallest distance from the threshold that so large a sample shows in 80 of 100 cases, in the
            unit of the figure.
        luck: chance that another sample of the same size turns the verdict, if the truth is what was measured.
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
    luck: float | None = None
    explanation: str


def judge(
    gates: Sequence[Gate], estimates: Mapping[str, Estimate], absent: Mapping[str, str] = NOTHING_ABSENT
) -> list[Verdict]:
    """Hold a stage's figures against its gates.

    Args:
        gates: what must hold.
        estimates: the stage's figures by name.
        absent: why a figure is not there, by its name, such as `there is no champion`.

    Returns:
        One verdict for each gate, in order.
    """
    return [_judge(gate, estimates.get(gate.metric), absent.get(gate.metric, "was not measured")) for gate in gates]


def blocked(verdicts: Sequence[Verdict], *, abstain_blocks: bool = True) -> list[Verdict]:
    """The verdicts that keep the ladder from going on: failures, and abstentions unless those are allowed."""
    blocking = {"fail", "abstain"} if abstain_blocks else {"fail"}
    return [verdict for verdict in verdicts if verdict.status in blocking]


def chance_of_stop(verdicts: Sequence[Verdict]) -> float:
    """Chance at most that another sample like this one stops a ladder which this one lets pass, by luck alone.

    The truth is taken to be what was measured. Of the gates that passed each has its chance to fall, and the sum of
    these bounds the chance that any does, however they depend on each other (Bonferroni's inequality).
    """
    return min(1.0, sum(verdict.luck or 0.0 for verdict in verdicts if verdict.status == "pass"))


def _judge(gate: Gate, estimate: Estimate | None, absent: str) -> Verdict:
    status, why = _decide(gate, estimate, absent)
    known = estimate if estimate and estimate.is_number else None
    ends = known if known and known.has_interval else None
    return Verdict(
        gate=gate.name,
        status=status,
        metric=gate.metric,
        direction=gate.direction,
        threshold=gate.threshold,
        value=known.value if known else None,
        lower=ends.lower if ends else None,
        upper=ends.upper if ends else None,
        n=estimate.n if estimate else 0,
        detectable=_detectable(gate, ends) if ends else None,
        luck=chance_of_luck(ends.value, _bound(gate, ends), gate.threshold) if ends else None,
        explanation=f"{gate.metric}: {why}",
    )


def _decide(gate: Gate, estimate: Estimate | None, absent: str) -> tuple[Literal["pass", "fail", "abstain"], str]:
    if estimate is None:
        return gate.when_missing, f"{absent}{', which this gate allows' if gate.when_missing == 'pass' else ''}"
    if not estimate.is_number:
        return "fail", "is no number (NaN), so it cannot pass"
    if estimate.n < gate.min_samples:
        return "abstain", f"a verdict needs {gate.min_samples} prompts, and this has {estimate.n}"
    if not estimate.has_interval:
        return "abstain", f"{estimate.value:.4g} has no interval, as there is one prompt"
    if lacking := _lacking(gate, estimate):
        return "abstain", lacking
    side, bound = _judged_side(gate), _bound(gate, estimate)
    passed = bound > gate.threshold if gate.direction == "above" else bound < gate.threshold
    comparison = (
        f"{side} bound {bound:.4g} is {'' if passed else 'not '}{gate.direction} {gate.threshold:.4g} (n={estimate.n})"
    )
    return ("pass", comparison) if passed else ("fail", f"{comparison}: {gate.failure}")


def _lacking(gate: Gate, estimate: Estimate) -> str:
    """What a sample lacks that can tell neither side from the other, nor would the difference that a gate is about."""
    undecided = estimate.lower <= gate.threshold <= estimate.upper
    seen = _detectable(gate, estimate)
    if gate.difference is None or not undecided or seen <= gate.difference:
        return ""
    needed = samples_needed(estimate.n, seen, gate.difference)
    return (
        f"underpowered: [{estimate.lower:.4g}, {estimate.upper:.4g}] holds {gate.threshold:.4g}, and {estimate.n} "
        f"prompts show {seen:.2g} from there, where the gate is about {gate.difference:.2g}; about {needed} would do"
    )


def _judged_side(gate: Gate) -> Literal["lower", "upper"]:
    """Which end of the interval is held against the threshold."""
    return "lower" if (gate.direction == "above") == (gate.in_doubt == "fail") else "upper"


def _bound(gate: Gate, estimate: Estimate) -> float:
    return estimate.lower if _judged_side(gate) == "lower" else estimate.upper


def _detectable(gate: Gate, estimate: Estimate) -> float:
    return detectable(abs(estimate.value - _bound(gate, estimate)))
