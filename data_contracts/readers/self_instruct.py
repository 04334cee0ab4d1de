"""Seed tasks of Self-Instruct (Wang et al., 2023): instructions with an input, if any, and a written output."""

from typing import Any

from data_contracts.readers.rows import Skip, objects_of, text_of


def demonstrations(row: dict[str, Any]) -> list[dict[str, Any]]:
    """One demonstration for each instance, grouped by the instruction."""
    instruction = text_of(row, "instruction").strip()
    made = [
        {
            "prompt": f"{instruction}\n\n{text_of(instance, 'input').strip()}".strip(),
            "response": output,
            "group": instruction,
        }
        for instance in objects_of(row, "instances")
        if (output := text_of(instance, "output").strip())
    ]
    if not made:
        raise Skip("no instance has an output")
    return made
