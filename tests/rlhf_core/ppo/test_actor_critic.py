"""A policy with a value head: one pass, the gradient of both losses, stock models on disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerBase

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import SharedTrunkConfig, UpdateConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.tokenizer import Tree
from rlhf_core.generation.rollout import as_rollout
from rlhf_core.generation.sampling import Sampled
from rlhf_core.objectives import masked_mean, ppo_policy_loss, ppo_value_loss
from rlhf_core.ppo.actor_critic import SharedTrunk, load_actor_critic
from rlhf_core.ppo.experience import Experience
from rlhf_core.ppo.losses import Minibatch

COEF, ENTROPY_COEF, TEMPERATURE = 0.7, 0.2, 0.8
SAMPLED = [
    Sampled([3, 5, 4], [7, 8, 2], [-1.0, -2.0, -0.5], True),
    Sampled([3, 6, 7, 8, 4], [9, 2], [-2.0, -1.5], True),
    Sampled([3, 9, 4], [5, 7, 6, 9], [-1.0, -2.5, -0.5, -3.0], False),
]
ROWS = [2, 0]


def configured(max_tokens: int) -> UpdateConfig:
    return UpdateConfig(
        entropy_coef=ENTROPY_COEF,
        value=SharedTrunkConfig(coef=COEF),
        optimiser=OptimiserConfig(lr=0.01, schedule="constant", warmup_share=0.0, max_tokens=max_tokens),
        sampling=SamplingConfig(temperature=TEMPERATURE),
    )


def made(base: Path, tokenizer: PreTrainedTokenizerBase, config: UpdateConfig) -> SharedTrunk:
    actor_critic = load_actor_critic(config, tokenizer, sft=base, reward_model=Path("is not read"), steps=9)
    assert isinstance(actor_critic, SharedTrunk)
    return actor_critic


def experience(actor_critic: SharedTrunk) -> Experience:
    rollout = as_rollout(SAMPLED)
    generator = torch.Generator().manual_seed(0)
    advantages, returns = (torch.randn(rollout.mask.shape, generator=generator) * rollout.mask for _ in range(2))
    values = actor_critic.values(rollout)
    zeros = torch.zeros(3)
    return Experience(rollout, zeros, zeros, rollout.logprobs, values + 0.1, advantages, returns, zeros, {}, zeros, 0.0)


def plain_loss(actor_critic: SharedTrunk, known: Experience) -> Tensor:
    """The loss of the minibatch by plain forwards of single sequences."""

    def passes() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for row in ROWS:
            prompt, response = SAMPLED[row].prompt_ids, SAMPLED[row].response_ids
            output = actor_critic.policy(input_ids=torch.tensor([prompt + response]), output_hidden_states=True)
            before = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
            logs = (output.logits[0, before] / TEMPERATURE).log_softmax(dim=-1)
            values = output.hidden_states[-1][0, before] @ actor_critic.policy.score.weight[0]
            yield logs.gather(1, torch.tensor(response)[:, None])[:, 0], -(logs.exp() * logs).sum(dim=-1), values

    logprobs, entropies, values = (pad_sequence(list(parts), batch_first=True) for parts in zip(*passes(), strict=True))
    mask = known.rollout.mask[ROWS]
    policy_loss, _ = ppo_policy_loss(
        logprobs, known.rollout.logprobs[ROWS], known.advantages[ROWS], mask, cliprange=0.2
    )
    value_loss = ppo_value_loss(values, known.values[ROWS], known.returns[ROWS], mask, cliprange_value=0.2)
    return policy_loss - ENTROPY_COEF * masked_mean(entropies, mask) + COEF * value_loss


@pytest.mark.parametrize("max_tokens", [4096, 1], ids=["one micro-batch", "a micro-batch for each response"])
def test_the_gradient_is_that_of_both_losses(base: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
    config = configured(max_tokens)
    actor_critic = made(base, tokenizer, config)
    torch.nn.init.normal_(actor_critic.policy.score.weight)
    known = experience(actor_critic)
    actor_critic.accumulate(Minibatch(config, known, ROWS))
    found = {name: weight.grad.clone() for name, weight in actor_critic.policy.named_parameters()}
    actor_critic.policy.zero_grad()
    plain_loss(actor_critic, known).backward()
    expected = {name: weight.grad for name, weight in actor_critic.policy.named_parameters()}
    assert float(expected["score.weight"].norm()) > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_minibatch_goes_through_the_trunk_once(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    config = configured(4096)
    actor_critic = made(base, tokenizer, config)
    known, passes = experience(actor_critic), []
    actor_critic.policy.base_model.register_forward_hook(lambda *_: passes.append(1))
    figures = actor_critic.accumulate(Minibatch(config, known, ROWS))
    assert len(passes) == 1
    assert set(figures) == {"policy_loss", "clipfrac", "entropy_nats", "kl_to_rollout_nats", "value_loss"}


def test_values_start_at_0_and_learn(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    config = configured(4096)
    actor_critic = made(base, tokenizer, config)
    known = experience(actor_critic)
    assert not actor_critic.values(known.rollout).any()
    errors = []
    for _ in range(9):
        errors.append(actor_critic.accumulate(Minibatch(config, known, [0, 1, 2]))["value_loss"])
        actor_critic.step()
    assert errors[-1] < errors[0]


def test_both_models_are_stock_on_disk(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    actor_critic = made(base, tokenizer, configured(4096))
    torch.nn.init.normal_(actor_critic.policy.score.weight)
    actor_critic.save(tokenizer, tmp_path)
    policy, policy_info = AutoModelForCausalLM.from_pretrained(tmp_path / "policy", output_loading_info=True)
    value, value_info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "value", output_loading_info=True)
    assert not any([*policy_info.values(), *value_info.values()])  # no key is missing and none is left over
    ids = torch.tensor([[3, 5, 4, 7, 8]])
    with torch.no_grad():
        output = actor_critic.policy(input_ids=ids, output_hidden_states=True)
        torch.testing.assert_close(policy(input_ids=ids).logits, output.logits)
        scores = output.hidden_states[-1][0, -1] @ actor_critic.policy.score.weight.T
        torch.testing.assert_close(value(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0], scores)
    assert value.config.num_labels == 1


def gradients(actor_critic: SharedTrunk) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in actor_critic.policy.named_parameters()}


@pytest.mark.parametrize("max_tokens", [4096, 1], ids=["one micro-batch", "a micro-batch for each response"])
def test_kl_in_the_loss_adds_beta_times_its_mean_over_tokens_weighted_to_the_sampler(
    base: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> None:
    config = configured(max_tokens).model_copy(update={"kl_in": "loss", "beta": 0.4})
    actor_critic = made(base, tokenizer, config)
    known = experience(actor_critic)
    known = known._replace(ref_logprobs=known.ref_logprobs - 0.3 * known.rollout.mask)
    figures = actor_critic.accumulate(Minibatch(config, known, ROWS))
    found = gradients(actor_critic)
    actor_critic.policy.zero_grad()
    losses, nats = [], []
    for row, logprobs, reference in zip(ROWS, *both(actor_critic, known), strict=True):
        weights = (logprobs - known.rollout.logprobs[row, : len(logprobs)]).exp()
        drifts = weights * ((reference - logprobs).exp() - 1 - (reference - logprobs))
        for place, drift in enumerate(drifts):
            losses.append(drift + weights[place] * drifts[place + 1 :].sum().detach())
        nats.append(drifts.detach())
    (plain_loss(actor_critic, known) + 0.4 * torch.stack(losses).mean()).backward()
    torch.testing.assert_close(found, gradients(actor_critic), rtol=1e-3, atol=1e-4)
    assert figures["kl_in_loss_nats"] == pytest.approx(float(torch.cat(nats).mean()), rel=1e-4)


def both(actor_critic: SharedTrunk, known: Experience) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probabilities of the rows under the policy, with gradient, and under the reference."""
    mine, theirs = [], []
    for row in ROWS:
        prompt, response = SAMPLED[row].prompt_ids, SAMPLED[row].response_ids
        logits = actor_critic.policy(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        logs = (logits / TEMPERATURE).log_softmax(dim=-1)
        mine.append(logs.gather(1, torch.tensor(response)[:, None])[:, 0])
        theirs.append(known.ref_logprobs[row, : len(response)])
    return mine, theirs


@pytest.mark.parametrize("max_tokens", [4096, 1], ids=["one micro-batch", "a micro-batch for each response"])
def test_demonstrations_add_the_gradient_of_their_cross_entropy(
    base: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> None:
    config = configured(max_tokens)
    actor_critic = made(base, tokenizer, config)
    known = experience(actor_critic)
    trees = [Tree([3, 5, 4], [[7, 8, 9, 2]]), Tree([3, 6, 4], [[5, 2]])]
    actor_critic.accumulate(Minibatch(config, known, ROWS))
    before = gradients(actor_critic)
    figures = actor_critic.add_demonstrations(trees, coef=0.3)
    found = gradients(actor_critic)
    actor_critic.policy.zero_grad()
    losses = []
    for prompt, (response,) in trees:
        logits = actor_critic.policy(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(response), reduction="none"))
    cross_entropy = torch.cat(losses).mean()
    (0.3 * cross_entropy).backward()
    for name, weight in actor_critic.policy.named_parameters():
        expected = before[name] + (0.0 if weight.grad is None else weight.grad)
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)
    assert figures == {"ptx_loss_nats": pytest.approx(float(cross_entropy.detach()), rel=1e-4)}
