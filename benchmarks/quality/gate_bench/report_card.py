"""The report card of the gates: what each of them, and each signal that they read, hits, misses and stops in vain."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.common.climbs.pool import GATES
from benchmarks.common.climbs.recipe import StageName
from benchmarks.quality.gate_bench.outcome import Outcome
from benchmarks.quality.gate_bench.report import Gates, Judged, judged, table_head, table_line
from rlhf_core.gates.champion import OVER_CHAMPION
from rlhf_core.gates.gate import Gate, blocked, judge

SIGNALS = {
    "data": ("prompt_", "least_source_"),
    "likelihood": ("held_out_loss", "regurgitation"),
    "people": ("agreement", "share_of_ceiling", "demonstrations_above", "parameter_ratio"),
    "calibration": ("share_in_band", "abs_delta", "overconfidence", "ece", "nll_"),
    "disagreement": ("member_correlation",),
    "length": ("length_",),
    "stress test": ("pays_for_",),
    "KL": ("kl_",),
    "judge": ("judge_",),
    "collapse": ("eos_rate", "distinct_2", "duplicate_share"),
}
"""What gates read, by how the names of their figures begin."""

CHAMPION = "champion"
"""What those read that compare with it."""

SELF_TESTS = "self-tests"


class Grade(NamedTuple):
    """How gates did on the cases whose figures they could read.

    Attributes:
        hits: harmful ones that they stop, and all of them.
        alone: harmful ones that nothing else stops, at this stage or another.
        others: other broken ones that they stop, and all of them.
        alarms: healthy ones that they stop, and all of them.
    """

    hits: tuple[int, int]
    alone: int
    others: tuple[int, int]
    alarms: tuple[int, int]


def report_card(outcomes: Sequence[Outcome], gates: Gates = GATES) -> Iterator[str]:
    """A line for every signal, then one for every gate of it, as Markdown; a case counts where it was measured."""
    cases, unmeasured = judged(outcomes, gates), list[str]()
    yield from table_head("signal", "gate", "harmful stopped", "by it alone", "other broken stopped", "healthy stopped")
    for signal in (*SIGNALS, CHAMPION):
        mine = [(stage, gate) for stage, found in gates.items() for gate in found if signal_of(gate) == signal]
        read = [one for one in mine if any(_measured(case.outcome, *one) for case in cases)]
        unmeasured += [gate.name for stage, gate in mine if (stage, gate) not in read]
        if len(read) > 1:
            yield _row(f"**{signal}**", "any of them", grade(cases, read, gates))
        for stage, gate in read:
            yield _row(signal, f"{stage.replace('_', ' ')} {gate.name}", grade(cases, [(stage, gate)], gates))
    yield _row(f"**{SELF_TESTS}**", "any of them", grade(cases, [], gates))
    if unmeasured:
        yield from ("", f"What these read was measured in no ladder: {', '.join(dict.fromkeys(unmeasured))}.")


def signal_of(gate: Gate) -> str:
    """What a gate reads.

    Raises:
        ValueError: if that has no name yet.
    """
    if gate.metric.endswith(OVER_CHAMPION):
        return CHAMPION
    for signal, beginnings in SIGNALS.items():
        if gate.metric.startswith(beginnings):
            return signal
    raise ValueError(f"gate {gate.name} reads {gate.metric}, of which SIGNALS says nothing")


def grade(cases: Sequence[Judged], mine: Sequence[tuple[StageName, Gate]], gates: Gates) -> Grade:
    """What some gates do; without any, what the stages themselves refuse."""
    measured = [case for case in cases if not mine or any(_measured(case.outcome, *one) for one in mine)]
    stopped = {case.outcome.name for case in measured if _stops(case.outcome, mine)}
    others = {
        stage: [gate for gate in found if (stage, gate.name) not in {(at, one.name) for at, one in mine}]
        for stage, found in gates.items()
    }
    harmful = [case for case in measured if case.harmful]
    broken = [case for case in measured if case.outcome.kind == "broken" and not case.harmful]
    healthy = [case for case in measured if case.outcome.kind == "healthy"]
    alone = [case for case in harmful if case.outcome.name in stopped and not _otherwise(case.outcome, mine, others)]
    counts = ((sum(case.outcome.name in stopped for case in part), len(part)) for part in (harmful, broken, healthy))
    hits, of_broken, alarms = counts
    return Grade(hits, len(alone), of_broken, alarms)


def _measured(outcome: Outcome, stage: StageName, gate: Gate) -> bool:
    return gate.metric in outcome.estimates.get(stage, {})


def _stops(outcome: Outcome, mine: Sequence[tuple[StageName, Gate]]) -> bool:
    if not mine:
        return outcome.stopped_itself is not None
    read = [(stage, gate) for stage, gate in mine if _measured(outcome, stage, gate)]
    return any(blocked(judge([gate], outcome.estimates[stage])) for stage, gate in read)


def _otherwise(outcome: Outcome, mine: Sequence[tuple[StageName, Gate]], others: Gates) -> bool:
    """Whether anything else stops a case."""
    if mine and outcome.stopped_itself is not None:
        return True
    return any(_stops(outcome, [(stage, gate)]) for stage, found in others.items() for gate in found)


def _row(signal: str, gate: str, found: Grade) -> str:
    hits, others, alarms = (f"{stopped} of {count}" for stopped, count in (found.hits, found.others, found.alarms))
    return table_line(signal, gate, hits, str(found.alone), others, alarms)
