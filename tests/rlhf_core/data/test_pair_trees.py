"""Preference pairs as trees."""

import pytest
from transformers import PreTrainedTokenizerBase

from rlhf_core.base.from_text import build_tokenizer
from rlhf_core.config.lengths import Lengths
from rlhf_core.data.pair_trees import PairTree, alike, compare, first_alike, sides, told_apart
from rlhf_core.data.records import Pair
from rlhf_core.data.tokenizer import Tree


def test_pairs_of_a_prompt_share_it_and_their_responses(tokenizer: PreTrainedTokenizerBase) -> None:
    pairs = [
        Pair("how are you", "fine", "thanks"),
        Pair("are you", "thanks", "you"),
        Pair("how are you", "fine thanks", "fine", margin=0.5, weight=2.0),
    ]
    first, second = compare(tokenizer, pairs, Lengths(8, 2))
    words = {word: tokenizer.convert_tokens_to_ids(word) for word in ("fine", "thanks", "you", "<|end|>")}
    fine, thanks, you, end = words.values()
    assert first.tree.responses == [[fine, end], [thanks, end], [fine, thanks]]
    assert (first.chosen, first.rejected) == ([0, 2], [1, 0])
    assert (first.margins, first.weights) == ([0.0, 0.5], [1.0, 2.0])
    assert second.tree.responses == [[thanks, end], [you, end]]
    assert (second.chosen, second.rejected) == ([0], [1])
    assert (second.margins, second.weights) == ([0.0], [1.0])
    assert len(first.tree.prompt) == len(second.tree.prompt) + 1


def test_sides_are_counted_over_the_responses_of_all_trees() -> None:
    items = [
        PairTree(Tree([1], [[2], [3], [4]]), [0, 2], [1, 0], [0.0, 0.0], [1.0, 1.0]),
        PairTree(Tree([5], [[6], [7]]), [1], [0], [0.0], [1.0]),
        PairTree(Tree([8], [[9], [9, 9]]), [0], [1], [0.0], [1.0]),
    ]
    assert sides(items) == ([0, 2, 4, 5], [1, 0, 3, 6])


def test_pairs_that_are_the_same_once_cut_are_told() -> None:
    """Letters are tokens here: two answers part at the fourth, two at the end, two by case and space alone."""
    tokenizer = build_tokenizer(["x"], vocabulary=300)
    pairs = [Pair("q", "abcd", "abcx"), Pair("q", "abc", "abcd"), Pair("q", "a b", "A b"), Pair("q", "ab", "ab")]
    assert alike(tokenizer, pairs, 3) == [True, True, False, True]
    assert alike(tokenizer, pairs, 4) == [False, False, False, True]
    assert told_apart(tokenizer, pairs, 3) == [pairs[2]]
    assert told_apart(tokenizer, pairs, 4) == pairs[:3]
    assert told_apart(tokenizer, [], 3) == []
    with pytest.raises(ValueError, match=r"all 1 pairs are the same .* max_response_tokens 3; raise it"):
        told_apart(tokenizer, pairs[:1], 3)


def test_words_that_a_tokenizer_does_not_know_are_one_word(tokenizer: PreTrainedTokenizerBase) -> None:
    assert alike(tokenizer, [Pair("how", "fine cats", "fine dogs"), Pair("how", "fine cats", "thanks cats")], 9) == [
        True,
        False,
    ]


def test_the_first_tree_of_the_same_ids_stands_for_the_others() -> None:
    trees = [Tree([1], [[2]]), Tree([1], [[3]]), Tree([1], [[2]]), Tree([1, 2], [[2]]), Tree([1], [[3]])]
    assert first_alike(trees) == [0, 1, 0, 3, 1]
