"""Data drift: the profile of the table that a champion was trained on, and how far another may be from it."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import pandas as pd

Z = 2.576
"""Normal quantile of two-sided 99 %: about one false alarm in a hundred samples of the same source."""

QUANTILES = (0.05, 0.5, 0.95)

MOSTLY = 0.85
"""Share of the lengths that must lie between the outer quantiles, stretched; nine in ten of the champion's do."""

LENGTH_FACTOR = 1.5

SOURCE_BAND = 0.1

COPIES_BAND = 0.02

_SHARES = {
    "chosen_is_longer": "the longer response is preferred more or less often than in the champion's data",
    "is_tie": "annotators are undecided more or less often than in the champion's data",
    "majority": "annotators agree more or less than in the champion's data",
}


class Profile(TypedDict):
    """Numbers of a table, kept beside its snapshot.

    Attributes:
        rows: count of rows.
        means: of every column of shares and flags.
        quantiles: of every column of lengths in words, at `QUANTILES`.
        sources: share of the rows by file or data set.
    """

    rows: int
    means: dict[str, float]
    quantiles: dict[str, list[float]]
    sources: dict[str, float]


def profile(numbers: pd.DataFrame) -> Profile:
    """The profile of a table.

    Args:
        numbers: from `data_contracts.suites.measures.gather`.
    """
    lengths = [name for name in numbers if str(name).endswith("_words")]
    means = [name for name in (*_SHARES, "copies", "is_held_out") if name in numbers]
    return Profile(
        rows=len(numbers),
        means={name: float(numbers[name].mean()) for name in means},
        quantiles={str(name): [float(q) for q in numbers[name].quantile(QUANTILES)] for name in lengths},
        sources={str(name): float(share) for name, share in numbers["source"].value_counts(normalize=True).items()},
    )


def source_flags(numbers: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The numbers with a column of 0 and 1 for each source, instead of the source."""
    flags = {_flag(name): (numbers["source"] == name).astype(float) for name in names}
    return numbers.drop(columns="source").assign(**flags)


def drift_expectations(champion: Profile, rows: int) -> list[dict[str, Any]]:
    """Expectations on a table that comes after the champion's.

    Shares may differ by the 99 % interval of the difference of two independent binomial samples of their sizes,
    z sqrt(p (1 - p) (1/n + 1/m)); samples that overlap differ less. `majority` varies less than a coin, so its
    interval is wide. Quantiles of lengths may differ by a factor, shares of sources and copies by a fixed band.

    Args:
        champion: profile of the table that the champion was trained on.
        rows: count of rows of the new table.
    """
    mend = "ask what changed at the source, or let the next champion be trained on the new data knowingly"
    expectations = [
        _expect(
            "expect_table_row_count_to_be_between",
            {"min_value": champion["rows"] // 2},
            "less than half of the champion's rows",
            mend,
        )
    ]
    for name, mean in champion["means"].items():
        if name in _SHARES:
            spread = Z * math.sqrt(max(mean * (1 - mean), 1e-4) * (1 / champion["rows"] + 1 / rows))
            bounds = {"column": name, "min_value": mean - spread, "max_value": mean + spread}
            expectations.append(_expect("expect_column_mean_to_be_between", bounds, _SHARES[name], mend))
    copies = {"column": "copies", "max_value": champion["means"]["copies"] + COPIES_BAND}
    expectations.append(_expect("expect_column_mean_to_be_between", copies, "more rows are copies", mend))
    for name, (low, middle, high) in champion["quantiles"].items():
        median = {"column": name, **_stretched(middle, middle)}
        reason = "texts are much longer or shorter than the champion's"
        expectations.append(_expect("expect_column_median_to_be_between", median, reason, mend))
        most = {"column": name, **_stretched(low, high), "mostly": MOSTLY}
        reason = "many texts are longer or shorter than nearly all of the champion's"
        expectations.append(_expect("expect_column_values_to_be_between", most, reason, mend))
    for name, share in champion["sources"].items():
        bounds = {"column": _flag(name), "min_value": share - SOURCE_BAND, "max_value": share + SOURCE_BAND}
        expectations.append(_expect("expect_column_mean_to_be_between", bounds, "the mix of sources changed", mend))
    return expectations


def _stretched(low: float, high: float) -> dict[str, float]:
    return {"min_value": low / LENGTH_FACTOR - 1, "max_value": high * LENGTH_FACTOR + 1}


def _flag(source: str) -> str:
    return f"from {source}"


def _expect(kind: str, kwargs: dict[str, Any], reason: str, mend: str) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "meta": {"reason": reason, "mend": mend}}
