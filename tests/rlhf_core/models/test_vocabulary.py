"""Log-probabilities and entropies of a head over a vocabulary, against NumPy, numerical gradients and their memory."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rlhf_core.models import vocabulary
from rlhf_core.models.vocabulary import head_logprobs

TARGETS = torch.tensor([0, 6, 3, 3, 1])


def head_of(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    head.weight = nn.Parameter(weight)
    if bias is not None:
        head.bias = nn.Parameter(bias)
    return head


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def assert_equal(actual: Tensor, expected: object) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=1e-9, atol=1e-12)


def test_log_probabilities_and_entropies_against_numpy() -> None:
    states, weight, bias = drawn(0, 5, 4), drawn(1, 7, 4), drawn(2, 7)
    logprobs, entropies = head_logprobs(states, head_of(weight, bias), TARGETS, temperature=0.7)
    assert_softmax((states.numpy() @ weight.numpy().T + bias.numpy()) / 0.7, logprobs, entropies)


def test_capped_log_probabilities_and_entropies_against_numpy() -> None:
    states, weight, bias = drawn(0, 5, 4), drawn(1, 7, 4), drawn(2, 7)
    logprobs, entropies = head_logprobs(states, head_of(weight, bias), TARGETS, temperature=0.7, cap=1.5)
    logits = 1.5 * np.tanh((states.numpy() @ weight.numpy().T + bias.numpy()) / 1.5)
    assert_softmax(logits / 0.7, logprobs, entropies)


def test_rows_that_are_no_tokens_have_no_probability_and_no_gradient() -> None:
    states, weight, bias = drawn(0, 5, 4), 9 * drawn(1, 9, 4), drawn(2, 9)
    head = head_of(weight, bias)
    logprobs, entropies = head_logprobs(states, head, TARGETS, temperature=0.7, known=7)
    assert_softmax((states.numpy() @ weight.numpy()[:7].T + bias.numpy()[:7]) / 0.7, logprobs, entropies)
    (logprobs.sum() + entropies.sum()).backward()
    for of_rows in (head.weight.grad, head.bias.grad):
        assert of_rows is not None and of_rows[:7].abs().sum() > 0 and of_rows[7:].abs().sum() == 0


def assert_softmax(logits: NDArray[np.float64], logprobs: Tensor, entropies: Tensor) -> None:
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_equal(logprobs, np.log(chance[np.arange(5), TARGETS.numpy()]))
    assert_equal(entropies, -(chance * np.log(chance)).sum(axis=1))


def test_entropy_ranges_from_certainty_to_the_log_of_the_vocabulary() -> None:
    certain = torch.tensor([[1e4, 0.0, 0.0, 0.0]], dtype=torch.float64)
    states = torch.cat([torch.zeros(1, 4, dtype=torch.float64), certain])
    logprobs, entropies = head_logprobs(states, head_of(torch.eye(4, dtype=torch.float64)), torch.tensor([2, 0]))
    assert_equal(logprobs, [-math.log(4), 0.0])
    assert_equal(entropies, [math.log(4), 0.0])


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_ROWS", 1)


@pytest.mark.parametrize(("cap", "rows"), [(None, 7), (1.5, 7), (None, 9), (1.5, 9)])
@pytest.mark.parametrize("chunk", [7, 14, 1000])
def test_gradients_are_those_of_finite_differences(
    monkeypatch: pytest.MonkeyPatch, chunk: int, cap: float | None, rows: int
) -> None:
    monkeypatch.setitem(vocabulary.CHUNK_LOGITS, "cpu", chunk)
    inputs = [drawn(seed, *shape).requires_grad_() for seed, shape in enumerate([(5, 4), (rows, 4), (rows,)])]

    def both(states: Tensor, weight: Tensor, bias: Tensor) -> Any:
        return vocabulary._HeadLogprobs.apply(states, weight, bias, TARGETS, 0.7, cap, 7)

    assert torch.autograd.gradcheck(both, inputs)
    assert torch.autograd.gradcheck(lambda states, weight: both(states, weight, None), inputs[:2])


def test_a_training_step_equals_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vocabulary.CHUNK_LOGITS, "cpu", 14)
    states, head = drawn(0, 5, 4).requires_grad_(), head_of(drawn(1, 7, 4))
    head_logprobs(states, head, TARGETS)[0].sum().neg().backward()
    found = (states.grad, head.weight.grad)
    states.grad = head.weight.grad = None
    nn.functional.cross_entropy(head(states), TARGETS, reduction="sum").backward()
    for ours, theirs in zip(found, (states.grad, head.weight.grad), strict=True):
        torch.testing.assert_close(ours, theirs)


class Largest(TorchDispatchMode):
    """Remembers how many elements the largest tensor had that any operation made."""

    elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made._base is None:
            self.elements = max(self.elements, made.numel())
        return made


def test_no_tensor_grows_with_tokens_times_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vocabulary.CHUNK_LOGITS, "cpu", 4000)
    states, head = torch.randn(300, 4, requires_grad=True), head_of(torch.randn(1000, 4))
    with Largest() as largest:
        logprobs, entropies = head_logprobs(states, head, torch.zeros(300, dtype=torch.long))
        (logprobs - entropies).sum().backward()
    assert largest.elements == 4000  # four rows of logits, or the weights and their gradient


def test_half_precision_holds_for_the_products_only() -> None:
    states, head = drawn(0, 5, 4).float(), head_of(drawn(1, 7, 4).float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logprobs, _ = head_logprobs(states.requires_grad_(), head, TARGETS)
        expected = torch.log_softmax(head(states).float(), dim=-1).gather(1, TARGETS[:, None]).squeeze(1)
    assert logprobs.dtype == torch.float32
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=1e-6)
    logprobs.sum().backward()
    assert states.grad is not None
    assert states.grad.dtype == head.weight.grad.dtype == torch.float32  # type: ignore[union-attr]


def test_a_head_that_is_not_linear_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential, not a linear layer"):
        head_logprobs(torch.zeros(1, 4), nn.Sequential(nn.Linear(4, 7)), torch.zeros(1, dtype=torch.long))
