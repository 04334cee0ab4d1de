"""What papers tell of who labelled the rows of a table, without names, and of rows that were withdrawn."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from pydantic import ValidationError

from flows.lineage.archive import Archive
from flows.registry.names import RATERS_RECORD, WITHDRAWN_REASON
from flows.registry.references import Counts
from flows.registry.withdrawals import Withdrawal
from rlhf_core.metrics.raters import RaterFigures

MEASURED = {
    "kappa": "agreement with the others on the same pairs beyond chance (Cohen's kappa)",
    "accuracy": "chance of naming the better response (Dawid and Skene)",
    "longer": "liking of the longer response beyond that of the others",
    "gold": "questions with a known answer that were answered so",
}
"""What is told of raters, by the field that has it."""


def read_raters(archive: Archive, climb: str | None) -> dict[str, RaterFigures]:
    """What a climb kept of each rater of its preferences; none where no label had a name, or nothing sound is kept."""
    document = None if climb is None else archive.document(climb, RATERS_RECORD)
    try:
        return {name: RaterFigures.model_validate_json(json.dumps(each)) for name, each in (document or {}).items()}
    except (AttributeError, TypeError, ValidationError):
        return {}


def rater_lines(raters: Mapping[str, RaterFigures]) -> Iterator[str]:
    """How many they were, what is known of them from the least to the most, and who was left out; no name."""
    if not raters:
        return
    labels = sum(figures.labels for figures in raters.values())
    yield f"{len(raters):,} raters gave {labels:,} labels under a name"
    for field, words in MEASURED.items():
        known = [getattr(figures, field) for figures in raters.values()]
        numbers = [each if isinstance(each, float) else each.value for each in known if each is not None]
        if numbers:
            ends = f"{min(numbers):.2f} to {max(numbers):.2f}, median {median(numbers):.2f}"
            yield f"{words}: {ends} over {len(numbers):,} raters"
    for verdict, count in sorted(Counter(said for each in raters.values() for said in each.verdicts).items()):
        yield f"verdict '{verdict}' on {count:,} of them"
    gone = [figures for figures in raters.values() if figures.left_out]
    for reason, count in sorted(Counter(figures.left_out for figures in gone).items()):
        lost = sum(figures.labels for figures in gone if figures.left_out == reason)
        yield f"{count:,} of them and their {lost:,} labels left out: {reason}"


def withdrawn_lines(counts: Counts | None, withdrawals: Sequence[Withdrawal]) -> Iterator[str]:
    """Rows that were left out as their data had been withdrawn: how many, what, when, by whom and why."""
    known = {f"{WITHDRAWN_REASON}{withdrawal.subject}": withdrawal for withdrawal in withdrawals}
    for reason, count in ({} if counts is None else counts.left_out).items():
        if reason.startswith(WITHDRAWN_REASON):
            withdrawal = known.get(reason)
            what = reason.removeprefix(WITHDRAWN_REASON) if withdrawal is None else withdrawal.sentence
            back = f"; taken back {withdrawal.restored}" if withdrawal is not None and withdrawal.restored else ""
            yield f"{count:,} rows were left out: {what}{back}"
