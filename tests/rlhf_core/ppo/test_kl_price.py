"""The price of KL: exact gradients by enumeration of all responses, and a policy that has nothing else to follow."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from rlhf_core.objectives import estimate_advantages, kl_loss, ppo_policy_loss, shaped_rewards, whiten

WORDS = 3
POLICY, SAMPLER, REFERENCE = 1, 2, 3
"""Seeds of models."""


def model(seed: int, tokens: int) -> Tensor:
    """Logits of a model that looks back one word, or at the start: shape ``[T, WORDS, WORDS]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, WORDS, WORDS, generator=generator, dtype=torch.float64)


def responses(tokens: int) -> Tensor:
    """Every response, shape ``[WORDS ** T, T]``."""
    return torch.tensor(list(product(range(WORDS), repeat=tokens)))


def logprobs_of(logits: Tensor, drawn: Tensor) -> Tensor:
    """Log-probabilities of the words of responses, shape ``[B, T]``."""
    before = torch.cat([torch.zeros_like(drawn[:, :1]), drawn[:, :-1]], dim=1)
    places = torch.arange(drawn.shape[1])
    return logits.log_softmax(dim=-1)[places, before, drawn]


def chances(logits: Tensor, drawn: Tensor) -> Tensor:
    return logprobs_of(logits, drawn).sum(dim=1).exp()


def everywhere(drawn: Tensor) -> Tensor:
    return torch.ones_like(drawn, dtype=torch.bool)


def divergence(policy: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) over whole responses, by its definition."""
    drawn = responses(len(policy))
    log_ratios = (logprobs_of(policy, drawn) - logprobs_of(reference, drawn)).sum(dim=1)
    return (chances(policy, drawn) * log_ratios).sum()


def expected_gradient(policy: Tensor, sampler: Tensor, reference: Tensor) -> Tensor:
    """Of the loss, summed over a response, when every response comes as often as the sampler draws it."""
    policy = policy.clone().requires_grad_()
    drawn = responses(len(policy))
    views = (logprobs_of(logits, drawn) for logits in (policy, sampler, reference))
    losses, _ = kl_loss(*views, everywhere(drawn))
    (gradient,) = torch.autograd.grad((chances(sampler, drawn) * losses.sum(dim=1)).sum(), policy)
    return gradient


def exact_gradient(value: Callable[[Tensor], Tensor], policy: Tensor) -> Tensor:
    policy = policy.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(policy), policy)
    return gradient


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert expected.abs().max() > 0.03
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_gradient_of_kl_in_the_loss_is_that_of_the_kl_of_whole_responses() -> None:
    policy, reference = model(POLICY, 3), model(REFERENCE, 3)
    exact = exact_gradient(lambda logits: divergence(logits, reference), policy)
    assert_same(expected_gradient(policy, policy, reference), exact)


def test_a_response_of_another_policy_is_weighted_to_the_one_that_learns() -> None:
    policy, sampler, reference = (model(seed, 1) for seed in (POLICY, SAMPLER, REFERENCE))
    exact = exact_gradient(lambda logits: divergence(logits, reference), policy)
    assert_same(expected_gradient(policy, sampler, reference), exact)


def test_tokens_of_another_policy_are_weighted_one_by_one_where_it_went() -> None:
    policy, sampler, reference = (model(seed, 2) for seed in (POLICY, SAMPLER, REFERENCE))
    later = torch.stack([divergence(policy[1:, [word]], reference[1:, [word]]) for word in range(WORDS)])

    def surrogate(logits: Tensor) -> Tensor:
        """KL of the first word and of where it leads, by the policy; of the second one, where the sampler led."""
        first = logits[0, 0].log_softmax(dim=0)
        drift = (first.exp() * (first - reference[0, 0].log_softmax(dim=0))).sum()
        second = torch.stack([divergence(logits[1:, [word]], reference[1:, [word]]) for word in range(WORDS)])
        return drift + (first.exp() * later).sum() + (sampler[0, 0].softmax(dim=0) * second).sum()

    assert_same(expected_gradient(policy, sampler, reference), exact_gradient(surrogate, policy))


def test_the_gradient_of_kl_in_the_reward_is_that_of_the_kl_of_whole_responses() -> None:
    policy, reference = model(POLICY, 3), model(REFERENCE, 3)
    drawn = responses(3)
    logprobs = logprobs_of(policy, drawn)
    mask, zeros = everywhere(drawn), torch.zeros_like(logprobs)
    rewards = shaped_rewards(zeros[:, 0], logprobs, logprobs_of(reference, drawn), mask, beta=0.3)
    advantages, _ = estimate_advantages(rewards, zeros, mask, gamma=1.0, lam=1.0)

    def expected_loss(logits: Tensor) -> Tensor:
        ratios = (logprobs_of(logits, drawn) - logprobs).exp()
        return -(chances(policy, drawn) * (ratios * advantages).sum(dim=1)).sum()

    exact = exact_gradient(lambda logits: 0.3 * divergence(logits, reference), policy)
    assert_same(exact_gradient(expected_loss, policy), exact)


@pytest.mark.parametrize("kl_in", ["reward", "loss"])
def test_without_any_reward_the_policy_goes_back_to_the_reference_and_never_leaves_it(kl_in: str) -> None:
    reference = model(REFERENCE, 3)
    policy = (reference + 0.8 * model(POLICY, 3)).requires_grad_()
    adam = torch.optim.Adam([policy], lr=0.03)
    generator = torch.Generator().manual_seed(0)
    every, nats = responses(3), [float(divergence(policy.detach(), reference))]
    for _ in range(60):
        chance = chances(policy.detach(), every)
        drawn = every[torch.multinomial(chance, 256, replacement=True, generator=generator)]
        old, ref, mask = logprobs_of(policy.detach(), drawn), logprobs_of(reference, drawn), everywhere(drawn)
        rewards = shaped_rewards(torch.zeros(256), old, ref, mask, beta=0.15 if kl_in == "reward" else 0.0)
        advantages, _ = estimate_advantages(rewards, torch.zeros_like(old), mask, gamma=1.0, lam=0.95)
        for _ in range(2):
            now = logprobs_of(policy, drawn)
            loss, _ = ppo_policy_loss(now, old, whiten(advantages, mask), mask, cliprange=0.2)
            if kl_in == "loss":
                loss = loss + 0.15 * kl_loss(now, old, ref, mask)[0].mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        nats.append(float(divergence(policy.detach(), reference)))
    assert nats[0] > 0.3
    assert max(nats) < 1.05 * nats[0] and nats[-1] < 0.1 * nats[0]
