"""The figures of a table that its suite is about, one column each."""

import numpy as np
import pandas as pd

from data_contracts.records import SPLIT, Kind

TEXTS: dict[Kind, tuple[str, ...]] = {
    "demonstrations": ("prompt", "response"),
    "preferences": ("prompt", "chosen", "rejected"),
    "prompts": ("prompt",),
}


def measure(kind: Kind, frame: pd.DataFrame) -> pd.DataFrame:
    """Add the figures that the suite of a kind of data is about.

    Args:
        kind: which kind of data.
        frame: rows that meet their contract, with their split.

    Returns:
        The table with `<text>_words` for every text, `is_held_out` (1 in the test split) and, for demonstrations,
        `response_repeats_prompt` and `held_out_response_is_known` (1 if a held-out response stands in the training
        rows too, empty for training rows); for preferences `chosen_is_longer` (one half for equal length) and `is_tie`.
    """
    measured = frame.assign(
        is_held_out=(frame[SPLIT] == "test").astype(float),
        **{f"{name}_words": frame[name].str.split().map(len) for name in TEXTS[kind]},
    )
    if kind == "demonstrations":
        return measured.assign(
            response_repeats_prompt=_repeats_prompt(frame), held_out_response_is_known=_is_known(frame)
        )
    if kind == "preferences":
        longer = np.sign(measured["chosen_words"] - measured["rejected_words"]) / 2 + 0.5
        ties = (frame["votes_chosen"] == frame["votes_rejected"]).astype(float)
        return measured.assign(chosen_is_longer=longer, is_tie=ties)
    return measured


def _repeats_prompt(frame: pd.DataFrame) -> list[float]:
    texts = zip(frame["prompt"].tolist(), frame["response"].tolist(), strict=True)
    return [float(response.startswith(prompt)) for prompt, response in texts]


def _is_known(frame: pd.DataFrame) -> pd.Series:
    held_out = frame[SPLIT] == "test"
    known = set(frame.loc[~held_out, "response"])
    return frame["response"].isin(known).astype(float).where(held_out)
