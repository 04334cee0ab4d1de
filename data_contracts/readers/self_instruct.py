"""Seed tasks of Self-Instruct (Wang et al., 2023): instructions with an input, if any, and a written output."""

from typing import Any

from data_contracts.readers.rows import Skip


def demonstrations(row: dict[str, Any]) -> list[dict[str, Any]]:
    """One demonstration for each instance, grouped by the instruction."""
    instruction = row["instruction"].strip()
    made = [
        {
            "prompt": f"{instruction}\n\n{instance['input'].strip()}".strip(),
            "response": instance["output"].strip(),
            "group": instruction,
        }
        for instance in row["instances"]
        if instance["output"].strip()
    ]
    if not made:
        raise Skip("no instance has an output")
    return made
