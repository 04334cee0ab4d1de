"""Soft caps and attention under one, against NumPy, finite differences and uncapped attention."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rlhf_core.models.soft_capping import capped_attention, soft_cap, soft_cap_slope

NUMBERS = st.floats(-50.0, 50.0)
CAPS = st.floats(0.5, 50.0)


def states(heads: int, tokens: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(2, heads, tokens, 3)))


@given(value=NUMBERS, cap=CAPS)
def test_a_cap_keeps_sign_order_and_bounds(value: float, cap: float) -> None:
    capped = float(soft_cap(torch.tensor(value, dtype=torch.float64), cap))
    assert abs(capped) <= min(abs(value), cap) + 1e-12
    assert capped * value >= 0.0
    assert float(soft_cap(torch.tensor(value + 1.0, dtype=torch.float64), cap)) >= capped


@given(value=NUMBERS, cap=CAPS)
def test_the_slope_is_that_of_finite_differences(value: float, cap: float) -> None:
    around = torch.tensor([value - 1e-5, value, value + 1e-5], dtype=torch.float64)
    below, at, above = soft_cap(around, cap)
    assert float(soft_cap_slope(at, cap)) == pytest.approx(float(above - below) / 2e-5, abs=1e-4)


def test_without_a_cap_values_stay() -> None:
    values = torch.tensor([3.0, -200.0])
    assert soft_cap(values, None) is values
    assert soft_cap_slope(values, None) == 1.0


@pytest.mark.parametrize("additive", [False, True])
def test_capped_attention_against_numpy(additive: bool) -> None:
    query, key, value = states(4, 3, 0), states(2, 5, 1), states(2, 5, 2)
    seen = torch.rand((2, 1, 3, 5), generator=torch.Generator().manual_seed(3)) < 0.7
    seen[..., 0] = True
    mask = torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, -torch.inf) if additive else seen
    found = capped_attention(query, key, value, mask, cap=1.3, scale=0.8)
    keys, values = (np.repeat(part.numpy(), 2, axis=1) for part in (key, value))
    scores = 1.3 * np.tanh(np.einsum("bhnd,bhtd->bhnt", query.numpy(), keys) * 0.8 / 1.3)
    chance = np.exp(scores) * seen.numpy()
    expected = np.einsum("bhnt,bhtd->bhnd", chance / chance.sum(axis=-1, keepdims=True), values)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-9, atol=1e-12)


def test_a_cap_that_is_never_near_gives_plain_causal_attention() -> None:
    query, key, value = states(4, 5, 0), states(4, 5, 1), states(4, 5, 2)
    found = capped_attention(query, key, value, None, cap=1e6, scale=None)
    expected = scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_last_query_stands_at_the_last_key() -> None:
    query, key, value = states(4, 5, 0), states(4, 5, 1), states(4, 5, 2)
    whole = capped_attention(query, key, value, None, cap=2.0, scale=None)
    torch.testing.assert_close(
        capped_attention(query[:, :, 3:], key, value, None, cap=2.0, scale=None), whole[:, :, 3:]
    )
