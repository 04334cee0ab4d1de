"""One call over a row against the attention that goes tree by tree; the kernel itself where there is CUDA."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.masking_utils import sliding_window_causal_mask_function

from rlhf_core.data.packing import Row, lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.models import flash_attention
from rlhf_core.models.attention import ragged_attention
from rlhf_core.models.flash_attention import fits, row_attention
from rlhf_core.models.visibility import Visibility

CPU = torch.device("cpu")
IDS = st.integers(1, 12).map(lambda length: [1] * length)
TREES = st.lists(st.builds(Tree, IDS, st.lists(IDS, max_size=4)), min_size=1, max_size=5)
HEADS = st.sampled_from([(4, 4), (4, 2), (6, 2), (3, 1)])
WINDOWS = st.none() | st.integers(1, 20)
LONG = [Tree([1] * 150, [[2] * 90, [3] * 120]), Tree([1] * 7, [[2] * 140]), Tree([1] * 130, [])]


class Layer(nn.Module):
    is_causal = True

    def __init__(self, heads: int, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = heads // groups


def states(row: Row, heads: int, groups: int, width: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(row.ids))
    sizes = [(1, count, len(row.ids), width) for count in (heads, groups, groups)]
    return [torch.randn(size, generator=generator).to(row.ids.device).requires_grad_() for size in sizes]


def outputs_and_gradients(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).to(output.device)
    return [output, *torch.autograd.grad((output.float() * weights).sum(), inputs)]


def visible(window: int | None) -> Visibility | None:
    """The mask by which a stock model asks for a window."""
    if window is None:
        return None
    return Visibility(mask_function=sliding_window_causal_mask_function(window), local_size=window)


@given(trees=TREES, heads=HEADS, window=WINDOWS)
def test_outputs_and_gradients_equal_those_tree_by_tree(
    flash_by_the_book: Callable[..., Tensor], trees: list[Tree], heads: tuple[int, int], window: int | None
) -> None:
    row = lay(trees, CPU)
    inputs = states(row, *heads)
    options = {"row": row, "sliding_window": window, "scaling": 0.7}
    expected = ragged_attention(Layer(*heads), *inputs, visible(window), **options)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flash_attention, "varlen_attn", flash_by_the_book)
        found = row_attention(*inputs, **options)
    for mine, other in zip(outputs_and_gradients(found, inputs), outputs_and_gradients(expected, inputs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel is for CUDA")
@pytest.mark.parametrize("window", [None, 3, 140])
@pytest.mark.parametrize("heads", [(4, 4), (14, 2)])
def test_the_kernel_gives_what_it_gives_tree_by_tree(heads: tuple[int, int], window: int | None) -> None:
    row = lay(LONG, torch.device("cuda"))
    inputs = states(row, *heads, width=64)
    options = {"row": row, "sliding_window": window}
    expected = ragged_attention(Layer(*heads), *inputs, visible(window), **options)[0]
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert fits(inputs[0])
        found = ragged_attention(Layer(*heads), *inputs, visible(window), **options)[0]
    assert found.dtype == torch.bfloat16
    for mine, other in zip(outputs_and_gradients(found, inputs), outputs_and_gradients(expected, inputs), strict=True):
        assert float((mine.float() - other).norm() / other.norm()) < 1e-2


def test_a_row_is_cut_into_sequences_whose_last_tokens_ask() -> None:
    segments = lay([Tree([1, 2], [[3], [4, 5]]), Tree([6], [])], CPU).segments
    assert segments.queries.tolist() == [0, 3, 5, 6]
    assert segments.keys.tolist() == [0, 3, 7, 8]
    assert segments.indices.tolist() == [0, 1, 2, 0, 1, 3, 4, 5]
    assert (segments.most_queries, segments.most_keys) == (3, 4)


def test_a_processor_goes_tree_by_tree() -> None:
    assert not fits(torch.zeros(1, 2, 3, 64, dtype=torch.bfloat16))


@pytest.mark.parametrize(
    "asked", [{"dropout": 0.1}, {"softcap": 30.0}, {"s_aux": torch.ones(2)}, {"position_bias": torch.ones(1, 2, 9, 9)}]
)
def test_what_it_cannot_do_is_refused(asked: dict[str, object]) -> None:
    row = lay(LONG, CPU)
    with pytest.raises(ValueError, match=f"has no {next(iter(asked))}, which this architecture asks for"):
        row_attention(*states(row, 2, 2), row=row, **asked)
