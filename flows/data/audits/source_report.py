"""Report of the sources of labels: a table with a row for each, and what a person should look at."""

from collections.abc import Mapping

from flows.report import Sheet, as_markdown
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_sources import CONTRADICTS, LEAST_SOURCE_GROUPS, SourceFigures
from rlhf_core.metrics.raters import LIKES_LENGTH

SHOWN_SOURCES = 60
"""Sources in a table; those with a verdict first, then those that are agreed with least."""

SOURCES_NOTE = (
    "Words is how often a bag of words, which learned from the other sources and other groups of this one, agrees with "
    "the label. Longer is how much more often the longer response is chosen than those words make likely, less the "
    "same of the other sources. Intervals hold for all sources together. Labels of less than half the data that "
    "contradict the others are the wrong way round, or by another guideline. Of a source with fewer than "
    f"{LEAST_SOURCE_GROUPS} groups nothing is said."
)

_COLUMNS = ("source", "pairs", "words", "longer", "verdict")


def source_sheet(sources: Mapping[str, SourceFigures]) -> Sheet:
    """A row for each source, those to look at first."""
    ordered = sorted(sources.items(), key=lambda item: (not item[1].verdicts, item[1].agreement.value))
    rows: list[tuple[str, ...]] = [
        (name, f"{each.pairs:,}", _interval(each.agreement), _interval(each.longer, sign="+"), ", ".join(each.verdicts))
        for name, each in ordered[:SHOWN_SOURCES]
    ]
    if len(sources) > SHOWN_SOURCES:
        rows.append((f"and {len(sources) - SHOWN_SOURCES} more", *[""] * (len(_COLUMNS) - 1)))
    return Sheet("Sources of labels", _COLUMNS, rows, _COLUMNS[1:-1])


def source_remarks(sources: Mapping[str, SourceFigures]) -> list[str]:
    """What a person should do about sources, a sentence each."""
    lines = []
    for name, each in sources.items():
        mend = f"look at it, and leave it out by rlhf data withdraw 'source:{name}'"
        if CONTRADICTS in each.verdicts:
            agreed = f"the words of the others agree with {each.agreement.value:.0%} of them"
            lines.append(f"labels of {name} contradict those of the other sources: {agreed}; {mend}")
        if LIKES_LENGTH in each.verdicts and each.longer:
            beyond = f"on {each.longer.value:+.0%} of the pairs beyond what their words make likely"
            lines.append(f"labels of {name} prefer longer responses, {beyond}; {mend}, or balance by length")
    return lines


def source_page(sources: Mapping[str, SourceFigures]) -> str:
    """The table with its note as Markdown; nothing where there is one source only."""
    return f"\n## Sources\n\n{SOURCES_NOTE}\n\n{as_markdown(source_sheet(sources))}\n" if sources else ""


def _interval(estimate: Estimate | None, *, sign: str = "") -> str:
    if estimate is None:
        return "unknown"
    return f"{estimate.value:{sign}.2f} [{estimate.lower:{sign}.2f}, {estimate.upper:{sign}.2f}]"
