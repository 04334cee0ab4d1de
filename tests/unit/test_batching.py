"""Batches hold every item once and keep to their budget."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.batching import pad, response_mask, shuffled_batches, token_batches

CPU = torch.device("cpu")


def test_pad_fills_on_the_right_and_the_mask_tells_what_is_real() -> None:
    batch = pad([[5, 6, 7], [8]], pad_id=8, device=CPU)  # the padding id may also be a real token
    assert batch.ids.tolist() == [[5, 6, 7], [8, 8, 8]]
    assert batch.mask.tolist() == [[True, True, True], [True, False, False]]


def test_response_mask_has_neither_prompt_nor_padding() -> None:
    batch = pad([[1, 2, 3, 4], [1, 2]], pad_id=0, device=CPU)
    assert response_mask(batch, [2, 1]).tolist() == [[False, False, True, True], [False, True, False, False]]


@given(lengths=st.lists(st.integers(1, 40), max_size=50), max_tokens=st.integers(1, 100))
def test_token_batches_cover_each_item_once_within_the_budget(lengths: list[int], max_tokens: int) -> None:
    groups = token_batches(lengths, max_tokens)
    assert sorted(position for group in groups for position in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[position] for position in group) <= max_tokens
    ordered = [lengths[position] for group in groups for position in group]
    assert ordered == sorted(ordered)


def test_token_batches_fill_the_budget() -> None:
    assert token_batches([2, 9, 2, 2], 6) == [[0, 2, 3], [1]]


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
