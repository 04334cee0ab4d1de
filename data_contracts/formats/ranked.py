"""Several responses to a prompt with the ranks that people gave them, as InstructGPT's labelers did."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from data_contracts.formats.items import Item, Misfit, RawRow, Record, Tie, text_of
from data_contracts.formats.registry import adapter, has

_is_ranked = has("prompt", "responses", "ranks")


@adapter("ranked", "preferences", fits=_is_ranked)
def preferences(row: RawRow) -> Iterator[Item]:
    """All pairs of the K `responses` (Ouyang et al., 2022, section 3.5); the lower of the `ranks` is chosen."""
    responses, ranks = text_of(row, "responses"), _ranks(row)
    for (first, first_rank), (second, second_rank) in combinations(zip(responses, ranks, strict=True), 2):
        chosen, rejected = (first, second) if first_rank <= second_rank else (second, first)
        record: Record = {"prompt": text_of(row, "prompt"), "chosen": chosen, "rejected": rejected}
        if first_rank == second_rank:
            yield Tie({**record, "votes_chosen": 0, "votes_tied": 1})
        else:
            yield record


@adapter("ranked", "prompts", fits=_is_ranked)
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt that was answered."""
    yield {"prompt": text_of(row, "prompt")}


def _ranks(row: RawRow) -> list[Any]:
    responses, ranks = (text_of(row, name) for name in ("responses", "ranks"))
    for name, cell in (("responses", responses), ("ranks", ranks)):
        if not isinstance(cell, list) or len(cell) < 2:
            raise Misfit(name, "is not a list of at least two")
    if len(responses) != len(ranks):
        raise Misfit("ranks", f"has {len(ranks)} ranks for {len(responses)} responses")
    if not all(isinstance(rank, int | float) and not isinstance(rank, bool) for rank in ranks):
        raise Misfit("ranks", "holds something other than numbers, 1 the best")
    numbers: list[Any] = ranks
    return numbers
