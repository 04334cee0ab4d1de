"""Readers by name: each turns the rows of one raw format into records of one kind, and nothing else."""

from collections.abc import Callable
from typing import Any, NamedTuple

from data_contracts.readers import hh_rlhf, oasst, self_instruct
from data_contracts.readers.rows import Read, ReadError, read_json_lines, read_rows
from data_contracts.records import Kind

__all__ = ["READERS", "Read", "ReadError", "Reader", "read_json_lines", "read_rows"]


class Reader(NamedTuple):
    """What a reader makes, and how it turns one raw row into records; it raises `Skip` for a row it leaves out."""

    kind: Kind
    convert: Callable[[dict[str, Any]], list[dict[str, Any]]]


READERS: dict[str, Reader] = {
    "hh-rlhf-preferences": Reader("preferences", hh_rlhf.preferences),
    "hh-rlhf-prompts": Reader("prompts", hh_rlhf.prompts),
    "hh-rlhf-demonstrations": Reader("demonstrations", hh_rlhf.demonstrations),
    "oasst-demonstrations": Reader("demonstrations", oasst.demonstrations),
    "oasst-preferences": Reader("preferences", oasst.preferences),
    "self-instruct-demonstrations": Reader("demonstrations", self_instruct.demonstrations),
}
