"""The columns of some rows as a guess looks at them: nested ones by their paths, and what is in each."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from data_contracts.formats.fields import number_in
from data_contracts.formats.items import RawRow
from data_contracts.schemas.rules import is_text
from flows.data.mapping.names import words_of
from flows.data.mapping.vocabulary import ABOUT, LABEL, REMARK

DEEPEST = 3


class SeenColumns:
    """Columns with their cells.

    Attributes:
        left: columns that a configuration can name and that nothing has taken yet, in the order of the file.
    """

    def __init__(self, rows: Sequence[RawRow]) -> None:
        self.rows = [dict(_paths(row)) for row in rows]
        self.left = list(dict.fromkeys(name for row in self.rows for name in row if name and is_text(name)))

    def take(self, *names: str) -> tuple[str, ...]:
        """Columns that have found their use."""
        self.left = [name for name in self.left if name not in names]
        return names

    def cells(self, name: str) -> list[Any]:
        """What stands in a column where it is not blank."""
        cells = (row.get(name) for row in self.rows)
        return [cell for cell in cells if cell is not None and not (isinstance(cell, str) and not cell.strip())]

    def labels(self, name: str) -> list[Any]:
        """The cells of a column, and what lists and objects in it hold, as those of several people's labels do."""
        items: list[Any] = []
        for cell in map(_listed, self.cells(name)):
            items += cell.values() if isinstance(cell, dict) else cell if isinstance(cell, list) else [cell]
        return [item for item in items if item is not None]

    def length(self, *names: str) -> float:
        """Mean characters of the cells in some columns; 0 without any."""
        cells = [cell for name in names for cell in self.cells(name)]
        return sum(len(str(cell)) for cell in cells) / max(len(cells), 1)

    def is_numeric(self, name: str) -> bool:
        """Whether all cells are numbers, or numbers as text."""
        cells = [number_in(cell) for cell in self.cells(name)]
        return bool(cells) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)

    def is_ticked(self, name: str) -> bool:
        """Whether all cells are true or false."""
        return {str(cell).strip().casefold() for cell in self.cells(name)} <= {"true", "false"}

    def is_list(self, name: str, *of: type) -> bool:
        """Whether all cells are lists of these types, or the JSON text of such lists."""
        cells = [_listed(cell) for cell in self.cells(name)]
        return bool(cells) and all(
            isinstance(cell, list) and cell != [] and all(isinstance(item, of) for item in cell) for cell in cells
        )

    def most_listed(self, name: str) -> int:
        """Items of the longest list in a column."""
        return max((len(cell) for cell in map(_listed, self.cells(name)) if isinstance(cell, list)), default=0)

    def counts_agree(self, name: str, of: str) -> bool:
        """Whether a column lists as many items as another in every row in which it says anything."""
        listed = [(_listed(row[name]), _listed(row.get(of))) for row in self.rows if row.get(name) is not None]
        lists = all(isinstance(cell, list) for pair in listed for cell in pair)
        return bool(listed) and lists and all(len(items) == len(others) for items, others in listed)

    def number_of_each(self, name: str, of: str) -> list[list[float | None]] | None:
        """The numbers of a column that lists one for each item of another; None if it does not. A tick is a number."""
        if not self.counts_agree(name, of):
            return None
        found = [[number_in(cell) for cell in _listed(cells)] for cells in self.cells(name)]
        known = [number for row in found for number in row if number is not None]
        return found if known and all(isinstance(number, int | float) for number in known) else None


def _paths(row: RawRow, before: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """The cells of a row; those of an object by their path, unless it is one message or several people's labels.

    Of a list of objects, what each says in a field is a list of its own, unless they are the turns of a conversation.
    """
    for name, cell in row.items():
        if isinstance(cell, dict) and cell and "role" not in cell and depth < DEEPEST and not _are_peoples(name, cell):
            yield from _paths(cell, f"{before}{name}.", depth + 1)
        elif _are_alternatives(cell):
            fields = dict.fromkeys(field for item in cell for field in item if field != "role")
            yield from ((f"{before}{name}.{field}", [item.get(field) for item in cell]) for field in fields)
        else:
            yield f"{before}{name}", cell


def _are_alternatives(cell: Any) -> bool:
    """Whether a cell lists objects that stand beside each other, as several responses do, and are not turns."""
    if not isinstance(cell, list) or not cell or not all(isinstance(item, dict) for item in cell):
        return False
    roles = [item.get("role", item.get("from")) for item in cell]
    return all(role is None for role in roles) or (len(cell) > 1 and all(role == "assistant" for role in roles))


def _are_peoples(name: str, cell: dict[Any, Any]) -> bool:
    """Whether an object holds what several people said, by their names."""
    fields = [words_of(str(field)) for field in cell]
    named = any_word(words_of(name), LABEL) and not any(any_word(words, LABEL | ABOUT | REMARK) for words in fields)
    return named and all(isinstance(said, str | int | float | None) for said in cell.values())


def _listed(cell: Any) -> Any:
    if isinstance(cell, str) and cell.lstrip().startswith(("[", "{")):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def any_word(words: Iterable[str], among: frozenset[str]) -> bool:
    """Whether one of some words is among others."""
    return not among.isdisjoint(words)
