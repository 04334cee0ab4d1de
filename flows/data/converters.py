"""The function that makes records of a file's rows: by a format that is named, recognised, or said by its columns."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches

from data_contracts.formats.convert import SourceRow
from data_contracts.formats.items import Convert, RawRow
from data_contracts.formats.preferred import preferred_answers
from data_contracts.formats.registry import FORMATS, Adapter, SeveralFormats, fits, recognise
from data_contracts.records import Kind
from flows.config.columns import ColumnFormat
from flows.config.data import Format, Source
from flows.config.errors import InputError
from flows.data.mapping.guess import guess_columns
from flows.data.mapping.rows import has_column, mapped
from flows.data.mapping.unread import MOST_ROWS, unread_labels

SHOWN = 50
"""Columns of a file that an error lists."""

_MAP = "map its columns with `format: {columns: ...}`, as `rlhf data inspect` guesses them"


def converter(
    kind: Kind, source: Source, chunk: list[SourceRow], spare: Callable[[Convert], Convert]
) -> tuple[Convert, tuple[str, ...]]:
    """The function for the rows of a file, and what a person should know of its choice.

    Pairs give their preferred answers as demonstrations, where they hold no others.

    Args:
        kind: what the rows shall give.
        source: the format, by name or by columns, if it is said.
        chunk: the first rows of the file.
        spare: takes withdrawn votes out of what makes pairs.

    Raises:
        InputError: if no format is said and none recognised, if it gives no such data or leaves labels unread, or if
            columns are mapped that no row has.
    """
    file, rows = chunk[0].source, [row for _, _, row in chunk]
    given = kinds_of(source.format or recognised(chunk[0]), rows[0])
    if kind == "demonstrations" and kind not in given and "preferences" in given:
        convert, remarks = converter("preferences", source, chunk, spare)
        return preferred_answers(convert), remarks
    whole = spare if kind == "preferences" else lambda convert: convert
    if isinstance(source.format, ColumnFormat):
        _refuse_absent(source.format, rows, file)
        return whole(mapped(source.format, kind)), ()
    name = source.format or recognised(chunk[0])
    adapters: Mapping[Kind, Adapter] = FORMATS[name]
    if kind not in adapters or not (source.format or any(map(adapters[kind].fits, rows))):
        raise InputError(f"{file}: looks like {name}, which gives {', '.join(given)} and no {kind}{_mend(rows, kind)}")
    labels = {} if kind == "prompts" else unread_labels(rows, adapters[kind].convert)
    if sure := [label for label, prefers_both in labels.items() if prefers_both and source.format is None]:
        raise InputError(
            f"{file}: looks like {name}, which does not read {', '.join(sure)}, where labels seem to stand: {_MAP}, or "
            f"write `format: {name}` if they are none"
        )
    return whole(adapters[kind].convert), tuple(
        f"{file}: labels seem to stand in {label}, which format {name} does not read" for label in labels
    )


def kinds_of(form: Format, row: RawRow) -> list[Kind]:
    """What a row of a format gives by itself."""
    if isinstance(form, ColumnFormat):
        return list(form.columns.kinds)
    return [kind for kind in FORMATS[form] if fits(form, kind, row)]


def recognised(first: SourceRow) -> str:
    """The format that the first row of a file looks like.

    Raises:
        InputError: if that is none, or several alike.
    """
    try:
        name = recognise(first.row)
    except SeveralFormats as error:
        raise InputError(
            f"{first.source} row {first.number}: {error}; name one as its `format`, or give one a higher precedence"
        ) from None
    if name is None:
        raise InputError(
            f"{no_format(first)}; name one of {', '.join(sorted(FORMATS))} as its `format`, {_MAP}, or register one"
        )
    return name


def no_format(first: SourceRow) -> str:
    """That no format is recognised in the first row of a file."""
    fields = ", ".join(map(str, list(first.row)[:10]))
    return f"{first.source} row {first.number}: no known format has the fields {fields}"


def _mend(rows: list[RawRow], kind: Kind) -> str:
    """What to do about a file that gives no data of a kind."""
    guess = guess_columns(rows[:MOST_ROWS])
    return f": {_MAP}" if guess.format and kind in guess.mapping.columns.kinds else "; move it"


def _refuse_absent(mapping: ColumnFormat, rows: list[RawRow], file: str) -> None:
    """Refuse columns that no row has; where some lack one, it is as good as null."""
    absent = {
        name: use
        for use, names in mapping.columns.by_use.items()
        for name in names
        if not any(has_column(row, name) for row in rows)
    }
    if absent:
        there = list(dict.fromkeys(str(name) for row in rows for name in row))
        wrong = ", ".join(f"'{name}' ({use}{_meant(name, there)})" for name, use in absent.items())
        raise InputError(f"{file}: has no column {wrong}; it has {', '.join(there[:SHOWN])}: mend format.columns")


def _meant(name: str, there: list[str]) -> str:
    by_letters = {other.casefold(): other for other in there}
    close = get_close_matches(name.casefold(), by_letters, n=1)
    return f"; did you mean '{by_letters[close[0]]}'?" if close else ""
