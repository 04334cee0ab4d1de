"""Preference pairs as trees."""

from transformers import PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.data.pair_trees import PairTree, compare, sides
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
