"""The columns of some rows as a guess looks at them: nested ones by their paths, and what is in each."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from data_contracts.formats.fields import number_in
from data_contracts.formats.items import RawRow

DEEPEST = 3


class SeenColumns:
    """Columns with their cells.

    Attributes:
        left: columns that nothing has taken yet, in the order of the file.
    """

    def __init__(self, rows: Sequence[RawRow]) -> None:
        self.rows = [dict(_paths(row)) for row in rows]
        self.left = list(dict.fromkeys(name for row in self.rows for name in row))

    def take(self, *names: str) -> tuple[str, ...]:
        """Columns that have found their use."""
        self.left = [name for name in self.left if name not in names]
        return names

    def cells(self, name: str) -> list[Any]:
        """What stands in a column where it is not blank."""
        cells = (row.get(name) for row in self.rows)
        return [cell for cell in cells if cell is not None and not (isinstance(cell, str) and not cell.strip())]

    def length(self, *names: str) -> float:
        """Mean characters of the cells in some columns; 0 without any."""
        cells = [cell for name in names for cell in self.cells(name)]
        return sum(len(str(cell)) for cell in cells) / max(len(cells), 1)

    def is_numeric(self, name: str) -> bool:
        """Whether all cells are numbers, or numbers as text."""
        cells = [number_in(cell) for cell in self.cells(name)]
        return bool(cells) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)

    def is_list(self, name: str, of: type) -> bool:
        """Whether all cells are lists of one type, or the JSON text of such lists."""
        cells = [_listed(cell) for cell in self.cells(name)]
        return bool(cells) and all(
            isinstance(cell, list) and cell != [] and all(isinstance(item, of) for item in cell) for cell in cells
        )


def _paths(row: RawRow, before: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """The cells of a row; those of an object by the path to them, unless it is one message or goes too deep."""
    for name, cell in row.items():
        if isinstance(cell, dict) and cell and "role" not in cell and depth < DEEPEST and _has_names(cell):
            yield from _paths(cell, f"{before}{name}.", depth + 1)
        else:
            yield f"{before}{name}", cell


def _has_names(cell: dict[Any, Any]) -> bool:
    """Whether an object has fields, and not what several people said by their numbers."""
    return not all(str(key).isdecimal() for key in cell)


def _listed(cell: Any) -> Any:
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def any_word(words: Iterable[str], among: frozenset[str]) -> bool:
    """Whether one of some words is among others."""
    return not among.isdisjoint(words)
