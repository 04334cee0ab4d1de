"""Votes by annotator: all of them in a file, and of a sample the figures of agreement."""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.formats.convert import Batch, Cast
from data_contracts.sameness import same_form
from flows.data.buckets import KEY
from flows.storage.text_hashes import text_hashes
from rlhf_core.metrics.annotator_agreement import VERDICTS, agreement_figures, cohen_kappas
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_noise import LEAST_VOTES, Behind, ceilings

SAMPLE = 5000
"""Rows whose votes are looked at together; intervals are then about as narrow as they can be of use."""

MOST_OF_OTHERS = 0.05
"""Share of the held-out labels that may be of sources without repeated votes; the ceiling is that of the others."""

HEADER = ("source", "row", "annotator", "verdict")

_VERDICT_OF = {1: VERDICTS[0], 2: VERDICTS[1], 0: VERDICTS[2]}


class PairVotes(NamedTuple):
    """Votes for chosen and for rejected of each pair, hash of its group, whether it is held out; shape ``[N]`` each.

    Attributes:
        weights: of the votes of each pair, as `weights_of` writes them; no text where each counts once.
        sources: of the pairs.
    """

    chosen: NDArray[np.int64]
    rejected: NDArray[np.int64]
    groups: NDArray[np.uint64]
    is_held_out: NDArray[np.bool_]
    weights: NDArray[np.object_]
    sources: NDArray[np.object_]

    @property
    def held_out(self) -> list[Behind]:
        """Votes behind the label of each held-out pair, 0 where they are even; who found both alike is not counted.

        Of sources that have pairs with several votes, which tell of their noise; none if many labels are of others.
        """
        several = np.isin(self.sources, np.unique(self.sources[self.chosen + self.rejected >= LEAST_VOTES].astype(str)))
        known = self.is_held_out & several
        if known.sum() < (1 - MOST_OF_OTHERS) * self.is_held_out.sum():
            return []
        votes: NDArray[np.int64] = np.where(self.chosen == self.rejected, 0, self.chosen + self.rejected)
        behind: list[Behind] = votes[known].tolist()
        for place, text in enumerate(self.weights[known].tolist()):
            if isinstance(text, str) and behind[place]:
                behind[place] = tuple(sorted(map(int, text.split(","))))
        return behind

    @property
    def alike(self) -> "PairVotes":
        """The pairs whose votes count once each, so that there are as many people as votes."""
        once = ~np.array([isinstance(text, str) for text in self.weights], dtype=bool)
        return PairVotes(*(column[once] for column in self))


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

    def noise(self, held_out_votes: Sequence[Behind]) -> dict[str, Estimate]:
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


def weights_of(batch: Batch) -> NDArray[np.object_]:
    """Weights of the votes of each record that prefer a response, such as `3,1,1`; None where each counts once."""
    texts = [",".join(map(str, weights)) or None for weights in batch.weights] or [None] * len(batch.frame)
    return np.array(texts, dtype=object)


def joined_weights(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that label the same pairs, each with the weights of all votes on its pair, if any counts as several.

    Args:
        frame: preferences in which those of one pair share their `key`, with `weights`.
    """
    if frame["weights"].isna().all():
        return frame
    votes = (frame["votes_chosen"] + frame["votes_rejected"]).tolist()
    each = [
        text if isinstance(text, str) else ",".join(["1"] * count)
        for text, count in zip(frame["weights"], votes, strict=True)
    ]
    named = frame.assign(weights=each)
    joined = named.groupby(KEY)["weights"].transform(lambda texts: ",".join(filter(None, texts)) or None)
    weighed = frame["weights"].notna().groupby(frame[KEY]).transform("any")
    return frame.assign(weights=joined.where(weighed, None))


def voted_twice(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows are of an annotator with an earlier row on the same pair; shape ``[N]``.

    Args:
        frame: preferences in which those of one pair share their `key`, with `annotator`, None where it is not known.
    """
    ordered = frame[frame["annotator"].notna()].sort_values(["source", "row"], kind="stable")
    again = ordered.duplicated([KEY, "annotator"])
    return np.asarray(again.reindex(frame.index, fill_value=False), dtype=bool)


def casts_of(frame: pd.DataFrame) -> list[Cast]:
    """The votes on each pair that several people compared in rows of their own, one of them known by name at least.

    Args:
        frame: as in `voted_twice`.
    """
    labels = frame[frame["is_label"]]
    named = labels.loc[labels["annotator"].notna(), KEY]
    several = labels[labels[KEY].isin(named) & labels[KEY].duplicated(keep=False)]
    by_pair: dict[int, list[dict[Hashable, Any]]] = defaultdict(list)
    for row in several.to_dict("records"):
        by_pair[row[KEY]].append(row)
    return list(map(_cast, by_pair.values()))


def _cast(rows: list[dict[Hashable, Any]]) -> Cast:
    """The votes of rows on one pair, in which the response that sorts first is the first."""
    first = min(same_form(rows[0]["chosen"]), same_form(rows[0]["rejected"]))
    source, row = min((row["source"], row["row"]) for row in rows)
    names = [row["annotator"] if isinstance(row["annotator"], str) else None for row in rows]  # a gap may be NaN
    votes = tuple((name, _side(row, same_form(row["chosen"]) == first)) for name, row in zip(names, rows, strict=True))
    return Cast(source, row, min(row["group"] for row in rows), votes)


def _side(row: dict[Hashable, Any], chosen_is_first: bool) -> int:
    won, lost = row["votes_chosen"], row["votes_rejected"]
    return 0 if won == lost else 1 if (won > lost) == chosen_is_first else 2


def _count(cast: Cast) -> tuple[int, int, int]:
    """Votes for the first response, for the second, and for neither."""
    votes = [vote for _, vote in cast.votes]
    return votes.count(1), votes.count(2), votes.count(0)


def _sample_order(cast: Cast) -> bytes:
    """A place in the order of the sample that no other row changes."""
    return hashlib.sha256(f"{cast.group}\0{cast.source}\0{cast.row}".encode("utf-8", "surrogatepass")).digest()
