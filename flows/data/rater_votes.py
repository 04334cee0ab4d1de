"""Votes with names, gathered while preferences are read, and what they say of each rater."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.formats.convert import Batch, Cast
from data_contracts.sameness import name_form, same_form
from flows.config.raters import RatersConfig
from flows.data.sources import Read
from flows.storage.row_keys import row_keys
from flows.storage.text_hashes import text_hashes
from rlhf_core.metrics.rater_evidence import RaterVotes
from rlhf_core.metrics.raters import RANDOM, RaterFigures, measure_raters

_COLUMNS = ["prompt", "chosen", "rejected", "group", "name", "side"]


class GatheredVotes:
    """Votes on pairs by those whose names are known, and by others on the same pairs.

    Attributes:
        names: of all who voted, those included of whose votes nothing can be measured.
        contradicted: questions with a known answer that were answered either way, and measure nobody.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.contradicted = 0
        self._codes: dict[str, int] = {}
        self._parts: list[NDArray[np.int64]] = []

    def watch(self, reads: Iterable[Read]) -> Iterator[Read]:
        """The same batches of preferences, whose votes are remembered as they pass."""
        for read in reads:
            self.add(read.batch, are_labels=read.is_label)
            yield read

    def add(self, batch: Batch, *, are_labels: bool) -> None:
        """Remember the votes of a batch: those within its rows, and its rows where each is a person's label."""
        self.names |= {name for name in batch.annotators if name is not None} | {name for *_, name in batch.voters}
        votes = [vote for cast in batch.votes for vote in _votes(cast)]
        if are_labels and any(name is not None for name in batch.annotators):
            votes += _labels(batch)
        if any(vote[4] is not None for vote in votes):
            self._parts.append(self._coded(pd.DataFrame(votes, columns=_COLUMNS)))

    def measure(self, gold: Iterable[pd.DataFrame] = ()) -> dict[str, RaterFigures]:
        """Figures of every rater; nothing where no vote has a name.

        Args:
            gold: preferences whose chosen response is known to be the better one.
        """
        if not self._codes:
            return {}
        known = {answer for frame in gold for answer in zip(_keys(frame).tolist(), _order(frame).tolist(), strict=True)}
        answers = {question: order for question, order in known if (question, -order) not in known}
        self.contradicted = (len(known) - len(answers)) // 2
        return measure_raters(self.votes, answers)

    @property
    def votes(self) -> RaterVotes:
        """All votes, of a rater with a name one on each pair, with the names in their order."""
        names = sorted(self._codes)
        rank = np.array([names.index(name) for name in self._codes] + [-1], dtype=np.int64)
        columns = np.concatenate(self._parts)
        _, first = np.unique(columns[:, :2], axis=0, return_index=True)
        kept = columns[np.sort(np.union1d(first, np.flatnonzero(columns[:, 0] < 0)))]
        return RaterVotes(names, rank[kept[:, 0]], *kept[:, 1:].T)

    def _coded(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """Rater, pair, group, side and which response is longer, by the first of `_order`; shape ``[V, 5]``."""
        for name in frame["name"].dropna().unique():
            self._codes.setdefault(name, len(self._codes))
        order = _order(frame)
        chosen, rejected = ([len(text.split()) for text in frame[name]] for name in ("chosen", "rejected"))
        return np.column_stack(
            [
                frame["name"].map(self._codes).fillna(-1).to_numpy(dtype=np.int64),
                _keys(frame),
                text_hashes(frame["group"].tolist()).view(np.int64),
                order * frame["side"].to_numpy(dtype=np.int64),
                order * np.sign(np.subtract(chosen, rejected)),
            ]
        )


def exclusions(settings: RatersConfig, raters: dict[str, RaterFigures]) -> dict[str, str]:
    """Who is left out, and why; names that nobody has stand too."""
    left_out = {}
    for name, figures in raters.items():
        if settings.exclude_random and RANDOM in figures.verdicts:
            left_out[name] = RANDOM
        elif settings.exclude_below is not None and figures.kappa and figures.kappa.upper < settings.exclude_below:
            left_out[name] = f"agrees with the others less than {settings.exclude_below:g} beyond chance"
    return left_out | excluded_by_name(settings)


def excluded_by_name(settings: RatersConfig) -> dict[str, str]:
    """Who is left out whatever is known of them, and why."""
    return dict.fromkeys(map(name_form, settings.exclude), "named in contract.raters.exclude")


def unknown_raters(settings: RatersConfig, known: Iterable[str]) -> Iterator[str]:
    """A sentence on each name in the settings that nobody has who voted."""
    by_letters = {name.casefold(): name for name in known}
    for use, names in (("exclude", settings.exclude), ("weights", settings.weights)):
        for name in sorted({*map(name_form, names)} - {*by_letters.values()}):
            close = get_close_matches(name.casefold(), by_letters, n=1)
            meant = f"; did you mean {by_letters[close[0]]}?" if close else ""
            yield f"contract.raters.{use} names {name}, and no label is of anybody called so{meant}"


def _votes(cast: Cast) -> list[tuple[str, str, str, str, str | None, int]]:
    """The votes of a row by name; 1 for the first of its responses, -1 for the second."""
    if not cast.texts:
        return []
    prompt, first, second = cast.texts
    sides = {1: 1, 2: -1, 0: 0}
    return [(prompt, first, second, cast.group, name, sides[vote]) for name, vote in cast.votes]


def _labels(batch: Batch) -> list[tuple[str, str, str, str, str | None, int]]:
    """Rows as votes for their chosen response; those whose texts are none are left to the contract."""
    frame = batch.frame
    texts = zip(*(frame[name] for name in ("prompt", "chosen", "rejected", "group")), strict=True)
    even = (frame["votes_chosen"] == frame["votes_rejected"]).tolist()
    return [
        (*cells, name, 0 if is_even else 1)
        for cells, name, is_even in zip(texts, batch.annotators, even, strict=True)
        if all(isinstance(cell, str) for cell in cells)
    ]


def _order(frame: pd.DataFrame) -> NDArray[np.int64]:
    """1 where the chosen response counts as the first, else -1: a hash says so, and no text or vote; shape ``[N]``."""
    chosen, rejected = (
        text_hashes([same_form(f"{prompt}\0{text}") for prompt, text in zip(frame["prompt"], frame[name], strict=True)])
        for name in ("chosen", "rejected")
    )
    return np.where(chosen < rejected, 1, -1)


def _keys(frame: pd.DataFrame) -> NDArray[np.int64]:
    return row_keys("preferences", frame).view(np.int64)
