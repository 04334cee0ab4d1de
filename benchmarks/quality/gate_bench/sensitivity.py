"""What moving a threshold costs: verdicts are taken again from the figures that are kept, nothing is trained."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks.common.climbs.pool import GATES
from benchmarks.common.climbs.recipe import StageName
from benchmarks.quality.gate_bench.cases import Kind
from benchmarks.quality.gate_bench.outcome import Outcome
from benchmarks.quality.gate_bench.report import Gates, Score, judged, score
from rlhf_core.gates.gate import Gate, blocked, judge


class Move(NamedTuple):
    """A threshold that one gate might have.

    Attributes:
        threshold: None without the gate.
        broken: broken cases that this gate alone would stop.
        healthy: healthy ones.
        all_gates: of all gates together, this one moved.
    """

    threshold: float | None
    broken: int
    healthy: int
    all_gates: Score


def moved(
    outcomes: Sequence[Outcome], stage: StageName, gate: Gate, threshold: float | None, gates: Gates = GATES
) -> Move:
    """What comes of a gate with another threshold, the others as they are.

    Args:
        outcomes: the cases.
        stage: at which the gate stands.
        gate: the gate.
        threshold: the other one; None takes the gate away.
        gates: all of them.
    """
    at = [] if threshold is None else [gate.model_copy(update={"threshold": threshold})]
    changed = [*(other for other in gates[stage] if other.name != gate.name), *at]
    return Move(
        threshold,
        broken=_stops(outcomes, stage, at, "broken"),
        healthy=_stops(outcomes, stage, at, "healthy"),
        all_gates=score(judged(outcomes, {**gates, stage: changed})),
    )


def thresholds(outcomes: Sequence[Outcome], stage: StageName, gate: Gate) -> list[float]:
    """The thresholds between which the verdicts on these cases change, from the loosest to the strictest.

    Halfway between the bounds of neighbouring cases, and one beyond each end.
    """
    bounds = sorted({bound for outcome in outcomes if (bound := _bound(outcome, stage, gate)) is not None})
    if not bounds:
        return []
    room = (bounds[-1] - bounds[0]) or abs(bounds[0]) or 1.0
    between = [(low + high) / 2 for low, high in itertools.pairwise(bounds)]
    found = [bounds[0] - room / 10, *between, bounds[-1] + room / 10]
    return found if gate.direction == "above" else found[::-1]


def strictest(outcomes: Sequence[Outcome], stage: StageName, gate: Gate, *, alarms: int) -> float | None:
    """The strictest threshold at which a gate stops at most so many healthy cases; None where it judged no case."""
    allowed = [
        threshold
        for threshold in thresholds(outcomes, stage, gate)
        if _stops(outcomes, stage, [gate.model_copy(update={"threshold": threshold})], "healthy") <= alarms
    ]
    return allowed[-1] if allowed else None


def sensitivity_table(outcomes: Sequence[Outcome], gates: Gates = GATES) -> Iterator[str]:
    """For every gate: what it stops, what is lost without it, and what a stricter one would bring and cost."""
    cells = (
        "stage",
        "gate",
        "threshold",
        "stops broken, healthy",
        "without it",
        "strictest without a false alarm",
        "at the price of one more",
    )
    yield f"| {' | '.join(cells)} |"
    yield f"|{' --- |' * len(cells)}"
    for stage, of_stage in gates.items():
        for gate in of_stage:
            now, without = (moved(outcomes, stage, gate, at, gates) for at in (gate.threshold, None))
            moves = [strictest(outcomes, stage, gate, alarms=alarms) for alarms in (0, 1)]
            stricter = [_told(moved(outcomes, stage, gate, at, gates)) if at is not None else "-" for at in moves]
            sign = ">" if gate.direction == "above" else "<"
            row = (
                stage.replace("_", " "),
                gate.name,
                f"{gate.metric} {sign} {gate.threshold:g}",
                f"{now.broken}, {now.healthy}",
                _stopped(without.all_gates),
                *stricter,
            )
            yield f"| {' | '.join(row)} |"


def trade_off(outcomes: Sequence[Outcome], stage: StageName, gate: Gate, gates: Gates = GATES) -> Iterator[str]:
    """One gate at every threshold at which something changes."""
    cells = ("threshold", "it stops broken", "it stops healthy", "all gates: harmful", "others", "healthy")
    yield f"| {' | '.join(cells)} |"
    yield f"|{' --- |' * len(cells)}"
    for threshold in thresholds(outcomes, stage, gate):
        found = moved(outcomes, stage, gate, threshold, gates)
        counts = (f"{part[0]} of {part[1]}" for part in found.all_gates[:3])
        yield f"| {' | '.join([f'{threshold:.4g}', str(found.broken), str(found.healthy), *counts])} |"


def figures(outcomes: Sequence[Outcome], stage: StageName, metric: str) -> Iterator[str]:
    """A figure of every case, the lowest first: for choosing a threshold."""
    found: Mapping[str, tuple[str, float, float, float]] = {
        outcome.name: (outcome.kind, *outcome.estimates[stage][metric][:3])
        for outcome in outcomes
        if metric in outcome.estimates.get(stage, {})
    }
    for name, (kind, value, lower, upper) in sorted(found.items(), key=lambda item: item[1][1]):
        yield f"{value:10.4g} [{lower:.4g}, {upper:.4g}]  {kind:8}{name}"


def _stops(outcomes: Sequence[Outcome], stage: StageName, gates: Sequence[Gate], kind: Kind) -> int:
    """Cases of a kind that some gates of one stage would stop alone."""
    return sum(
        bool(blocked(judge(gates, outcome.estimates[stage])))
        for outcome in outcomes
        if outcome.kind == kind and stage in outcome.estimates
    )


def _told(move: Move) -> str:
    return f"{move.threshold:.3g}: stops {move.broken}, {move.healthy}; all gates {_stopped(move.all_gates)}"


def _stopped(found: Score) -> str:
    """Harmful, other and healthy cases that are stopped."""
    return " / ".join(f"{stopped} of {count}" for stopped, count in found[:3])


def _bound(outcome: Outcome, stage: StageName, gate: Gate) -> float | None:
    """What the threshold is held against; None where the gate says the same at any threshold."""
    estimate = outcome.estimates.get(stage, {}).get(gate.metric)
    if estimate is None or estimate.n < gate.min_samples:
        return None
    return estimate.lower if (gate.direction == "above") == (gate.in_doubt == "fail") else estimate.upper
