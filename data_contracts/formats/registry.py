"""Formats by name: functions from a raw row to records, which one decorator adds."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from data_contracts.formats.items import Convert, RawRow
from data_contracts.records import Kind


class Adapter(NamedTuple):
    """How a format gives records of one kind, and how its rows are recognised."""

    convert: Convert
    fits: Callable[[RawRow], bool]


Some = TypeVar("Some", bound=Convert)
FORMATS: dict[str, dict[Kind, Adapter]] = {}


def adapter(name: str, kind: Kind, *, fits: Callable[[RawRow], bool]) -> Callable[[Some], Some]:
    """Register a function as what a format gives of one kind; a later one of the same name and kind replaces it.

    Args:
        name: how configurations call the format.
        kind: what the function makes.
        fits: whether a raw row looks like the format; used where a configuration names none.

    Returns:
        A decorator that leaves the function as it is. The function yields records (dicts with the texts of the kind;
        for preferences `votes_chosen` and `votes_rejected` where there are votes), `LeftOut` and `Ballot`, or raises
        `Misfit`.
    """

    def register(convert: Some) -> Some:
        FORMATS.setdefault(name, {})[kind] = Adapter(convert, fits)
        return convert

    return register


def recognise(row: RawRow) -> str | None:
    """The format that a raw row looks like; of several, the one that was registered last, as user formats are."""
    for name, adapters in reversed(FORMATS.items()):
        if any(entry.fits(row) for entry in adapters.values()):
            return name
    return None


def makers(kind: Kind) -> list[str]:
    """Names of the formats that give a kind of data."""
    return [name for name, adapters in FORMATS.items() if kind in adapters]


def has(*fields: str) -> Callable[[RawRow], bool]:
    """A test for rows that have all of these fields."""
    return lambda row: all(field in row for field in fields)
