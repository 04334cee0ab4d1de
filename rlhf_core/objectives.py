"""The mathematics of the recipe: losses, shaped rewards, advantages, KL estimates.

Tensors are float; B counts sequences, T response tokens, N tokens, V the vocabulary. A mask is True where a token is
real; what lies under a False never reaches a result.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over all entries where the mask is True, a scalar in the unit of the values."""
    return torch.where(mask, values, 0.0).sum() / mask.sum()


def bradley_terry_loss(
    chosen: Tensor,
    rejected: Tensor,
    *,
    margin: Tensor | float = 0.0,
    weight: Tensor | float = 1.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Negative log-likelihood of the preferences, -log sigmoid(chosen - rejected - margin), mean over pairs.

    Bradley and Terry (1952); Ouyang et al. (2022), equation 1; the margin is Touvron et al. (2023), equation 2. With
    smoothing e it is -(1 - e) log sigmoid(x) - e log sigmoid(-x) = -log sigmoid(x) + e x, as in `dpo_loss`. Finite for
    every finite difference.

    Args:
        chosen: rewards of the preferred responses, any shape, such as ``[B]`` or ``[B, K]`` for K members; logits.
        rejected: rewards of the others, the same shape, logits.
        margin: gap in logits that a pair must clear, a shape that fits or a number.
        weight: what the loss of a pair is multiplied by, a shape that fits or a number.
        label_smoothing: probability that a preference is recorded the wrong way round, in [0, 0.5).

    Returns:
        A scalar, nats per pair; ln 2 where chosen - rejected = margin and the weight is 1.
    """
    gaps = chosen - rejected - margin
    losses = -F.logsigmoid(gaps) + label_smoothing * gaps
    return (losses * weight).mean()


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    margin: Tensor | float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Negative log-likelihood of the preferences under the implicit rewards beta * log(policy / reference).

    Rafailov et al. (2023), equation 7; smoothing is that of conservative DPO, Mitchell (2023), 'A note on DPO with
    noisy preferences'; the margin is the offset of Amini et al. (2024). A constant added to both
    log-probabilities of a pair leaves its loss unchanged.

    Args:
        chosen: log-probabilities of the preferred responses under the policy, summed over tokens, shape ``[B]``, nats.
        rejected: of the others, shape ``[B]``, nats.
        ref_chosen: of the preferred responses under the reference, shape ``[B]``, nats.
        ref_rejected: of the others under the reference, shape ``[B]``, nats.
        beta: price of one nat of drift from the reference.
        label_smoothing: probability that a preference is recorded the wrong way round, in [0, 0.5).
        margin: gap of implicit rewards that a pair must clear, shape ``[B]`` or a number.

    Returns:
        Losses, nats; implicit rewards of the chosen and of the rejected, logits; each of shape ``[B]``. The loss is
        ln 2 where both implicit rewards are equal and the margin is 0.
    """
    chosen_rewards, rejected_rewards = beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)
    gap = chosen_rewards - rejected_rewards - margin
    losses = -(1.0 - label_smoothing) * F.logsigmoid(gap) - label_smoothing * F.logsigmoid(-gap)
    return losses, chosen_rewards, rejected_rewards


def ipo_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    chosen_tokens: Tensor,
    rejected_tokens: Tensor,
    *,
    beta: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distance of the difference of log-ratios from 1 / (2 beta), so that no pair is ever won outright.

    Azar et al. (2024), equation 17, whose tau is beta. Log-ratios are averaged over the tokens of a response, as
    TRL 1.16.0 does after asking the authors; the paper does not say.

    Args:
        chosen: log-probabilities of the preferred responses under the policy, summed over tokens, shape ``[B]``, nats.
        rejected: of the others, shape ``[B]``, nats.
        ref_chosen: of the preferred responses under the reference, shape ``[B]``, nats.
        ref_rejected: of the others under the reference, shape ``[B]``, nats.
        chosen_tokens: tokens of the preferred responses, shape ``[B]``.
        rejected_tokens: of the others, shape ``[B]``.
        beta: strength of the regularisation.

    Returns:
        Losses, squared nats per token; implicit rewards of the chosen and of the rejected, beta times the averaged
        log-ratio; each of shape ``[B]``.
    """
    chosen_ratios = (chosen - ref_chosen) / chosen_tokens
    rejected_ratios = (rejected - ref_rejected) / rejected_tokens
    losses = (chosen_ratios - rejected_ratios - 1.0 / (2.0 * beta)).square()
    return losses, beta * chosen_ratios, beta * rejected_ratios


def shaped_rewards(
    scores: Tensor,
    logprobs: Tensor,
    ref_logprobs: Tensor,
    mask: Tensor,
    *,
    beta: float,
) -> Tensor:
    """Reward of each token: the KL penalty everywhere, the score at the last real token.

    Ziegler et al. (2019), equation 2, spread over tokens as in Stiennon et al. (2020). KL is paid for by k1: the
    expected gradient of a reward r is that of its mean with r held fixed, and of k1 that is the gradient of KL itself.
    By k3, as good an estimate of the value, a token less likely than under the reference is charged and becomes less
    likely still.

    Args:
        scores: reward of each whole response, shape ``[B]``.
        logprobs: log-probabilities under the policy that sampled, shape ``[B, T]``, nats.
        ref_logprobs: the same tokens under the reference, shape ``[B, T]``, nats.
        mask: True where a token is real, left-aligned, at least one per row, shape ``[B, T]``.
        beta: price of one nat.

    Returns:
        Shape ``[B, T]``, 0 where the mask is False.
    """
    rewards = -beta * kl_per_token(logprobs, ref_logprobs, mask, estimator="k1")
    last = mask.sum(dim=1, keepdim=True) - 1
    return rewards.scatter_add(1, last, scores[:, None].to(rewards.dtype))


def estimate_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation; an episode ends with its last real token.

    Schulman et al. (2016), equation 16, with value 0 after the end.

    Args:
        rewards: reward of each token, shape ``[B, T]``.
        values: value before each token, shape ``[B, T]``.
        mask: True where a token is real, left-aligned, shape ``[B, T]``.
        gamma: discount.
        lam: weight of longer returns, from 0 (one step) to 1 (the whole episode).

    Returns:
        Advantages and returns (advantages + values), both shape ``[B, T]`` and 0 where the mask is False.
    """
    values = torch.where(mask, values, 0.0)
    rewards = torch.where(mask, rewards, 0.0)
    advantages = torch.zeros_like(values)
    carried = torch.zeros_like(values[:, 0])
    following = torch.zeros_like(values[:, 0])
    for index in reversed(range(values.shape[1])):
        delta = rewards[:, index] + gamma * following - values[:, index]
        carried = torch.where(mask[:, index], delta + gamma * lam * carried, 0.0)
        advantages[:, index] = carried
        following = values[:, index]
    return advantages, advantages + values


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale to mean 0 and variance 1 over all real entries of the batch; 0 where the mask is False."""
    centred = values - masked_mean(values, mask)
    variance = masked_mean(centred.square(), mask)
    return torch.where(mask, centred * torch.rsqrt(variance + 1e-8), 0.0)


def ppo_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, *, cliprange: float
) -> tuple[Tensor, Tensor]:
    """Clipped surrogate loss, Schulman et al. (2017), equation 7, negated and averaged over real tokens.

    Args:
        logprobs: under the policy that learns, shape ``[B, T]``, nats.
        old_logprobs: under the policy that sampled, shape ``[B, T]``, nats.
        advantages: shape ``[B, T]``.
        mask: True where a token is real, shape ``[B, T]``.
        cliprange: how far the ratio may leave 1 before its gradient is cut.

    Returns:
        The loss, a scalar; and the share of tokens on which clipping took effect, a scalar in [0, 1].
    """
    ratio = torch.exp(torch.where(mask, logprobs - old_logprobs, 0.0))
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - cliprange, 1.0 + cliprange)
    return masked_mean(torch.maximum(plain, clipped), mask), masked_mean((clipped > plain).float(), mask)


def ppo_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, cliprange_value: float
) -> Tensor:
    """Half the squared error of the values, the worse of plain and clipped, averaged over real tokens.

    The clipping is that of Ziegler et al. (2019): a value may move at most `cliprange_value` from where it was.

    Args:
        values: shape ``[B, T]``.
        old_values: values when the responses were sampled, shape ``[B, T]``.
        returns: targets, shape ``[B, T]``.
        mask: True where a token is real, shape ``[B, T]``.
        cliprange_value: largest move, in units of reward.

    Returns:
        A scalar, squared units of reward.
    """
    clipped = old_values + (values - old_values).clamp(-cliprange_value, cliprange_value)
    worse = torch.maximum((values - returns).square(), (clipped - returns).square())
    return 0.5 * masked_mean(worse, mask)


def kl_per_token(logprobs: Tensor, other_logprobs: Tensor, mask: Tensor, *, estimator: Literal["k1", "k3"]) -> Tensor:
    """Estimate of KL(sampler || other) at each token, 0 where the mask is False.

    Schulman (2020), 'Approximating KL divergence', with r = other - sampler: k1 is -r, unbiased, may be negative; k3 is
    exp(r) - 1 - r, unbiased, never negative.

    Args:
        logprobs: under the policy that sampled, shape ``[B, T]``, nats.
        other_logprobs: the same tokens under the other policy, shape ``[B, T]``, nats.
        mask: True where a token is real, shape ``[B, T]``.
        estimator: which one.

    Returns:
        Shape ``[B, T]``, nats.
    """
    log_ratio = torch.where(mask, other_logprobs - logprobs, 0.0)
    return -log_ratio if estimator == "k1" else torch.expm1(log_ratio) - log_ratio


def kl_loss(logprobs: Tensor, old_logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each token whose expected gradient, summed over a response, is that of KL(policy || reference).

    With w = policy / sampler, w_t (k3_t + sum over s > t of w_s k3_s), the sum held fixed. w_t k3_t, the unbiased
    estimate of DeepSeek-AI (2025), 'DeepSeek-V3.2', section 3.1, has the gradient of the KL at a token; the sum, its
    reward-to-go, that of going where the KL to come is another. Exact while the policy is the sampler. After that w_t
    corrects each token, but tokens stand where the sampler went, as in the surrogate of `ppo_policy_loss`.

    Args:
        logprobs: under the policy that learns, shape ``[B, T]``, nats.
        old_logprobs: under the policy that sampled, shape ``[B, T]``, nats.
        ref_logprobs: under the reference, shape ``[B, T]``, nats.
        mask: True where a token is real, left-aligned, shape ``[B, T]``.

    Returns:
        The losses with gradient; and w_t k3_t, without, an estimate of the KL at each token. Shape ``[B, T]``, nats.
    """
    weights = torch.exp(torch.where(mask, logprobs - old_logprobs, 0.0))
    nats = weights * kl_per_token(logprobs, ref_logprobs, mask, estimator="k3")
    fixed = nats.detach()
    to_come = fixed.flip(1).cumsum(dim=1).flip(1) - fixed
    return nats + weights * to_come, fixed


def kl_k1(logprobs: Tensor, other_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Estimate of KL(sampler || other) for each response: the sum of log ratios over its tokens.

    Schulman (2020), 'Approximating KL divergence', k1: unbiased, may be negative.

    Args:
        logprobs: under the policy that sampled, shape ``[B, T]``, nats.
        other_logprobs: the same tokens under the other policy, shape ``[B, T]``, nats.
        mask: True where a token is real, shape ``[B, T]``.

    Returns:
        Shape ``[B]``, nats per response.
    """
    return kl_per_token(logprobs, other_logprobs, mask, estimator="k1").sum(dim=1)


def kl_k3(logprobs: Tensor, other_logprobs: Tensor, mask: Tensor) -> Tensor:
    """As `kl_k1`, by the k3 of `kl_per_token`: unbiased for each token, never negative."""
    return kl_per_token(logprobs, other_logprobs, mask, estimator="k3").sum(dim=1)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Share of the variance of the returns that the values explain: 1 is perfect, 0 no better than their mean."""
    errors = (returns - values)[mask]
    return 1.0 - errors.var(correction=0) / returns[mask].var(correction=0).clamp(min=1e-8)
