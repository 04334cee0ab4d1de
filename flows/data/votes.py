"""Votes by annotator: all of them in a file, and of a sample the figures of agreement."""

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_contracts.formats.convert import Cast
from flows.storage.text_hashes import text_hashes
from rlhf_core.metrics.annotator_agreement import VERDICTS, agreement_figures, cohen_kappas
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_noise import ceilings

SAMPLE = 5000
"""Rows whose votes are looked at together; intervals are then about as narrow as they can be of use."""

HEADER = ("source", "row", "annotator", "verdict")

_VERDICT_OF = {1: VERDICTS[0], 2: VERDICTS[1], 0: VERDICTS[2]}


class Votes:
    """What several people said of the same rows, tied and quarantined ones too: agreement is of all that was asked.

    Attributes:
        rows: how many rows have several votes.
        path: CSV file with a line for each vote; there is none without votes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._sample: list[Cast] = []
        self._tally: Counter[tuple[int, int, int]] = Counter()

    def add(self, casts: Sequence[Cast]) -> None:
        """Keep the votes of some rows."""
        if not casts:
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            out = csv.writer(file)
            if not self.rows:
                out.writerow(HEADER)
            for cast in casts:
                out.writerows((cast.source, cast.row, name, _VERDICT_OF[vote]) for name, vote in cast.votes)
        self.rows += len(casts)
        groups = text_hashes([cast.group for cast in casts]).view(np.int64).tolist()
        self._tally.update((group, *_count(cast)[:2]) for group, cast in zip(groups, casts, strict=True))
        self._sample = sorted([*self._sample, *casts], key=_sample_order)[:SAMPLE]

    def noise(self, held_out_votes: Sequence[int]) -> dict[str, Estimate]:
        """Agreement, kappas of every two annotators with names, and ceilings as `ceilings`; nothing without votes."""
        if not self.rows:
            return {}
        groups = [cast.group for cast in self._sample]
        names = sorted({name for cast in self._sample for name, _ in cast.votes if name is not None})
        verdicts = [{name: _VERDICT_OF[vote] for name, vote in cast.votes} for cast in self._sample]
        figures = agreement_figures([_count(cast) for cast in self._sample], groups)
        figures |= cohen_kappas({name: [row.get(name) for row in verdicts] for name in names}, groups)
        together, first, second = np.repeat(list(self._tally), list(self._tally.values()), axis=0).T
        return figures | ceilings(first.tolist(), second.tolist(), held_out_votes, groups=together)


def _count(cast: Cast) -> tuple[int, int, int]:
    """Votes for the first response, for the second, and for neither."""
    votes = [vote for _, vote in cast.votes]
    return votes.count(1), votes.count(2), votes.count(0)


def _sample_order(cast: Cast) -> bytes:
    """A place in the order of the sample that no other row changes."""
    return hashlib.sha256(f"{cast.group}\0{cast.source}\0{cast.row}".encode()).digest()
