"""Formats by name: functions from a raw row to records, which one decorator adds."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from data_contracts.formats.items import Convert, RawRow
from data_contracts.records import Kind

OWN = 100
"""Precedence of formats that users add; those of this project are below it."""


class Adapter(NamedTuple):
    """How a format gives records of one kind, and how its rows are recognised."""

    convert: Convert
    fits: Callable[[RawRow], bool]
    precedence: int


class SeveralFormats(ValueError):
    """A row looks like several formats of one precedence."""


Some = TypeVar("Some", bound=Convert)
FORMATS: dict[str, dict[Kind, Adapter]] = {}


def adapter(name: str, kind: Kind, *, fits: Callable[[RawRow], bool], precedence: int = OWN) -> Callable[[Some], Some]:
    """Register a function as what a format gives of one kind; a later one of the same name and kind replaces it.

    Args:
        name: how configurations call the format.
        kind: what the function makes.
        fits: whether a raw row looks like the format; used where a configuration names none.
        precedence: of several formats that a row looks like, the one with the highest is meant. `trl`, the most
            general, has 0; the more a row must hold to look like a format, the higher.

    Returns:
        A decorator that leaves the function as it is. The function yields records (dicts with the texts of the kind;
        for preferences `votes_chosen` and `votes_rejected` where there are votes), `LeftOut` and `Ballot`, or raises
        `Misfit`.
    """

    def register(convert: Some) -> Some:
        FORMATS.setdefault(name, {})[kind] = Adapter(convert, fits, precedence)
        return convert

    return register


def recognise(row: RawRow) -> str | None:
    """The format that a raw row looks like, of several the one of the highest precedence.

    Raises:
        SeveralFormats: if that is more than one.
    """
    fitting = {
        name: max(entry.precedence for entry in entries)
        for name, adapters in FORMATS.items()
        if (entries := [entry for entry in adapters.values() if entry.fits(row)])
    }
    names = sorted(name for name, precedence in fitting.items() if precedence == max(fitting.values()))
    if len(names) > 1:
        raise SeveralFormats(f"looks like {' and '.join(names)} alike")
    return names[0] if names else None


def fits(name: str, kind: Kind, row: RawRow) -> bool:
    """Whether a raw row looks as if a format gave a kind of data of it."""
    return kind in FORMATS[name] and FORMATS[name][kind].fits(row)


def makers(kind: Kind) -> list[str]:
    """Names of the formats that give a kind of data, the most general first; pairs have preferred answers too."""
    enough = (kind, "preferences") if kind == "demonstrations" else (kind,)
    found = {
        name: max(adapters[given].precedence for given in enough if given in adapters)
        for name, adapters in FORMATS.items()
        if any(given in adapters for given in enough)
    }
    return sorted(found, key=lambda name: (found[name], name))


def has(*fields: str) -> Callable[[RawRow], bool]:
    """A test for rows that have all of these fields, be they null."""
    return lambda row: all(field in row for field in fields)


def holds(*fields: str, verdict: str | None = None) -> Callable[[RawRow], bool]:
    """A test for rows in which all of these fields hold something.

    Args:
        fields: their names.
        verdict: one that must be there, but may be null, as nobody may have voted.
    """
    return lambda row: all(row.get(field) is not None for field in fields) and (verdict is None or verdict in row)
