"""Labelled pairs in RewardBench's format, read from files or the hub; no model is asked."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data_contracts.conversation import Message
from data_contracts.formats.convert import SourceRow
from data_contracts.formats.items import Misfit
from data_contracts.formats.rewardbench import SUBSET, pair
from data_contracts.schemas.rules import is_text
from flows.config.errors import InputError
from flows.data.file_search import SUFFIXES, find_files, unpacked
from flows.data.files import read_file, read_hub
from flows.inference.arguments import HUB

ALL = "all"
"""Subset of every pair where no pair names one."""

FORM = "write prompt, chosen and rejected as text, or chosen and rejected as lists of messages, prompt and all"


class LabelledPair(NamedTuple):
    """A pair as a file has it, with its subset; white space stays, which RewardBench scores too."""

    subset: str
    prompt: str
    chosen: str
    rejected: str


def read_pair_set(source: str, *, split: str, subsets: Sequence[str]) -> list[LabelledPair]:
    """Read pairs in RewardBench's format.

    Args:
        source: a file, folder or glob; or owner/name of the hub, with @revision or without.
        split: of a data set of the hub.
        subsets: those to keep; none keeps all.

    Returns:
        Pairs in their order, all of subset `all` where none names any.

    Raises:
        InputError: naming the row and field that is not what the format says, or a subset that there is not.
    """
    rows = list(_rows(source, split))
    named = any(SUBSET in row.row for row in rows)
    pairs = [_pair(row, named) for row in rows]
    names = list(dict.fromkeys(pair.subset for pair in pairs))
    if unknown := [name for name in subsets if name not in names]:
        raise InputError(f"--subset {', '.join(unknown)}: {source} has none of that name; it has {', '.join(names)}")
    return [pair for pair in pairs if not subsets or pair.subset in subsets]


def _rows(source: str, split: str) -> Iterator[SourceRow]:
    hub = HUB.fullmatch(source)
    if hub and not Path(source).exists() and not unpacked(source).endswith(SUFFIXES):
        yield from read_hub(hub["name"], revision=hub["revision"] or "main", split=split, data_dir=None)
        return
    for path in find_files(Path(source)):
        yield from read_file(path, path.name)


def _pair(row: SourceRow, named: bool) -> LabelledPair:
    place = f"{row.source} row {row.number}"
    subset = row.row.get(SUBSET) if named else ALL
    if not isinstance(subset, str):
        raise InputError(
            f"{place}, field {SUBSET}: is {_missing(subset)}, and other rows name one; name it or remove the row"
        )
    try:
        record = pair(row.row)
    except Misfit as misfit:
        raise InputError(f"{place}, field {misfit.field}: {misfit.reason}; {FORM}") from None
    prompt = _as_prompt(record["prompt"])
    for name, cell in (("prompt", prompt), ("chosen", record["chosen"]), ("rejected", record["rejected"])):
        if not is_text(cell):
            raise InputError(f"{place}, field {name}: is not text; {FORM}")
    return LabelledPair(subset, prompt, record["chosen"], record["rejected"])


def _as_prompt(prompt: str | list[Message]) -> str:
    """A prompt as models read it: the text of a single user turn, else its messages as JSON, white space and all."""
    if not isinstance(prompt, list):
        return prompt
    return prompt[0]["content"] if [turn["role"] for turn in prompt] == ["user"] else json.dumps(prompt)


def _missing(cell: object) -> str:
    return "missing" if cell is None else "not text"
