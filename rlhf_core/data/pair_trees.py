"""Preference pairs as trees: all pairs of a prompt branch from one copy of it."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.data.array_cache import content_key
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import Tree, encode, encode_responses


class PairTree(NamedTuple):
    """The P pairs of one prompt over its unique responses.

    Attributes:
        tree: the prompt with its unique responses.
        chosen: position among them of each pair's chosen response.
        rejected: position of its rejected response.
        margins: reward gap in logits that each pair must clear.
        weights: how much the loss of each pair counts.
    """

    tree: Tree
    chosen: list[int]
    rejected: list[int]
    margins: list[float]
    weights: list[float]


def compare(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], lengths: Lengths) -> list[PairTree]:
    """Encode pairs by prompt; it and each response are encoded once.

    Args:
        tokenizer: from `load_tokenizer`.
        pairs: pairs, prompts may repeat.
        lengths: ids that are kept.

    Returns:
        One comparison for each prompt, in the order of the prompts; pairs of a prompt keep their order.
    """
    by_prompt: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_prompt.setdefault(pair.prompt, []).append(pair)
    items = [Demonstration(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    unique = list(dict.fromkeys(items))
    trees = dict(zip(unique, encode(tokenizer, unique, lengths), strict=True))
    pair_trees = []
    for prompt, group in by_prompt.items():
        texts = dict.fromkeys(text for pair in group for text in (pair.chosen, pair.rejected))
        index = {text: position for position, text in enumerate(texts)}
        alone = [trees[Demonstration(prompt, text)] for text in index]
        pair_trees.append(
            PairTree(
                tree=Tree(alone[0].prompt, [response for tree in alone for response in tree.responses]),
                chosen=[index[pair.chosen] for pair in group],
                rejected=[index[pair.rejected] for pair in group],
                margins=[pair.margin for pair in group],
                weights=[pair.weight for pair in group],
            )
        )
    return pair_trees


def alike(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], max_response_tokens: int) -> list[bool]:
    """Whether the responses of each pair are the same ids once they are cut: no model can tell them apart then."""
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.chosen, pair.rejected)))
    ids = dict(zip(texts, encode_responses(tokenizer, texts, max_response_tokens), strict=True))
    return [ids[pair.chosen] == ids[pair.rejected] for pair in pairs]


def first_alike(trees: Sequence[Tree]) -> list[int]:
    """For each tree, the position of the first with the same ids, which is the same to a model to the last bit."""
    first: dict[str, int] = {}
    return [first.setdefault(content_key(tree), position) for position, tree in enumerate(trees)]


def told_apart(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], max_response_tokens: int) -> list[Pair]:
    """Pairs whose responses differ once they are cut, and so are evidence of what a model prefers.

    Raises:
        ValueError: if there are pairs, and none of them does.
    """
    same = alike(tokenizer, pairs, max_response_tokens)
    if pairs and all(same):
        raise ValueError(
            f"both responses of all {len(pairs)} pairs are the same once they are cut to max_response_tokens "
            f"{max_response_tokens}; raise it"
        )
    return [pair for pair, is_same in zip(pairs, same, strict=True) if not is_same]


def sides(comparisons: Sequence[PairTree]) -> tuple[list[int], list[int]]:
    """Where the chosen and the rejected response of each pair are among the responses of all trees, in their order."""
    chosen: list[int] = []
    rejected: list[int] = []
    start = 0
    for item in comparisons:
        chosen += [start + position for position in item.chosen]
        rejected += [start + position for position in item.rejected]
        start += len(item.tree.responses)
    return chosen, rejected
