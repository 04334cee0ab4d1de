"""RewardBench's pairs (Lambert et al., 2024): a prompt, two responses, and the subset that the pair belongs to."""

from collections.abc import Iterator

from data_contracts.formats import trl
from data_contracts.formats.items import RawRow, Record, text_of
from data_contracts.formats.registry import adapter, has

SUBSET = "subset"

_is_rewardbench = has("prompt", "chosen", "rejected", SUBSET)


@adapter("rewardbench", "preferences", fits=_is_rewardbench)
def preferences(row: RawRow) -> Iterator[Record]:
    """Two answers as text, or two whole conversations as lists of messages, which then hold the prompt themselves."""
    whole = [isinstance(text_of(row, name), list) and len(row[name]) > 1 for name in ("chosen", "rejected")]
    if any(whole):
        yield from trl.preferences({name: cell for name, cell in row.items() if name != "prompt"})
    else:
        text_of(row, "prompt")
        yield from trl.preferences(row)


@adapter("rewardbench", "prompts", fits=_is_rewardbench)
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt of a pair."""
    for record in preferences(row):
        yield {"prompt": record["prompt"]}
