"""Sequence packing: trees of a prompt and its responses laid end to end in one row, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.data.tokenizer import Tree


class Segments(NamedTuple):
    """A row as S sequences of keys, whose last tokens ask: one for each response, or for a prompt without any.

    The first response of a tree asks together with the prompt, so that the queries are the row as it lies.

    Attributes:
        queries: where the queries of each begin and where the last ends, shape ``[S + 1]``, int32.
        keys: the same of the keys.
        indices: index in the row of each key, int64.
        most_queries: of a sequence.
        most_keys: of a sequence.
    """

    queries: Tensor
    keys: Tensor
    indices: Tensor
    most_queries: int
    most_keys: int


@dataclass(frozen=True)
class Row:
    """N tokens of trees laid end to end, with B responses of R tokens in all, in the order of the trees.

    Attributes:
        ids: token ids, shape ``[N]``, int64.
        positions: position of each token in its own prompt and response, shape ``[N]``, int64.
        branches: 0 for a token of a prompt, else the number of the response in its tree, shape ``[N]``, int64.
        lengths: tokens of each tree.
        responses: tokens of each response of each tree.
        targets: ids of the response tokens, shape ``[R]``, int64.
        before: index in `ids` of the token before each response token, whose state predicts it, shape ``[R]``, int64.
        last: index in `ids` of each response's last token, shape ``[B]``, int64.
    """

    ids: Tensor
    positions: Tensor
    branches: Tensor
    lengths: list[int]
    responses: list[list[int]]
    targets: Tensor
    before: Tensor
    last: Tensor

    @cached_property
    def longest(self) -> list[int]:
        """Tokens of the longest sequence of each tree, its prompt and a response."""
        return [
            length - sum(tokens) + max(tokens, default=0)
            for length, tokens in zip(self.lengths, self.responses, strict=True)
        ]

    @cached_property
    def segments(self) -> Segments:
        """The row as flash attention takes it."""
        queries, keys, indices, start = [0], [0], [], 0
        for length, responses in zip(self.lengths, self.responses, strict=True):
            fork = end = start + length - sum(responses)
            for number, tokens in enumerate(responses or [0]):
                indices += [*range(start, fork), *range(end, end + tokens)]
                queries.append(queries[-1] + tokens + (0 if number else fork - start))
                keys.append(len(indices))
                end += tokens
            start += length
        bounds = torch.tensor([queries, keys], dtype=torch.int32, device=self.ids.device)
        most_queries, most_keys = (max(b - a for a, b in pairwise(ends)) for ends in (queries, keys))
        return Segments(bounds[0], bounds[1], torch.tensor(indices, device=self.ids.device), most_queries, most_keys)

    @cached_property
    def masks(self) -> list[Tensor | None]:
        """For each tree of L tokens who sees whom, shape ``[L, L]``, bool; None where plain causality says it all."""
        pieces = zip(self.branches.split(self.lengths), self.positions.split(self.lengths), strict=True)
        return [_visible(branches, positions) for branches, positions in pieces]


def lay(trees: Sequence[Tree], device: torch.device) -> Row:
    """Lay trees end to end on a device."""
    ids: list[int] = []
    positions: list[int] = []
    branches: list[int] = []
    before: list[int] = []
    last: list[int] = []
    for prompt, responses in trees:
        ids += prompt
        positions += range(len(prompt))
        branches += [0] * len(prompt)
        fork = len(ids) - 1
        for number, response in enumerate(responses, start=1):
            before += [fork, *range(len(ids), len(ids) + len(response) - 1)]
            ids += response
            positions += range(len(prompt), len(prompt) + len(response))
            branches += [number] * len(response)
            last.append(len(ids) - 1)
    flat = torch.tensor([ids, positions, branches], device=device)
    targets = [token for tree in trees for response in tree.responses for token in response]
    return Row(
        ids=flat[0],
        positions=flat[1],
        branches=flat[2],
        lengths=[tree.size for tree in trees],
        responses=[list(map(len, tree.responses)) for tree in trees],
        targets=torch.tensor(targets, dtype=torch.long, device=device),
        before=torch.tensor(before, dtype=torch.long, device=device),
        last=torch.tensor(last, dtype=torch.long, device=device),
    )


def share_prompts(trees: Sequence[Tree], max_tokens: int) -> tuple[list[Tree], list[int]]:
    """Let responses to the same prompt branch from one copy of it.

    Args:
        trees: prompts with responses, prompts may repeat.
        max_tokens: a tree takes no further response beyond this size.

    Returns:
        The joined trees; and for each response, in the order of the given trees, its index among theirs.
    """
    joined: list[Tree] = []
    open_trees: dict[tuple[int, ...], int] = {}
    homes: list[tuple[int, int]] = []
    for prompt, responses in trees:
        for response in responses:
            home = open_trees.get(tuple(prompt))
            if home is None or joined[home].size + len(response) > max_tokens:
                home = open_trees[tuple(prompt)] = len(joined)
                joined.append(Tree(prompt, []))
            homes.append((home, len(joined[home].responses)))
            joined[home].responses.append(response)
    starts = [0]
    for tree in joined:
        starts.append(starts[-1] + len(tree.responses))
    return joined, [starts[home] + index for home, index in homes]


def _visible(branches: Tensor, positions: Tensor) -> Tensor | None:
    """A token sees the prompt and its own response, up to itself."""
    if int(branches[-1]) < 2:
        return None
    of_prompt_or_same = (branches[None, :] == 0) | (branches[None, :] == branches[:, None])
    return of_prompt_or_same & (positions[None, :] <= positions[:, None])
