"""Tables of the bench as Markdown: every case, then recall, false alarms and the gold that gates save and cost."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks.common.climbs.pool import GATES
from benchmarks.common.climbs.recipe import StageName
from benchmarks.quality.gate_bench.outcome import Caught, Outcome, Worth, caught, worth
from rlhf_core.gates.gate import Gate
from rlhf_core.metrics.estimates import Estimate, proportion

Gates = Mapping[StageName, Sequence[Gate]]
BAR = r"\|"
"""A bar inside a cell."""


class Judged(NamedTuple):
    """A case with what the gates say and what it is worth."""

    outcome: Outcome
    caught: Caught
    worth: Worth | None

    @property
    def stopped(self) -> bool:
        """Whether it would never have become `challenger`, from which people choose a champion."""
        return bool(self.caught.stage)

    @property
    def harmful(self) -> bool:
        """Broken, and its policy is worth less than the sound SFT model."""
        return self.outcome.kind == "broken" and self.worth is not None and self.worth.over_sft.value < 0


class Score(NamedTuple):
    """How well some gates do on some cases.

    Attributes:
        harmful: stopped and all, of the broken ones whose policy is worth less than the sound SFT model.
        others: the same of the other broken ones, those that ended without a policy included.
        healthy: the same of the healthy ones: false alarms.
        prevented: gold per answer that stopped harmful policies would have lost against the sound SFT model, summed.
        let_through: the same of those that were not stopped.
        forgone: gold per answer that stopped healthy policies had gained on their SFT models, summed.
    """

    harmful: tuple[int, int]
    others: tuple[int, int]
    healthy: tuple[int, int]
    prevented: float
    let_through: float
    forgone: float


def judged(outcomes: Sequence[Outcome], gates: Gates = GATES) -> list[Judged]:
    """All cases with their verdicts."""
    by_name = {outcome.name: outcome for outcome in outcomes}
    return [Judged(outcome, caught(outcome, gates), worth(outcome, by_name)) for outcome in outcomes]


def score(cases: Sequence[Judged]) -> Score:
    """Count what was stopped, and add up what that is worth."""
    harmful = [case for case in cases if case.harmful]
    others = [case for case in cases if case.outcome.kind == "broken" and not case.harmful]
    healthy = [case for case in cases if case.outcome.kind == "healthy"]
    return Score(
        harmful=_counted(harmful),
        others=_counted(others),
        healthy=_counted(healthy),
        prevented=-sum(case.worth.over_sft.value for case in harmful if case.stopped and case.worth),
        let_through=-sum(case.worth.over_sft.value for case in harmful if not case.stopped and case.worth),
        forgone=sum(case.worth.gain.value for case in healthy if case.stopped and case.worth),
    )


def case_table(outcomes: Sequence[Outcome], gates: Gates = GATES) -> Iterator[str]:
    """A line for every case."""
    yield from table_head(
        "case",
        "where",
        "half",
        "stopped at",
        "by",
        "would be challenger",
        "gold - sound SFT",
        "gold - sound policy",
        "KL",
    )
    for case in judged(outcomes, gates):
        outcome, value = case.outcome, case.worth
        yield table_line(
            outcome.name if outcome.kind == "broken" else f"*{outcome.name}*",
            outcome.where,
            outcome.half,
            case.caught.stage.replace("_", " ") or "-",
            ", ".join(case.caught.by) or "-",
            "no" if case.stopped else "**yes**" if outcome.kind == "broken" else "yes",
            _interval(value.over_sft) if value else "no policy",
            _interval(value.over_twin) if value else "no policy",
            f"{outcome.kl_to_sft_nats:.1f}" if outcome.kl_to_sft_nats is not None else "-",
        )


def summary_table(outcomes: Sequence[Outcome], gates: Gates = GATES) -> Iterator[str]:
    """Recall, false alarms and gold: on the cases that thresholds were chosen on, on the others, and on all."""
    cases = judged(outcomes, gates)
    yield from table_head(
        "cases",
        "harmful ones stopped",
        "other broken ones stopped",
        "healthy ones stopped",
        "gold prevented",
        "gold let through",
        "gold forgone",
    )
    halves = {
        "chosen on": [case for case in cases if case.outcome.half == "choose"],
        "**reported**": [case for case in cases if case.outcome.half == "report"],
        "all": cases,
    }
    for name, part in halves.items():
        found = score(part)
        shares = (_share(*counts) for counts in (found.harmful, found.others, found.healthy))
        yield table_line(name, *shares, f"{found.prevented:.1f}", f"{found.let_through:.1f}", f"{found.forgone:.1f}")


def gate_table(gates: Gates = GATES) -> Iterator[str]:
    """The gates of the ladder with what they ask for and why."""
    yield from table_head("stage", "gate", "asks for", "a failure means", "why")
    for stage, of_stage in gates.items():
        for gate in of_stage:
            sign = ">" if gate.direction == "above" else "<"
            notes = [
                *(["fails only if significantly on the wrong side"] if gate.in_doubt == "pass" else []),
                *(["passes where it is not measured"] if gate.when_missing == "pass" else []),
            ]
            asked = "; ".join([f"`{gate.metric}` {sign} {gate.threshold:g}, n >= {gate.min_samples}", *notes])
            yield table_line(stage.replace("_", " "), f"`{gate.name}`", asked, gate.failure, gate.reason)


def _counted(cases: Sequence[Judged]) -> tuple[int, int]:
    return sum(case.stopped for case in cases), len(cases)


def _share(stopped: int, count: int) -> str:
    if not count:
        return "none"
    found = proportion(stopped, count)
    return f"{stopped} of {count} [{found.lower:.0%}, {found.upper:.0%}]"


def _interval(found: Estimate) -> str:
    return f"{found.value:+.2f} [{found.lower:+.2f}, {found.upper:+.2f}]"


def table_head(*cells: str) -> Iterator[str]:
    """The first two lines of a table in Markdown."""
    yield table_line(*cells)
    yield table_line(*["---"] * len(cells))


def table_line(*cells: str) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"
