"""One call over a row, uncompiled on the processor, against the attention that goes tree by tree."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import flex_attention

from rlhf_core.attention import ragged_attention
from rlhf_core.batching import Row, lay
from rlhf_core.flex import block_mask, row_attention
from rlhf_core.text import Tree

CPU = torch.device("cpu")
IDS = st.integers(1, 12).map(lambda length: [1] * length)
ROWS = st.lists(st.builds(Tree, IDS, st.lists(IDS, max_size=4)), min_size=1, max_size=5).map(
    lambda trees: lay(trees, CPU)
)
HEADS = st.sampled_from([(4, 4), (4, 2), (6, 2), (3, 1)])
WINDOWS = st.none() | st.integers(1, 20)
LONG = lay([Tree([1] * 150, [[2] * 90, [3] * 120]), Tree([1] * 7, [[2] * 140]), Tree([1] * 130, [])], CPU)


@pytest.fixture(scope="module", autouse=True)
def _on_a_processor() -> object:
    """Let torch run this uncompiled and with gradients, which it refuses on a processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flex_attention, "_validate_device", lambda *_: None)
        patch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
        yield


class Layer(nn.Module):
    is_causal = True

    def __init__(self, heads: int, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = heads // groups


def states(row: Row, heads: int, groups: int, width: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(row.ids))
    sizes = [(1, count, len(row.ids), width) for count in (heads, groups, groups)]
    return [torch.randn(size, generator=generator).requires_grad_() for size in sizes]


def both(row: Row, inputs: list[Tensor], layer: Layer, window: int | None) -> tuple[Tensor, Tensor]:
    options = {"row": row, "sliding_window": window, "scaling": 0.7}
    return row_attention(*inputs, **options), ragged_attention(layer, *inputs, None, **options)[0]


@given(ROWS, HEADS, WINDOWS)
def test_outputs_and_gradients_equal_those_tree_by_tree(row: Row, heads: tuple[int, int], window: int | None) -> None:
    inputs = states(row, *heads)
    found, expected = both(row, inputs, Layer(*heads), window)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    gradients = [torch.autograd.grad((output * weights).sum(), inputs) for output in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [None, 3, 140])
def test_a_row_of_several_blocks(window: int | None) -> None:
    found, expected = both(LONG, states(LONG, 4, 2), Layer(4, 2), window)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_blocks_that_nobody_sees_are_left_out() -> None:
    visible = block_mask(LONG, None).to_dense()[0, 0]
    assert visible.shape == (5, 5)  # of 128 tokens: 360 of the first tree, 147 of the second, 130 of the third
    assert not visible.triu(diagonal=1).any()
    assert visible[4].tolist() == [0, 0, 0, 1, 1]


def test_a_mask_is_made_once_for_each_window() -> None:
    row = lay([Tree([1, 2], [[3]])], CPU)
    assert block_mask(row, None) is block_mask(row, None)
    assert block_mask(row, 2) is not block_mask(row, None)


def test_mixed_precision_gives_what_it_gives_tree_by_tree() -> None:
    query, key, value = states(LONG, 4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # rotations leave queries and keys in float32
        found, expected = both(LONG, [query, key, value.bfloat16()], Layer(4, 2), None)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "asked", [{"dropout": 0.1}, {"softcap": 30.0}, {"s_aux": torch.ones(2)}, {"position_bias": torch.ones(1, 2, 9, 9)}]
)
def test_what_it_cannot_do_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"has no {next(iter(asked))}, which this architecture asks for"):
        row_attention(*states(LONG, 2, 2), row=LONG, **asked)
