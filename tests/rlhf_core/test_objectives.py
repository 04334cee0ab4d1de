"""The mathematics of the recipe against closed forms and NumPy; what a test here misses, test_mutations.py shows."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlhf_core.objectives import (
    bradley_terry_loss,
    dpo_loss,
    estimate_advantages,
    explained_variance,
    ipo_loss,
    kl_k1,
    kl_k3,
    kl_loss,
    kl_per_token,
    masked_mean,
    ppo_policy_loss,
    ppo_value_loss,
    shaped_rewards,
    whiten,
)

REWARDS = st.floats(-50.0, 50.0)
MASK = torch.tensor([[True, True, True, True], [True, True, False, False], [True, False, False, False]])
LENGTHS = (4, 2, 1)


def tensor(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape or tuple(MASK.shape)))


def assert_equal(actual: Tensor, expected: object) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=1e-9, atol=1e-12)


def test_masked_mean_counts_real_entries_only() -> None:
    values = tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 99.0, 99.0], [7.0, 99.0, 99.0, 99.0]])
    assert_equal(masked_mean(values, MASK), 4.0)


# Bradley-Terry


def test_equal_rewards_cost_ln_2() -> None:
    assert_equal(bradley_terry_loss(tensor([3.0, -1.0]), tensor([3.0, -1.0])), math.log(2))


def test_bradley_terry_is_the_mean_log_likelihood_of_the_preferences() -> None:
    chosen, rejected = np.array([1.0, 0.3, -2.0]), np.array([0.5, 0.9, -2.5])
    win = np.exp(chosen) / (np.exp(chosen) + np.exp(rejected))  # as Bradley and Terry wrote it
    assert_equal(bradley_terry_loss(tensor(chosen), tensor(rejected)), -np.log(win).mean())


def test_a_margin_is_taken_off_the_difference() -> None:
    expected = np.mean(np.log1p(np.exp([-(2.0 - 0.5 - 1.0), -(1.0 - 0.0 - 0.25)])))
    actual = bradley_terry_loss(tensor([2.0, 1.0]), tensor([0.5, 0.0]), margin=tensor([1.0, 0.25]))
    assert_equal(actual, expected)
    assert_equal(bradley_terry_loss(tensor([2.0]), tensor([0.5]), margin=1.5), math.log(2))


def test_a_weight_of_3_counts_a_pair_three_times() -> None:
    chosen, rejected = drawn(5, 4), drawn(6, 4)
    weighted = bradley_terry_loss(chosen, rejected, margin=0.2, weight=tensor([0.0, 1.0, 3.0, 1.0]))
    repeated = [1, 2, 2, 2, 3]
    assert_equal(weighted * 4, bradley_terry_loss(chosen[repeated], rejected[repeated], margin=0.2) * 5)


def test_smoothing_of_bradley_terry_weighs_both_labels_by_their_probability() -> None:
    chosen, rejected = drawn(7, 5), drawn(8, 5)
    right, wrong = (bradley_terry_loss(*sides, margin=0.0) for sides in ((chosen, rejected), (rejected, chosen)))
    assert_equal(bradley_terry_loss(chosen, rejected, label_smoothing=0.2), 0.8 * right + 0.2 * wrong)


def test_smoothed_bradley_terry_is_least_where_the_claim_is_as_sure_as_the_labels() -> None:
    chosen = tensor([math.log(0.9 / 0.1) + 0.4]).requires_grad_()
    bradley_terry_loss(chosen, tensor([0.0]), margin=0.4, label_smoothing=0.1).backward()
    assert chosen.grad is not None
    assert_equal(chosen.grad, [0.0])


def test_members_of_an_ensemble_are_averaged_with_weights_of_their_own() -> None:
    chosen, rejected = drawn(9, 6).reshape(3, 2), drawn(10, 6).reshape(3, 2)
    weight, margin = tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]), tensor([0.1, 0.0, 0.5])
    each = [
        bradley_terry_loss(chosen[:, member], rejected[:, member], margin=margin, weight=weight[:, member])
        for member in (0, 1)
    ]
    together = bradley_terry_loss(chosen, rejected, margin=margin[:, None], weight=weight)
    assert_equal(together, (each[0] + each[1]) / 2)


@given(chosen=REWARDS, rejected=REWARDS, shift=REWARDS)
def test_only_the_difference_of_rewards_matters(chosen: float, rejected: float, shift: float) -> None:
    plain = bradley_terry_loss(tensor([chosen]), tensor([rejected]))
    shifted = bradley_terry_loss(tensor([chosen + shift]), tensor([rejected + shift]))
    torch.testing.assert_close(plain, shifted, rtol=1e-9, atol=1e-9)


@given(chosen=REWARDS, rejected=REWARDS)
def test_the_loss_falls_as_the_difference_grows_and_swapping_costs_the_difference(
    chosen: float, rejected: float
) -> None:
    right = bradley_terry_loss(tensor([chosen]), tensor([rejected]))
    wrong = bradley_terry_loss(tensor([rejected]), tensor([chosen]))
    torch.testing.assert_close(wrong - right, tensor(chosen - rejected), rtol=1e-9, atol=1e-9)


@given(first=REWARDS, second=REWARDS, share=st.floats(0.0, 1.0))
def test_bradley_terry_is_convex_in_the_difference(first: float, second: float, share: float) -> None:
    def loss(difference: float) -> float:
        return float(bradley_terry_loss(tensor([difference]), tensor([0.0])))

    assert loss(share * first + (1 - share) * second) <= share * loss(first) + (1 - share) * loss(second) + 1e-9


def test_the_gradient_of_a_pair_is_the_probability_of_getting_it_wrong() -> None:
    chosen, rejected = drawn(1, 6).requires_grad_(), drawn(2, 6).requires_grad_()
    bradley_terry_loss(chosen, rejected).backward()
    wrong = 1.0 / (1.0 + np.exp(chosen.detach().numpy() - rejected.detach().numpy()))
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert_equal(chosen.grad, -wrong / 6)
    assert_equal(rejected.grad, wrong / 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("difference", "loss", "slope"), [(1e4, 0.0, 0.0), (-1e4, 1e4, -1.0)])
def test_huge_differences_stay_finite(dtype: torch.dtype, difference: float, loss: float, slope: float) -> None:
    chosen = torch.tensor([difference], dtype=dtype, requires_grad=True)
    found = bradley_terry_loss(chosen, torch.zeros(1, dtype=dtype))
    found.backward()
    assert found.item() == loss
    assert chosen.grad is not None
    assert chosen.grad.item() == slope


# Direct preference optimisation


def four(seed: int) -> list[Tensor]:
    """Log-probabilities of 6 chosen and rejected responses under policy and reference."""
    return [drawn(seed + index, 6) * 3.0 - 20.0 for index in range(4)]


def test_a_policy_that_equals_its_reference_costs_ln_2() -> None:
    chosen, rejected, *_ = four(40)
    for label_smoothing in (0.0, 0.3):
        losses, won, lost = dpo_loss(chosen, rejected, chosen, rejected, beta=0.1, label_smoothing=label_smoothing)
        assert_equal(losses, np.full(6, math.log(2)))
        assert_equal(won, np.zeros(6))
        assert_equal(lost, np.zeros(6))


def test_dpo_is_the_log_likelihood_of_the_preferences_under_the_implicit_rewards() -> None:
    policy_chosen, policy_rejected, ref_chosen, ref_rejected = (values.numpy() for values in four(41))
    losses, won, lost = dpo_loss(*four(41), beta=0.1)
    ratio = (np.exp(policy_chosen) / np.exp(ref_chosen)) / (np.exp(policy_rejected) / np.exp(ref_rejected))
    assert_equal(losses, -np.log(1 / (1 + ratio**-0.1)))
    assert_equal(won, 0.1 * (policy_chosen - ref_chosen))
    assert_equal(lost, 0.1 * (policy_rejected - ref_rejected))


def test_dpo_is_bradley_terry_on_implicit_rewards() -> None:
    losses, won, lost = dpo_loss(*four(42), beta=0.7, margin=tensor([0.0, 1.0, 0.5, 0.0, 0.2, 3.0]))
    expected = bradley_terry_loss(won, lost, margin=tensor([0.0, 1.0, 0.5, 0.0, 0.2, 3.0]))
    assert_equal(losses.mean(), expected)


def test_dpo_by_hand() -> None:
    logprobs = (tensor([-1.0]), tensor([-4.0]), tensor([-2.0]), tensor([-3.0]))  # log-ratios 1 and -1
    assert_equal(dpo_loss(*logprobs, beta=0.5)[0], [math.log1p(math.exp(-1.0))])
    assert_equal(dpo_loss(*logprobs, beta=0.5, margin=0.25)[0], [math.log1p(math.exp(-0.75))])
    smoothed = 0.9 * math.log1p(math.exp(-1.0)) + 0.1 * math.log1p(math.exp(1.0))
    assert_equal(dpo_loss(*logprobs, beta=0.5, label_smoothing=0.1)[0], [smoothed])


def test_dpo_pulls_the_chosen_up_and_the_rejected_down_by_the_chance_of_being_wrong() -> None:
    chosen, rejected, ref_chosen, ref_rejected = four(43)
    chosen.requires_grad_(), rejected.requires_grad_()
    losses, won, lost = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta=0.2)
    losses.sum().backward()
    wrong = 1.0 / (1.0 + np.exp((won - lost).detach().numpy()))  # Rafailov et al., the gradient below equation 7
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert_equal(chosen.grad, -0.2 * wrong)
    assert_equal(rejected.grad, 0.2 * wrong)


def test_smoothing_stops_the_gap_where_labels_are_as_often_right_as_claimed() -> None:
    gap = math.log(0.9 / 0.1)
    chosen = tensor([gap / 0.5]).requires_grad_()
    zeros = torch.zeros(1, dtype=torch.float64)
    dpo_loss(chosen, zeros, zeros, zeros, beta=0.5, label_smoothing=0.1)[0].sum().backward()
    assert chosen.grad is not None
    assert_equal(chosen.grad, [0.0])


@given(seed=st.integers(0, 1000), shift=REWARDS, ref_shift=REWARDS)
def test_what_both_responses_share_changes_no_dpo_loss(seed: int, shift: float, ref_shift: float) -> None:
    chosen, rejected, ref_chosen, ref_rejected = four(seed)
    plain = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta=0.1, label_smoothing=0.1)[0]
    shifted = dpo_loss(
        chosen + shift,
        rejected + shift,
        ref_chosen + ref_shift,
        ref_rejected + ref_shift,
        beta=0.1,
        label_smoothing=0.1,
    )[0]
    torch.testing.assert_close(plain, shifted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("gap", "loss"), [(1e5, 0.0), (-1e5, 1e4)])
def test_huge_log_ratios_stay_finite(gap: float, loss: float) -> None:
    chosen = torch.tensor([gap], requires_grad=True)
    losses, _, _ = dpo_loss(chosen, torch.zeros(1), torch.zeros(1), torch.zeros(1), beta=0.1)
    losses.sum().backward()
    torch.testing.assert_close(losses.detach(), torch.tensor([loss]))
    assert chosen.grad is not None
    assert chosen.grad.isfinite().all()


def test_ipo_is_0_where_the_gap_of_averaged_log_ratios_is_its_target() -> None:
    # log-ratios 6 over 3 tokens and -2 over 4: 2 - -0.5 = 2.5 = 1 / (2 * 0.2)
    logprobs = (tensor([-1.0]), tensor([-6.0]), tensor([-7.0]), tensor([-4.0]))
    losses, won, lost = ipo_loss(*logprobs, torch.tensor([3]), torch.tensor([4]), beta=0.2)
    assert_equal(losses, [0.0])
    assert_equal(won, [0.4])
    assert_equal(lost, [-0.1])
    assert_equal(ipo_loss(*logprobs, torch.tensor([3]), torch.tensor([4]), beta=0.25)[0], [0.25])


def test_an_ipo_gap_beyond_its_target_is_pulled_back() -> None:
    for gap, sign in ((4.0, -1.0), (6.0, 1.0)):  # the target is 5
        chosen = tensor([gap * 2]).requires_grad_()
        zeros, tokens = torch.zeros(1, dtype=torch.float64), torch.tensor([2])
        ipo_loss(chosen, zeros, zeros, zeros, tokens, tokens, beta=0.1)[0].sum().backward()
        assert chosen.grad is not None
        assert_equal(chosen.grad, [sign])


# Rewards and advantages


def test_rewards_by_hand() -> None:
    scores = tensor([10.0, -3.0, 1.0])
    logprobs = tensor([[-1.0, -2.0, -3.0, -4.0], [-1.0, -1.0, 9.0, 9.0], [-2.0, 9.0, 9.0, 9.0]])
    reference = tensor([[-2.0, -2.0, -1.0, -4.5], [-0.5, -3.0, 9.0, 9.0], [-2.0, 9.0, 9.0, 9.0]])
    expected = [[-0.1, 0.0, 0.2, 10.0 - 0.05], [0.05, -3.0 - 0.2, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    assert_equal(shaped_rewards(scores, logprobs, reference, MASK, beta=0.1), expected)


def test_rewards_of_a_response_add_up_to_its_score_less_beta_times_kl() -> None:
    scores, logprobs, reference = drawn(3, 3), drawn(4), drawn(5)
    total = shaped_rewards(scores, logprobs, reference, MASK, beta=0.3).sum(dim=1)
    assert_equal(total, scores - 0.3 * kl_k1(logprobs, reference, MASK))


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("lam", [1.0, 0.95, 0.0])
def test_advantages_are_the_discounted_sum_of_surprises(gamma: float, lam: float) -> None:
    rewards, values = drawn(6), drawn(7)
    expected = np.zeros(MASK.shape)
    for row, length in enumerate(LENGTHS):
        r, v = rewards[row, :length].numpy(), np.append(values[row, :length].numpy(), 0.0)
        surprise = r + gamma * v[1:] - v[:-1]
        for start in range(length):
            weights = (gamma * lam) ** np.arange(length - start)
            expected[row, start] = (weights * surprise[start:]).sum()
    advantages, returns = estimate_advantages(rewards, values, MASK, gamma=gamma, lam=lam)
    assert_equal(advantages, expected)
    assert_equal(returns, np.where(MASK.numpy(), expected + values.numpy(), 0.0))


def test_advantages_by_hand() -> None:
    advantages, returns = estimate_advantages(
        tensor([[0.0, 1.0]]), tensor([[0.5, 0.2]]), torch.tensor([[True, True]]), gamma=0.9, lam=0.5
    )
    assert_equal(advantages, [[0.9 * 0.2 - 0.5 + 0.45 * 0.8, 0.8]])
    assert_equal(returns, [[0.9 * 0.2 + 0.45 * 0.8, 1.0]])


def test_without_discount_returns_are_the_sums_of_the_rewards_to_come() -> None:
    rewards = torch.where(MASK, drawn(8), 0.0)
    _, returns = estimate_advantages(rewards, drawn(9), MASK, gamma=1.0, lam=1.0)
    to_come = rewards.flip(1).cumsum(1).flip(1)
    assert_equal(returns, torch.where(MASK, to_come, 0.0))


def test_values_that_are_right_leave_no_advantage() -> None:
    rewards = torch.where(MASK, drawn(10), 0.0)
    right = rewards.flip(1).cumsum(1).flip(1)
    advantages, _ = estimate_advantages(rewards, right, MASK, gamma=1.0, lam=0.95)
    assert_equal(advantages, np.zeros(MASK.shape))


def test_whitening_gives_mean_0_and_variance_1_over_real_entries() -> None:
    values = drawn(11)
    real = values.numpy()[MASK.numpy()]
    expected = np.where(MASK.numpy(), (values.numpy() - real.mean()) / np.sqrt(real.var() + 1e-8), 0.0)
    assert_equal(whiten(values, MASK), expected)


@given(scale=st.floats(0.1, 100.0), shift=st.floats(-100.0, 100.0))
def test_whitening_forgets_scale_and_shift(scale: float, shift: float) -> None:
    torch.testing.assert_close(whiten(drawn(11) * scale + shift, MASK), whiten(drawn(11), MASK), rtol=1e-5, atol=1e-5)


def test_whitening_equal_values_gives_zeros() -> None:
    assert_equal(whiten(torch.full(MASK.shape, 3.0, dtype=torch.float64), MASK), np.zeros(MASK.shape))


# PPO

# ratio, advantage, loss, slope of the loss in the log-probability; the cliprange is 0.2
CLIPPING = {
    "better and already likelier: clipped": (1.5, 2.0, -2.4, 0.0),
    "better but less likely: free": (0.5, 2.0, -1.0, -1.0),
    "worse and already less likely: clipped": (0.5, -2.0, 1.6, 0.0),
    "worse but likelier: free": (1.5, -2.0, 3.0, 3.0),
    "inside": (1.1, 2.0, -2.2, -2.2),
}


def test_the_policy_loss_clips_by_hand() -> None:
    ratios, advantages, losses, slopes = (tensor([column]) for column in zip(*CLIPPING.values(), strict=True))
    logprobs = ratios.log().requires_grad_()
    mask = torch.ones_like(ratios, dtype=torch.bool)
    loss, clipfrac = ppo_policy_loss(logprobs, torch.zeros_like(ratios), advantages, mask, cliprange=0.2)
    loss.backward()
    assert_equal(loss.detach(), losses.mean())
    assert_equal(clipfrac.double(), torch.tensor(2 / 5, dtype=torch.float32).double())
    assert logprobs.grad is not None
    assert_equal(logprobs.grad, slopes / 5)


def test_an_unchanged_policy_loses_the_mean_advantage() -> None:
    logprobs, advantages = drawn(12), drawn(13)
    loss, clipfrac = ppo_policy_loss(logprobs, logprobs, advantages, MASK, cliprange=0.2)
    assert_equal(loss, -advantages.numpy()[MASK.numpy()].mean())
    assert clipfrac.item() == 0.0


def test_the_policy_loss_follows_the_published_formula() -> None:
    logprobs, old, advantages = drawn(14), drawn(15), drawn(16)
    ratio, gain = np.exp(logprobs.numpy() - old.numpy()), advantages.numpy()
    objective = np.minimum(ratio * gain, np.clip(ratio, 0.8, 1.2) * gain)
    loss, _ = ppo_policy_loss(logprobs, old, advantages, MASK, cliprange=0.2)
    assert_equal(loss, -objective[MASK.numpy()].mean())


@given(seed=st.integers(0, 1000))
def test_clipping_never_promises_more_than_the_plain_surrogate(seed: int) -> None:
    logprobs, old, advantages = drawn(seed), drawn(seed + 1), drawn(seed + 2)
    loss, _ = ppo_policy_loss(logprobs, old, advantages, MASK, cliprange=0.2)
    plain = -masked_mean((logprobs - old).exp() * advantages, MASK)
    assert loss >= plain - 1e-12


def test_the_value_loss_takes_the_worse_of_plain_and_clipped() -> None:
    values = tensor([[1.0, 0.1, 1.0, 0.0]])
    old = tensor([[0.0, 0.0, 0.0, 0.5]])
    returns = tensor([[2.0, 1.0, 0.0, 0.4]])
    # clipped to 0.2, 0.1, 0.2 and 0.3; squared errors 1.8², 0.9², 1², 0.4²
    mask = torch.ones_like(values, dtype=torch.bool)
    expected = 0.5 * (3.24 + 0.81 + 1.0 + 0.16) / 4
    assert_equal(ppo_value_loss(values, old, returns, mask, cliprange_value=0.2), expected)


def test_an_unclipped_value_loss_is_half_the_squared_error() -> None:
    values, old, returns = drawn(17), drawn(18), drawn(19)
    expected = 0.5 * np.square(values.numpy() - returns.numpy())[MASK.numpy()].mean()
    assert_equal(ppo_value_loss(values, old, returns, MASK, cliprange_value=1e9), expected)


def test_explained_variance_against_numpy() -> None:
    values, returns = drawn(20), drawn(21)
    guess, truth = values.numpy()[MASK.numpy()], returns.numpy()[MASK.numpy()]
    assert_equal(explained_variance(values, returns, MASK), 1.0 - np.var(truth - guess) / np.var(truth))


def test_perfect_values_explain_all_variance_and_a_constant_none() -> None:
    returns = drawn(22)
    assert_equal(explained_variance(returns, returns, MASK), 1.0)
    assert_equal(explained_variance(torch.full_like(returns, 5.0), returns, MASK), 0.0)


# Divergence

VOCABULARY = 3
SEQUENCES = list(product(range(VOCABULARY), repeat=2))


def two_token_model(seed: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the two tokens of every sequence, shape [V², 2], and probability of the sequence, [V²]."""
    first = torch.log_softmax(drawn(seed, VOCABULARY), dim=0)
    second = torch.log_softmax(drawn(seed + 1, VOCABULARY, VOCABULARY), dim=1)
    logprobs = torch.stack([torch.stack([first[one], second[one, two]]) for one, two in SEQUENCES])
    return logprobs, logprobs.sum(dim=1).exp()


def test_kl_estimators_average_to_the_exact_divergence() -> None:
    (policy, chance), (reference, reference_chance) = two_token_model(23), two_token_model(33)
    p, q = chance.numpy(), reference_chance.numpy()
    exact = float((p * np.log(p / q)).sum())
    real = torch.ones(len(SEQUENCES), 2, dtype=torch.bool)
    assert exact > 0.1
    assert_equal((chance * kl_k1(policy, reference, real)).sum(), exact)
    assert_equal((chance * kl_k3(policy, reference, real)).sum(), exact)


def test_kl_of_a_response_by_hand() -> None:
    logprobs, reference = tensor([[-1.0, -2.0, 9.0]]), tensor([[-1.5, -1.0, 7.0]])
    mask = torch.tensor([[True, True, False]])
    assert_equal(kl_k1(logprobs, reference, mask), [0.5 - 1.0])
    assert_equal(kl_k3(logprobs, reference, mask), [(math.exp(-0.5) - 1 + 0.5) + (math.e - 1 - 1)])


@given(seed=st.integers(0, 1000))
def test_k3_is_never_negative(seed: int) -> None:
    assert (kl_k3(drawn(seed), drawn(seed + 1), MASK) >= 0).all()


def test_equal_policies_do_not_diverge() -> None:
    logprobs = drawn(24)
    assert_equal(kl_k1(logprobs, logprobs, MASK), [0.0] * 3)
    assert_equal(kl_k3(logprobs, logprobs, MASK), [0.0] * 3)


def test_k3_keeps_precision_where_policies_are_close() -> None:
    ahead = torch.full((1, 1), 1e-3, dtype=torch.float32)
    found = kl_k3(torch.zeros(1, 1), ahead, torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(found.item(), 5e-7, rtol=1e-3, atol=0)


# Masks

SCORES = drawn(26, 3)
MASKED = {
    "masked_mean": lambda a, b, c: masked_mean(a, MASK),
    "shaped_rewards": lambda a, b, c: shaped_rewards(SCORES, a, b, MASK, beta=0.1),
    "advantages": lambda a, b, c: torch.stack(estimate_advantages(a, b, MASK, gamma=0.9, lam=0.8)),
    "whiten": lambda a, b, c: whiten(a, MASK),
    "ppo_policy_loss": lambda a, b, c: torch.stack(
        [part.double() for part in ppo_policy_loss(a, b, c, MASK, cliprange=0.2)]
    ),
    "ppo_value_loss": lambda a, b, c: ppo_value_loss(a, b, c, MASK, cliprange_value=0.2),
    "kl_k1": lambda a, b, c: kl_k1(a, b, MASK),
    "kl_k3": lambda a, b, c: kl_k3(a, b, MASK),
    "kl_per_token": lambda a, b, c: kl_per_token(a, b, MASK, estimator="k3"),
    "kl_loss": lambda a, b, c: kl_loss(a, b, c, MASK)[0],
    "explained_variance": lambda a, b, c: explained_variance(a, b, MASK),
}


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("garbage", [1e6, math.inf, math.nan])
def test_padding_never_reaches_a_result(name: str, garbage: float) -> None:
    clean = [torch.where(MASK, drawn(seed), 0.0) for seed in (27, 28, 29)]
    dirty = [torch.where(MASK, values, garbage) for values in clean]
    assert torch.equal(MASKED[name](*dirty), MASKED[name](*clean))


@pytest.mark.parametrize("name", ["ppo_policy_loss", "ppo_value_loss", "kl_loss"])
def test_padding_never_reaches_a_gradient(name: str) -> None:
    inputs = [torch.where(MASK, drawn(seed), 1e6) for seed in (27, 28, 29)]
    learned = inputs[0].requires_grad_()
    MASKED[name](*inputs).sum().backward()
    assert learned.grad is not None
    assert learned.grad.isfinite().all()
    assert (learned.grad[~MASK] == 0).all()
