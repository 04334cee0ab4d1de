"""Report of the raters: a table with a row for each, and what a person should look at."""

from collections.abc import Mapping

from flows.report import Sheet, as_markdown
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.rater_evidence import FALSE_ALARMS, LEAST_OTHERS, RATERS
from rlhf_core.metrics.raters import LIKES_LENGTH, RANDOM, RaterFigures

SHOWN = 60
"""Raters in a table; those with a verdict first, then those who agree least."""

NOTE = (
    "Kappa is agreement with the others on the same pairs beyond chance, 0 for a coin. Right is how often a rater "
    "names the better response by the model of Dawid and Skene, which takes all pairs to be equally hard. Longer is "
    "how much more often a rater chooses the longer response than the others do on the same pairs. Gold is the share "
    "of the questions with a known answer that were answered so. Intervals are 95 %. A verdict holds however often "
    f"one looks: of up to {RATERS} honest raters any is ever accused with a chance of {FALSE_ALARMS:.0%} at most. "
    f"A rater who shares pairs with fewer than {LEAST_OTHERS} others gets none."
)

_COLUMNS = ("rater", "labels", "shared", "kappa", "right", "longer", "gold", "evidence", "verdict")


def rater_sheet(raters: Mapping[str, RaterFigures]) -> Sheet:
    """A row for each rater, those to look at first."""
    ordered = sorted(raters.items(), key=lambda item: (not item[1].verdicts, not item[1].left_out, _kappa(item[1])))
    rows = [(name, *_cells(figures)) for name, figures in ordered[:SHOWN]]
    if len(raters) > SHOWN:
        rows.append((f"and {len(raters) - SHOWN} more", *[""] * (len(_COLUMNS) - 1)))
    return Sheet("Raters", _COLUMNS, rows, _COLUMNS[1:-1])


def rater_remarks(raters: Mapping[str, RaterFigures]) -> list[str]:
    """What a person should do about raters whose votes count, a sentence each."""
    lines = []
    for name, figures in raters.items():
        if RANDOM in figures.verdicts and not figures.left_out:
            shown = _number(figures.evidence)
            lines.append(
                f"rater {name} answers at random: e-value {shown}, {figures.needed:,.0f} are enough; "
                "set contract.raters.exclude_random, or name the rater in contract.raters.exclude"
            )
        if LIKES_LENGTH in figures.verdicts and figures.longer and not figures.left_out:
            lines.append(
                f"rater {name} prefers longer responses, on {figures.longer.value:+.0%} of the pairs beyond the "
                "others; look at the instructions, balance by length, or name the rater in contract.raters.exclude"
            )
    return lines


def rater_page(raters: Mapping[str, RaterFigures]) -> str:
    """The table with its note as Markdown; nothing where no label has a name."""
    return f"\n## Raters\n\n{NOTE}\n\n{as_markdown(rater_sheet(raters))}\n" if raters else ""


def _kappa(figures: RaterFigures) -> float:
    return figures.kappa.value if figures.kappa else 1.0


def _cells(figures: RaterFigures) -> tuple[str, ...]:
    verdict = ", ".join(figures.verdicts)
    left_out = f"left out: {figures.left_out}" if figures.left_out and figures.left_out != verdict else ""
    if figures.left_out and not left_out:
        left_out = "left out"
    return (
        f"{figures.labels:,}",
        f"{figures.shared:,}",
        _interval(figures.kappa),
        "" if figures.accuracy is None else f"{figures.accuracy:.2f}",
        _interval(figures.longer, sign="+"),
        _interval(figures.gold),
        f"{_number(figures.evidence)} of {figures.needed:,.0f}",
        "; ".join(filter(None, (verdict, left_out))),
    )


def _number(evidence: float) -> str:
    return "less than 1" if evidence < 1 else f"{evidence:,.0f}" if evidence < 1e6 else f"{evidence:.0e}"


def _interval(estimate: Estimate | None, *, sign: str = "") -> str:
    if estimate is None:
        return "unknown"
    ends = f" [{estimate.lower:{sign}.2f}, {estimate.upper:{sign}.2f}]" if estimate.has_interval else ""
    return f"{estimate.value:{sign}.2f}{ends}"
