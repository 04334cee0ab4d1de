"""Several responses to a prompt with the ranks that people gave them, as InstructGPT's labelers did."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from data_contracts.formats.fields import cell_of, number_in, turns_of
from data_contracts.formats.items import Item, Misfit, RawRow, Record, Tie
from data_contracts.formats.registry import adapter, holds
from data_contracts.records import LARGEST

_is_ranked = holds("prompt", "responses", "ranks")


@adapter("ranked", "preferences", fits=_is_ranked, precedence=20)
def preferences(row: RawRow) -> Iterator[Item]:
    """All pairs of the K `responses` (Ouyang et al., 2022, section 3.5); the lower of the `ranks` is chosen."""
    responses, ranks = _lists(row)
    prompt = turns_of(row, "prompt")
    for (first, first_rank), (second, second_rank) in combinations(zip(responses, ranks, strict=True), 2):
        chosen, rejected = (first, second) if first_rank <= second_rank else (second, first)
        record: Record = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        if first_rank == second_rank:
            yield Tie({**record, "votes_chosen": 0, "votes_tied": 1})
        else:
            yield record


@adapter("ranked", "prompts", fits=_is_ranked, precedence=20)
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt that was answered."""
    yield {"prompt": turns_of(row, "prompt")}


def _lists(row: RawRow) -> tuple[list[Any], list[float]]:
    """The responses and their ranks."""
    responses, ranks = (cell_of(row, name) for name in ("responses", "ranks"))
    for name, cell in (("responses", responses), ("ranks", ranks)):
        if not isinstance(cell, list) or len(cell) < 2:
            raise Misfit(name, "is not a list of at least two")
    if len(responses) != len(ranks):
        raise Misfit("ranks", f"has {len(ranks)} ranks for {len(responses)} responses")
    numbers = [number_in(rank) for rank in ranks]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) <= LARGEST for n in numbers):
        raise Misfit("ranks", "holds something other than numbers, 1 the best")
    return responses, numbers
