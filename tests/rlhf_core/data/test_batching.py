"""Rows hold every token where it belongs, batches hold every item once and keep to their budget."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.data.batching import shuffled_batches, similar_batches
from rlhf_core.data.packing import lay, share_prompts
from rlhf_core.data.tokenizer import Tree
from rlhf_core.distributed import token_batches

CPU = torch.device("cpu")
IDS = st.lists(st.integers(0, 3), min_size=1, max_size=5)
TREES = st.lists(st.builds(Tree, IDS, st.lists(IDS, min_size=1, max_size=4)), min_size=1, max_size=6)


def test_a_row_has_the_trees_end_to_end() -> None:
    row = lay([Tree([5, 6], [[7, 8], [9]]), Tree([4], [[3]])], CPU)
    assert row.ids.tolist() == [5, 6, 7, 8, 9, 4, 3]
    assert row.positions.tolist() == [0, 1, 2, 3, 2, 0, 1]
    assert row.branches.tolist() == [0, 0, 1, 1, 2, 0, 1]
    assert row.lengths == [5, 2]
    assert row.targets.tolist() == [7, 8, 9, 3]
    assert row.before.tolist() == [1, 2, 1, 5]  # both responses are predicted from the end of their prompt
    assert row.last.tolist() == [3, 4, 6]


def test_a_response_sees_its_prompt_and_itself() -> None:
    mask, plain = lay([Tree([5, 6], [[7, 8], [9]]), Tree([4], [[3]])], CPU).masks
    assert mask is not None
    assert mask.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]
    assert plain is None


@given(trees=TREES)
def test_a_row_predicts_each_token_from_the_one_before(trees: list[Tree]) -> None:
    row = lay(trees, CPU)
    before, last = iter(row.before.tolist()), iter(row.last.tolist())
    for tree in trees:
        for response in tree.responses:
            assert [int(row.ids[next(before)]) for _ in response] == [tree.prompt[-1], *response[:-1]]
            assert int(row.ids[next(last)]) == response[-1]
    assert row.targets.tolist() == [token for tree in trees for response in tree.responses for token in response]


@given(trees=TREES, max_tokens=st.integers(1, 30))
def test_shared_prompts_keep_every_response_and_their_order(trees: list[Tree], max_tokens: int) -> None:
    joined, places = share_prompts(trees, max_tokens)
    laid = [(tree.prompt, response) for tree in joined for response in tree.responses]
    asked = [(tree.prompt, response) for tree in trees for response in tree.responses]
    assert [laid[index] for index in places] == asked
    assert sorted(places) == list(range(len(asked)))
    assert all(tree.size <= max_tokens or len(tree.responses) == 1 for tree in joined)


def test_a_prompt_is_there_once_while_its_tree_has_room() -> None:
    trees = [Tree([1, 2], [[3]]), Tree([4], [[5]]), Tree([1, 2], [[6], [7, 8]])]
    assert share_prompts(trees, 100)[0] == [Tree([1, 2], [[3], [6], [7, 8]]), Tree([4], [[5]])]
    assert share_prompts(trees, 4)[0] == [Tree([1, 2], [[3], [6]]), Tree([4], [[5]]), Tree([1, 2], [[7, 8]])]
    assert trees == [Tree([1, 2], [[3]]), Tree([4], [[5]]), Tree([1, 2], [[6], [7, 8]])]  # nothing given is changed


@given(lengths=st.lists(st.integers(1, 40), max_size=50), max_tokens=st.integers(1, 100))
def test_token_batches_keep_the_order_within_the_budget(lengths: list[int], max_tokens: int) -> None:
    groups = token_batches(lengths, max_tokens)
    assert [position for group in groups for position in group] == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or sum(lengths[position] for position in group) <= max_tokens


def test_token_batches_fill_the_budget() -> None:
    assert token_batches([2, 3, 1, 9, 6], 6) == [[0, 1, 2], [3], [4]]


@given(lengths=st.lists(st.integers(1, 40), max_size=50), max_tokens=st.integers(1, 100))
def test_similar_batches_cover_each_item_once_within_the_budget(lengths: list[int], max_tokens: int) -> None:
    groups = similar_batches(lengths, max_tokens)
    assert sorted(position for group in groups for position in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[position] for position in group) <= max_tokens
    ordered = [lengths[position] for group in groups for position in group]
    assert ordered == sorted(ordered)


def test_similar_batches_fill_the_budget() -> None:
    assert similar_batches([2, 9, 2, 2], 6) == [[0, 2, 3], [1]]


@given(count=st.integers(1, 60), batch_size=st.integers(1, 20), epoch=st.integers(0, 5), seed=st.integers(0, 99))
def test_shuffled_batches_cover_each_item_once(count: int, batch_size: int, epoch: int, seed: int) -> None:
    batches = list(shuffled_batches(count, batch_size, epoch=epoch, seed=seed))
    assert sorted(item for batch in batches for item in batch) == list(range(count))
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = list(shuffled_batches(50, 8, epoch=0, seed=1))
    torch.manual_seed(7)
    assert list(shuffled_batches(50, 8, epoch=0, seed=1)) == first
    assert list(shuffled_batches(50, 8, epoch=1, seed=1)) != first
    assert list(shuffled_batches(50, 8, epoch=0, seed=2)) != first
