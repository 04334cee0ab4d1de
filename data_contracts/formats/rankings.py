"""Responses that several people put in order: every pair of them, with the votes that the orders say."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from data_contracts.formats.items import Item, judged

Ranking = tuple[str | None, Sequence[float | None]]
"""An annotator, and the rank that each response got, the lowest the best; None for one without."""


def by_rankings(prompt: Any, responses: Sequence[Any], rankings: Sequence[Ranking]) -> Iterator[Item]:
    """All pairs of K responses (Ouyang et al., 2022, section 3.5), each ranking a vote on each; equal ranks are a tie.

    Args:
        prompt: text or messages.
        responses: two or more.
        rankings: none where nobody ranked them.
    """
    for first, second in combinations(range(len(responses)), 2):
        opinions = [(name, _vote(ranks[first], ranks[second])) for name, ranks in rankings]
        yield from judged(prompt, responses[first], responses[second], opinions)


def _vote(first: float | None, second: float | None) -> int | None:
    if first is None or second is None:
        return None
    return 0 if first == second else 1 if first < second else 2
