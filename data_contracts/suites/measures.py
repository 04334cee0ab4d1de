"""The numeric columns that a suite checks, measured from a table; no text is among them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.records import SPLIT, TEXTS, VOTES, Kind


def measure(kind: Kind, frame: pd.DataFrame, copies: NDArray[np.int64]) -> pd.DataFrame:
    """Numbers of some rows.

    Args:
        kind: which kind of data.
        frame: rows that meet their contract, with their split.
        copies: how many other rows had the same texts, whatever became of them; shape ``[N]``.

    Returns:
        A row of numbers for each row: a 64-bit hash of each text under its name, `<text>_words`, `is_held_out` (1 in
        the test split), `copies`, the `source` as a category; for demonstrations `response_repeats_prompt`; for
        preferences `chosen_is_longer` (one half for equal length), `is_tie` and `majority` (its share of the votes,
        half of those that were tied counted in).
    """
    texts = {name: frame[name].tolist() for name in TEXTS[kind]}
    numbers: dict[str, object] = {}
    for name, cells in texts.items():
        hashes = pd.util.hash_array(np.array(cells, dtype=object), categorize=False)
        numbers[name] = hashes.view(np.int64)
        numbers[f"{name}_words"] = np.fromiter((len(cell.split()) for cell in cells), np.int32, len(cells))
    numbers["is_held_out"] = (frame[SPLIT] == "test").to_numpy(dtype=np.float64)
    numbers["copies"] = copies.astype(np.float64)
    numbers["source"] = pd.Categorical(frame["source"].tolist())
    if kind == "demonstrations":
        pairs = zip(texts["prompt"], texts["response"], strict=True)
        numbers["response_repeats_prompt"] = np.array([b.startswith(a) for a, b in pairs], dtype=np.float64)
    if kind == "preferences":
        chosen, rejected = np.asarray(numbers["chosen_words"]), np.asarray(numbers["rejected_words"])
        numbers["chosen_is_longer"] = (np.sign(chosen - rejected) / 2 + 0.5).astype(np.float64)
        for_chosen, against, tied = (frame[name].to_numpy() for name in VOTES)
        numbers["is_tie"] = (for_chosen == against).astype(np.float64)
        numbers["majority"] = ((for_chosen + tied / 2) / (for_chosen + against + tied)).astype(np.float64)
    return pd.DataFrame(numbers)


def gather(kind: Kind, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The numbers of a whole table.

    Args:
        kind: which kind of data.
        parts: from `measure`.

    Returns:
        All rows; for demonstrations with `held_out_response_is_known` (1 if a held-out response stands in the training
        rows too, empty for training rows).
    """
    sources = pd.api.types.union_categoricals([part["source"] for part in parts])
    numbers = pd.concat([part.drop(columns="source") for part in parts], ignore_index=True).assign(source=sources)
    if kind != "demonstrations":
        return numbers
    held_out = numbers["is_held_out"] == 1
    repeats = numbers["response"].isin(numbers.loc[~held_out, "response"].unique())
    return numbers.assign(held_out_response_is_known=repeats.astype(np.float64).where(held_out))
