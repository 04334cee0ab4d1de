"""The weighted sum of terms: against NumPy over the whole history, linear in its weights, the same in any order."""

import json
import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from rlhf_core.config.reward import LengthConfig, ModelConfig, RewardConfig, TermConfig
from rlhf_core.models.scoring import Scores
from rlhf_core.rewards.moments import Moments
from rlhf_core.rewards.reward import Reward, disagreement_of

NAMES = ("score", "brevity", "form", "own")
WHITEN: dict[str, Any] = {"normalise": "whiten"}
FIGURES = st.floats(-100.0, 100.0, allow_nan=False, width=32)
BATCHES = st.lists(st.lists(FIGURES, min_size=1, max_size=6), min_size=1, max_size=5)
Numbers = NDArray[np.float64]


def tensor(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def configured(weighing: dict[str, dict[str, Any]], **of_sum: Any) -> RewardConfig:
    """Length penalties stand for any further term: the sum only knows names and weighing."""
    terms = tuple(LengthConfig(name=name, **weighing.get(name, {})) for name in NAMES[1:])
    return RewardConfig.model_validate({"model": weighing.get("score", {}), "terms": terms, **of_sum})


def rollouts(seed: int, *sizes: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {name: 3.0 * index + (index + 1) * torch.randn(size, generator=generator) for index, name in enumerate(NAMES)}
        for size in sizes
    ]


def whitened(history: Numbers, values: Numbers) -> Numbers:
    return (values - history.mean()) / np.sqrt(history.var() + 1e-8)


# Running moments


@given(BATCHES)
def test_running_moments_are_those_of_the_whole_history(batches: list[list[float]]) -> None:
    found = Moments()
    for history, batch in zip(accumulate(batches), batches, strict=True):
        found = found.with_values(batch)
        assert found.n == len(history)
        assert found.mean == pytest.approx(np.mean(history), abs=1e-9, rel=1e-9)
        assert found.squares / found.n == pytest.approx(np.var(history), abs=1e-7, rel=1e-9)
        expected = whitened(np.array(history), np.array(batch))
        assert found.whiten(batch) == pytest.approx(expected, abs=1e-4, rel=1e-5)


def test_nothing_seen_changes_nothing() -> None:
    assert Moments(3, 1.0, 2.0).with_values([]) == (3, 1.0, 2.0)


def test_a_constant_becomes_nought() -> None:
    assert Moments().with_values([7.0] * 5).whiten([7.0] * 5).tolist() == [0.0] * 5


# The sum


def test_the_default_is_the_score_of_the_reward_model_bit_by_bit() -> None:
    scores = torch.randn(100, generator=torch.Generator().manual_seed(1))
    assert torch.equal(Reward(RewardConfig()).combine({"score": scores}), scores)


def test_a_weighted_sum_by_hand() -> None:
    config = configured({"score": {"weight": 2.0}, "brevity": {"weight": 0.5, "clip": 3.0}, "form": {"weight": -1.0}})
    terms = {"score": [1.0, -1.0], "brevity": [-10.0, 2.0], "form": [1.0, 0.0], "own": [0.25, 0.0]}
    found = Reward(config).combine({name: tensor(values) for name, values in terms.items()})
    assert found.tolist() == [2.0 - 1.5 - 1.0 + 0.25, -2.0 + 1.0]


def test_terms_and_sum_are_whitened_by_all_rollouts_so_far_and_then_clipped() -> None:
    weighing = {"score": WHITEN | {"weight": 2.0}, "brevity": WHITEN | {"clip": 0.5}, "own": {"weight": 0.1}}
    reward = Reward(configured(weighing, whiten=True, clip=1.2))
    seen: dict[str, list[float]] = {name: [] for name in (*NAMES, "total")}
    clipped = 0
    for terms in rollouts(2, 7, 1, 30, 4):
        for name in NAMES:
            seen[name] += terms[name].tolist()
        parts = {name: terms[name].double().numpy() for name in NAMES}
        score = whitened(np.array(seen["score"]), parts["score"])
        brevity = np.clip(whitened(np.array(seen["brevity"]), parts["brevity"]), -0.5, 0.5)
        total = 2.0 * score + brevity + parts["form"] + 0.1 * parts["own"]
        seen["total"] += total.tolist()
        expected = np.clip(whitened(np.array(seen["total"]), total), -1.2, 1.2)
        found = reward.combine(terms)
        assert found.dtype is torch.float32
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
        clipped += int((np.abs(expected) == 1.2).sum())
    assert 0 < clipped < 42


@given(st.permutations(NAMES), st.permutations(NAMES[1:]), BATCHES)
def test_no_order_of_terms_changes_anything(
    given_as: list[str], listed_as: list[str], batches: list[list[float]]
) -> None:
    weighing = {name: {"weight": 0.3 * index - 0.4, **WHITEN} for index, name in enumerate(NAMES)}
    config = configured(weighing, whiten=True)
    by_name = {term.name: term for term in config.terms}
    other = config.model_copy(update={"terms": tuple(by_name[name] for name in listed_as)})
    first, second = Reward(config), Reward(other)
    for batch in batches:
        terms = {name: tensor(batch) * (index + 1) ** 2 for index, name in enumerate(NAMES)}
        assert torch.equal(first.combine(terms), second.combine({name: terms[name] for name in given_as}))


@given(st.tuples(*[st.floats(-5.0, 5.0)] * 4), st.tuples(*[st.floats(-5.0, 5.0)] * 4), st.integers(0, 9))
def test_the_sum_is_linear_in_the_weights(first: Sequence[float], second: Sequence[float], seed: int) -> None:
    limits: list[dict[str, Any]] = [{}, WHITEN, {"clip": 2.0}, WHITEN | {"clip": 0.7}]

    def total(weights: Sequence[float]) -> Callable[[dict[str, Tensor]], Tensor]:
        weighing = {
            name: {**limit, "weight": weight} for name, limit, weight in zip(NAMES, limits, weights, strict=True)
        }
        return Reward(configured(weighing)).combine

    added = total([2.0 * one - other for one, other in zip(first, second, strict=True)])
    one, other = total(first), total(second)
    for terms in rollouts(seed, 5, 8):
        torch.testing.assert_close(added(terms), 2.0 * one(terms) - other(terms), rtol=1e-4, atol=1e-4)


def test_a_term_of_weight_nought_is_measured_and_not_maximised() -> None:
    (terms,) = rollouts(3, 6)
    config = configured({name: {"weight": 0.0} for name in NAMES[1:]})
    assert torch.equal(Reward(config).combine(terms), terms["score"])


def test_what_was_written_down_goes_on_as_if_nothing_had_been() -> None:
    config = configured({"score": WHITEN, "form": WHITEN}, whiten=True)
    uncut, cut = Reward(config), Reward(config)
    first, second, third = rollouts(4, 9, 3, 12)
    for terms in (first, second):
        uncut.combine(terms)
        cut.combine(terms)
    resumed, fresh = Reward(config), Reward(config)
    resumed.restore(json.loads(json.dumps(cut.state)))
    expected = uncut.combine(third)
    assert torch.equal(resumed.combine(third), expected)
    assert resumed.state == uncut.state
    assert not torch.equal(fresh.combine(third), expected)


# An ensemble of reward models


PEERS = [ModelConfig(name=name, reward_model="elsewhere") for name in ("second", "third")]
HOW = {
    "mean": lambda members: members.mean(axis=1),
    "min": lambda members: members.min(axis=1),
    "uncertainty": lambda members: members.mean(axis=1) - 0.7 * members.var(axis=1),
}


def joined(aggregate: str) -> RewardConfig:
    ensemble = {"members": ("second", "third"), "aggregate": aggregate, "uncertainty_lambda": 0.7}
    terms = (*PEERS, LengthConfig(name="brevity", weight=0.25))
    return RewardConfig.model_validate({"model": {"weight": 2.0}, "terms": terms, "ensemble": ensemble})


@pytest.mark.parametrize("aggregate", HOW)
def test_members_enter_the_sum_as_one_score_in_the_place_of_the_trained_ones(aggregate: str) -> None:
    rng = np.random.default_rng(1)
    terms = {name: rng.normal(size=50) for name in ("score", "second", "third", "brevity")}
    members = np.stack([terms[name] for name in ("score", "second", "third")], axis=1)
    found = Reward(joined(aggregate)).combine({name: tensor(values.tolist()) for name, values in terms.items()})
    np.testing.assert_allclose(found.numpy(), 2.0 * HOW[aggregate](members) + 0.25 * terms["brevity"], atol=1e-5)


def test_members_disagree_by_their_standard_deviation_and_without_any_the_heads_do() -> None:
    rng = np.random.default_rng(2)
    members = rng.normal(size=(50, 3))
    scores, second, third = (tensor(column.tolist()) for column in members.T)
    heads = Scores(scores, torch.full((50,), 0.25))
    found = disagreement_of(joined("min"), heads, {"second": second, "third": third})
    np.testing.assert_allclose(found.numpy(), members.std(axis=1), atol=1e-6)
    assert disagreement_of(RewardConfig(), heads, {}).tolist() == [0.25] * 50


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ((), "ensemble.members names 'second', which is no term of kind 'model'; add it to terms"),
        ((LengthConfig(name="second"),), "which is no term of kind 'model'"),
        ((PEERS[0].model_copy(update={"weight": 0.5}),), "enters the sum as one; set weight, normalise and clip of"),
    ],
)
def test_who_cannot_be_a_member_is_named(terms: Sequence[TermConfig], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        RewardConfig.model_validate({"terms": terms, "ensemble": {"members": ("second",)}})
