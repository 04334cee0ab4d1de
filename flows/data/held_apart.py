"""What no row may train on: prompts that are held out, groups of evaluation sets, and prompts that are nearly those."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.records import SPLIT
from flows.data.near_duplicates import HeldOutPrompts
from flows.storage.text_hashes import loose_hashes, loose_text, text_hashes

HELD_OUT = "test"


class RowPlace(NamedTuple):
    """Where a row stands."""

    source: str
    row: int


RowPlaces = dict[str, RowPlace]
"""Texts, as `loose_text` writes them, with where the first of each stands."""


def note_places(places: RowPlaces, texts: Iterable[str], frame: pd.DataFrame) -> None:
    """Add the texts of some rows to those that are known.

    Args:
        places: of those.
        texts: one for each row.
        frame: the rows, with `source` and `row`.
    """
    for text, *place in zip(texts, frame["source"].tolist(), frame["row"].tolist(), strict=True):
        places.setdefault(text, RowPlace(*place))


def evaluated_texts(frames: Iterable[pd.DataFrame]) -> RowPlaces:
    """The prompts and groups of evaluation sets, on none of which anything may train."""
    places: RowPlaces = {}
    for frame in frames:
        for name in ("prompt", "group"):
            note_places(places, map(loose_text, frame[name].tolist()), frame)
    return places


class HeldApart:
    """Prompts and groups on which no row may train."""

    def __init__(self, held_out: Iterable[Mapping[str, RowPlace]], evaluated: RowPlaces, near: float | None) -> None:
        """Index them.

        Args:
            held_out: prompts of the test split of each table.
            evaluated: those of evaluation sets, and groups beside those that the split keeps apart anyway.
            near: similarity from which on a prompt is too near one of them; None looks at none.
        """
        places: RowPlaces = {}
        for some in (*held_out, evaluated):
            places = {**some, **places}
        texts = sorted(places)
        self._prompts = np.sort(text_hashes(texts))
        self._groups = np.sort(text_hashes(list(evaluated)))
        self._near = None if near is None else HeldOutPrompts(texts)
        self._places = [] if near is None else [places[text] for text in texts]
        self._least = near or 1.0

    def leaks(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows train on a prompt that is held out; shape ``[N]``.

        Args:
            frame: rows with `prompt_key`, `group` and their split.
        """
        leaks = _among(frame["prompt_key"].to_numpy(), self._prompts)
        if len(self._groups):
            leaks |= _among(loose_hashes(frame["group"].tolist()), self._groups)
        return np.asarray(leaks & (frame[SPLIT] != HELD_OUT).to_numpy(), dtype=bool)

    def near_leaks(self, frame: pd.DataFrame) -> tuple[NDArray[np.bool_], list[str]]:
        """Which rows train on a prompt that is nearly a held-out one, and which that is; shape ``[N]`` each."""
        near, neighbours = np.zeros(len(frame), dtype=bool), [""] * len(frame)
        if self._near is None:
            return near, neighbours
        trains = np.flatnonzero(frame[SPLIT].to_numpy() != HELD_OUT)
        texts = list(map(loose_text, frame["prompt"].iloc[trains].tolist()))
        similarities, prompts = self._near.nearest(texts, self._least)
        for found in np.flatnonzero(prompts >= 0):
            at, place = trains[found], self._places[prompts[found]]
            near[at], neighbours[at] = True, f"{place.source} row {place.row}, similarity {similarities[found]:.2f}"
        return near, neighbours


def _among(hashes: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which hashes are among some, shape ``[N]``; unlike `numpy.isin`, it does not sort these again for each batch."""
    if not len(ascending):
        return np.zeros(len(hashes), dtype=bool)
    return np.asarray(ascending[np.searchsorted(ascending, hashes).clip(max=len(ascending) - 1)] == hashes)
