"""RewardBench's pairs (Lambert et al., 2024): a prompt, two responses, and the subset that the pair belongs to."""

from collections.abc import Iterator

from data_contracts.formats import trl
from data_contracts.formats.fields import cell_of, turns_of
from data_contracts.formats.items import Item, RawRow, Record
from data_contracts.formats.registry import adapter, holds

SUBSET = "subset"

_is_rewardbench = holds("prompt", "chosen", "rejected", SUBSET)


@adapter("rewardbench", "preferences", fits=_is_rewardbench, precedence=10)
def preferences(row: RawRow) -> Iterator[Item]:
    """Two answers as text, or two whole conversations as lists of messages, which then hold the prompt themselves."""
    yield from trl.preferences(_without_repeated_prompt(row))


@adapter("rewardbench", "prompts", fits=_is_rewardbench, precedence=10)
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt of a pair."""
    yield {"prompt": pair(row)["prompt"]}


def pair(row: RawRow) -> Record:
    """The prompt and the two responses of a row, whatever it says of how much better one is.

    Raises:
        Misfit: if it is something else.
    """
    return trl.pair(_without_repeated_prompt(row))


def _without_repeated_prompt(row: RawRow) -> RawRow:
    sides = [turns_of(row, name) for name in ("chosen", "rejected")]
    if any(isinstance(side, list) and len(side) > 1 for side in sides):
        return {name: cell for name, cell in row.items() if name != "prompt"}
    cell_of(row, "prompt")
    return row
