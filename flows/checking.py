"""Hold raw tables against everything that is asked of them, and say all that is wrong at once."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from data_contracts.leakage import find_leaks
from data_contracts.population import Population, PopulationViolation, check_population
from data_contracts.preferences import aggregate_votes
from data_contracts.records import Kind
from data_contracts.validation import ContractViolation, find_violations
from flows.config import InputError
from flows.datasets import EmptySplit, Shares, split_by_group

Problem = ContractViolation | PopulationViolation | EmptySplit
MENDED_BY_MERGING: dict[Kind, tuple[str, ...]] = {
    "demonstrations": (),
    "preferences": ("pair_not_repeated", "pair_not_contradicted"),
    "prompts": (),
}
"""Rules that raw rows may break, because merging votes mends it."""


class DataRefused(InputError):
    """Tables that may not be used; `problems` holds what is wrong with each.

    The message names rows, never their text.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(["the data are refused and nothing was written", *map(str, self.problems)])


class Checked(NamedTuple):
    """A table that met its contract and its suite, with its split, and what the suite saw."""

    frame: pd.DataFrame
    population: Population


def check_tables(frames: Mapping[Kind, pd.DataFrame], shares: Shares) -> dict[Kind, Checked]:
    """Merge votes, hold every row against its contract, split by group, look for leaks, run the suites.

    A table that fails one step skips the later ones; the other tables are still checked to the end.

    Args:
        frames: raw tables by kind.
        shares: how they are divided.

    Returns:
        The tables with their split.

    Raises:
        DataRefused: with all that is wrong with all tables.
    """
    divided: dict[Kind, pd.DataFrame] = {}
    problems: list[Problem] = []
    for kind, frame in frames.items():
        try:
            divided[kind] = divide(kind, frame, shares)
        except (ContractViolation, EmptySplit) as problem:
            problems.append(problem)
    problems += [ContractViolation(kind, leaks) for kind, leaks in find_leaks(divided).items()]
    checked: dict[Kind, Checked] = {}
    for kind, frame in divided.items():
        try:
            checked[kind] = Checked(frame, check_population(kind, frame))
        except PopulationViolation as problem:
            problems.append(problem)
    if problems:
        raise DataRefused(tuple(problems))
    return checked


def divide(kind: Kind, frame: pd.DataFrame, shares: Shares) -> pd.DataFrame:
    """Split a table whose rows meet their contract; only preferences have rows for the judge.

    Args:
        kind: which kind of data.
        frame: raw rows.
        shares: how they are divided.

    Returns:
        The rows, with repeated labels of one pair merged into votes, and their split.

    Raises:
        ContractViolation: if a row breaks its contract, before or after the split.
        EmptySplit: if there are too few groups.
    """
    violations = find_violations(kind, frame, waive=MENDED_BY_MERGING[kind])
    if violations:
        raise ContractViolation(kind, violations)
    merged = aggregate_votes(frame) if kind == "preferences" else frame
    divided = split_by_group(merged, shares, judge=kind == "preferences")
    if violations := find_violations(kind, divided):
        raise ContractViolation(kind, violations)
    return divided
