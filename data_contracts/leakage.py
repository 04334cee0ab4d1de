"""What is held out must stay held out: no prompt of the test split of any table may train through another."""

from collections.abc import Mapping

import pandas as pd

from data_contracts.records import SPLIT, Kind
from data_contracts.validation import Violation, row_number

HELD_OUT = "test"
RULE = "prompt_not_held_out"
REASON = "rows that train have a prompt that is held out in a table of this climb"
MEND = "give rows with the same prompt the same group in every table, or remove these rows"


def find_leaks(tables: Mapping[Kind, pd.DataFrame]) -> dict[Kind, tuple[Violation, ...]]:
    """Rows outside the test split whose prompt lies in the test split of any table, itself included.

    Prompts are compared without regard to case and white space.

    Args:
        tables: tables that meet their contracts, with their splits.

    Returns:
        The violations by kind; kinds without any are absent.
    """
    held_out: set[str] = set()
    for frame in tables.values():
        held_out.update(map(_normal, frame.loc[frame[SPLIT] == HELD_OUT, "prompt"]))
    leaks = {kind: _leaks(frame, held_out) for kind, frame in tables.items()}
    return {kind: found for kind, found in leaks.items() if found}


def _leaks(frame: pd.DataFrame, held_out: set[str]) -> tuple[Violation, ...]:
    rows = zip(frame["prompt"], frame[SPLIT], frame["source"], strict=True)
    return tuple(
        Violation(source, row_number(frame, position), RULE, "prompt", REASON, MEND)
        for position, (prompt, split, source) in enumerate(rows)
        if split != HELD_OUT and _normal(prompt) in held_out
    )


def _normal(prompt: str) -> str:
    return " ".join(prompt.casefold().split())
