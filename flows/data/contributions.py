"""Whose rows went into a table: counted by source and annotator, beside the merging of rows."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from data_contracts.formats.convert import Batch
from flows.data.buckets import KEY
from flows.registry.contributors import Contributors

_PLACE = ["source", "row"]


class Contributions:
    """Counts who gave the rows that are written; what was quarantined or left out gave nothing."""

    def __init__(self) -> None:
        self._voters: list[pd.DataFrame] = []
        self._labels = pd.DataFrame(columns=[KEY, *_PLACE, "annotator"])
        self._sources: Counter[str] = Counter()
        self._annotators: Counter[str] = Counter()

    def note_voters(self, batch: Batch) -> None:
        """Remember whose votes raw rows themselves hold."""
        if batch.voters:
            voters = pd.DataFrame(batch.voters, columns=[*_PLACE, "annotator"])
            self._voters.append(voters.astype({"source": "category", "annotator": "category"}))

    def note_labels(self, frame: pd.DataFrame) -> None:
        """Remember the labels of some pairs before they become votes of one row."""
        self._labels = frame.loc[frame["is_label"], [KEY, *_PLACE, "annotator"]]

    def add(self, frame: pd.DataFrame) -> None:
        """Count who gave the rows that are written of those whose labels were noted last."""
        labels = frame["is_label"] & frame[KEY].isin(self._labels[KEY])
        alone = frame.loc[~labels, [*_PLACE, "annotator"]]
        merged = self._labels[self._labels[KEY].isin(frame.loc[labels, KEY])] if labels.any() else alone[:0]
        raw = pd.concat([alone, merged[[*_PLACE, "annotator"]]]) if len(merged) else alone
        _count(self._sources, raw["source"])
        _count(self._annotators, raw["annotator"])
        for voters in self._voters:
            held = raw[_PLACE].merge(voters[voters["source"].isin(raw["source"])], on=_PLACE)
            _count(self._annotators, held["annotator"].astype(object))

    def contributors(self, without: Sequence[str]) -> Contributors:
        """All that was counted, with what was withdrawn from it."""
        sources, annotators = (dict(sorted(counts.items())) for counts in (self._sources, self._annotators))
        return Contributors(sources=sources, annotators=annotators, without=tuple(without))


def _count(counts: Counter[str], column: "pd.Series[str]") -> None:
    """Add how often each name stands in a column; what is no name counts for nobody."""
    counts.update({str(name): int(count) for name, count in column.value_counts().items()})
