"""Seed tasks of Self-Instruct (Wang et al., 2023): instructions with an input, if any, and a written output."""

from collections.abc import Iterator
from typing import Any

from data_contracts.formats.fields import objects_of, text_of
from data_contracts.formats.items import Misfit, RawRow, Record
from data_contracts.formats.registry import adapter, holds

_is_task = holds("instruction", "instances")


@adapter("self-instruct", "demonstrations", fits=_is_task, precedence=20)
def demonstrations(row: RawRow) -> Iterator[Record]:
    """One demonstration for each instance, grouped by the instruction."""
    for instance in objects_of(row, "instances"):
        yield {
            "prompt": _ask(row, instance),
            "response": text_of(instance, "output"),
            "group": text_of(row, "instruction"),
        }


@adapter("self-instruct", "prompts", fits=_is_task, precedence=20)
def prompts(row: RawRow) -> Iterator[Record]:
    """One prompt for each instance."""
    for instance in objects_of(row, "instances"):
        yield {"prompt": _ask(row, instance), "group": text_of(row, "instruction")}


def _ask(row: RawRow, instance: RawRow) -> Any:
    instruction = text_of(row, "instruction")
    context = "" if instance.get("input") is None else text_of(instance, "input")
    for field, text in (("instruction", instruction), ("input", context)):
        if not isinstance(text, str):
            raise Misfit(field, "is not text")
    return f"{instruction.strip()}\n\n{context.strip()}".strip()
