"""One PPO update, from the weights to every metric, against plain NumPy in float64, one token at a time."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel, PreTrainedModel

from rlhf_core.config.ppo import UpdateConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.generation.rollout import as_rollout
from rlhf_core.generation.sampling import Sampled
from rlhf_core.models.attention import use_ragged_attention
from rlhf_core.models.scoring import score_ensemble
from rlhf_core.ppo.actor_critic import SeparateValue
from rlhf_core.ppo.experience import Experience, all_values
from rlhf_core.ppo.update import compute_advantages, rollout_metrics, update
from rlhf_core.rewards.reward import Reward
from rlhf_core.training.optimiser import Optimiser

Array = NDArray[np.float64]
WIDTH, HEADS, LAYERS, WORDS, END = 16, 2, 2, 12, 2
PROMPTS = ([3, 5, 4], [3, 6, 7, 8, 4], [3, 9, 4])
RESPONSES = ([7, 8, END], [10, END], [5, 11, 6, 9])  # the last one did not end
CONFIG = UpdateConfig(
    epochs=1,
    minibatch_size=3,
    beta=0.3,
    gamma=0.97,
    lam=0.9,
    cliprange=0.1,
    cliprange_value=0.05,
    missing_eos_penalty=0.7,
    kl_to_rollout_limit_nats=None,
    sampling=SamplingConfig(temperature=0.8),
)
SHAPE = {
    "vocab_size": WORDS,
    "n_positions": 16,
    "n_embd": WIDTH,
    "n_head": HEADS,
    "n_layer": LAYERS,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "eos_token_id": END,
    "activation_function": "gelu_new",
}


def language_model(seed: int) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(**SHAPE)).eval()


def scalar_model(seed: int, temperature: float) -> GPT2ForSequenceClassification:
    torch.manual_seed(seed)
    return GPT2ForSequenceClassification(GPT2Config(**SHAPE, num_labels=1, reward_temperature=temperature)).eval()


def states(model: PreTrainedModel, ids: list[int]) -> Array:
    """Final hidden states of one unpadded sequence, shape ``[L, D]``, by the formulas of Radford et al. (2019)."""
    weights = {name: value.detach().double().numpy() for name, value in model.base_model.state_dict().items()}

    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = weights["wte.weight"][ids] + weights["wpe.weight"][: len(ids)]
    past = np.tril(np.ones((len(ids), len(ids)), dtype=bool))
    for layer in range(LAYERS):
        q, k, v = np.split(linear(norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn"), 3, axis=-1)
        heads = []
        for head in range(HEADS):
            part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            scores = np.where(past, q[:, part] @ k[:, part].T / math.sqrt(WIDTH / HEADS), -np.inf)
            chances = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(chances / chances.sum(-1, keepdims=True) @ v[:, part])
        x = x + linear(np.concatenate(heads, axis=-1), f"h.{layer}.attn.c_proj")
        inner = linear(norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
        inner = 0.5 * inner * (1 + np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        x = x + linear(inner, f"h.{layer}.mlp.c_proj")
    return norm(x, "ln_f")


def distributions(model: PreTrainedModel, prompt: list[int], response: list[int]) -> Array:
    """Log-probabilities of every word before each response token, shape ``[T, V]``."""
    embedding = model.get_output_embeddings().weight.detach().double().numpy()
    logits = states(model, prompt + response)[len(prompt) - 1 : -1] @ embedding.T / CONFIG.sampling.temperature
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def logprobs(model: PreTrainedModel, prompt: list[int], response: list[int]) -> Array:
    return distributions(model, prompt, response)[np.arange(len(response)), response]


def scalars(model: PreTrainedModel, ids: list[int]) -> Array:
    head = model.score.weight.detach().double().numpy()[0]
    return states(model, ids) @ head / model.config.reward_temperature


@pytest.fixture
def models() -> dict[str, PreTrainedModel]:
    """Five different models, as if many updates lay between them."""
    made = {
        "sampler": language_model(1),
        "policy": language_model(1),
        "reference": language_model(2),
        "reward_model": scalar_model(3, temperature=1.7),
        "value": scalar_model(4, temperature=1.7),
    }
    for model in made.values():
        use_ragged_attention(model)
    return made


@pytest.fixture
def experience(models: dict[str, PreTrainedModel]) -> Experience:
    with torch.no_grad():  # the policy has moved a little since it sampled
        for index, parameter in enumerate(models["policy"].parameters()):
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    sampled = [
        Sampled(prompt, response, logprobs(models["sampler"], prompt, response).tolist(), response[-1] == END)
        for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
    ]
    rollout = as_rollout(sampled)
    return compute_advantages(
        CONFIG,
        rollout,
        reference=models["reference"],
        scores=score_ensemble(models["reward_model"], rollout.trees, CONFIG.optimiser),
        values=all_values(models["value"], rollout, CONFIG.optimiser),
        reward=Reward(CONFIG.reward),
        terms={},
        offset=0.0,
    )


class ByHand:
    """The same update in NumPy: lists of one array per response, no padding anywhere."""

    def __init__(self, models: dict[str, PreTrainedModel]) -> None:
        items = list(zip(PROMPTS, RESPONSES, strict=True))
        self.old = [logprobs(models["sampler"], *item) for item in items]
        self.new = [logprobs(models["policy"], *item) for item in items]
        self.ref = [logprobs(models["reference"], *item) for item in items]
        everywhere = [distributions(models["policy"], *item) for item in items]
        self.entropy = [-(np.exp(found) * found).sum(-1) for found in everywhere]
        self.scores = [scalars(models["reward_model"], prompt + response)[-1] for prompt, response in items]
        self.values = [
            scalars(models["value"], [*prompt, *response])[len(prompt) - 1 : -1] for prompt, response in items
        ]
        self.returns, raw = [], []
        for row, response in enumerate(RESPONSES):
            rewards = [-CONFIG.beta * (self.old[row][t] - self.ref[row][t]) for t in range(len(response))]
            rewards[-1] += self.scores[row] - (0 if response[-1] == END else CONFIG.missing_eos_penalty)
            values = [*self.values[row], 0.0]
            surprises = [rewards[t] + CONFIG.gamma * values[t + 1] - values[t] for t in range(len(response))]
            advantages = [
                sum((CONFIG.gamma * CONFIG.lam) ** (later - t) * surprises[later] for later in range(t, len(response)))
                for t in range(len(response))
            ]
            raw.append(np.array(advantages))
            self.returns.append(np.array(advantages) + self.values[row])
        every = np.concatenate(raw)
        self.advantages = [(found - every.mean()) / np.sqrt(every.var() + 1e-8) for found in raw]


@pytest.fixture
def by_hand(models: dict[str, PreTrainedModel], experience: Experience) -> ByHand:
    return ByHand(models)


@pytest.mark.parametrize("name", ["ref_logprobs", "values", "advantages", "returns"])
def test_tensors_of_the_experience(experience: Experience, by_hand: ByHand, name: str) -> None:
    expected = np.concatenate(getattr(by_hand, {"ref_logprobs": "ref"}.get(name, name)))
    assert getattr(experience, name)[experience.rollout.mask].tolist() == pytest.approx(expected, abs=2e-5)


def test_metrics_of_the_rollout(experience: Experience, by_hand: ByHand) -> None:
    gaps = [old - ref for old, ref in zip(by_hand.old, by_hand.ref, strict=True)]
    values, returns = np.concatenate(by_hand.values), np.concatenate(by_hand.returns)
    assert rollout_metrics(experience) == pytest.approx(
        {
            "kl_to_sft_nats": np.mean([gap.sum() for gap in gaps]),
            "kl_to_sft_nats_k3": np.mean([(np.exp(-gap) - 1 + gap).sum() for gap in gaps]),
            "reward_score": np.mean(by_hand.scores),
            "reward_total": np.mean(by_hand.scores),
            "reward_offset": 0.0,
            "eos_rate": 2 / 3,
            "response_tokens": 3.0,
            "explained_variance": 1 - np.var(returns - values) / np.var(returns),
        },
        abs=2e-5,
    )


@pytest.mark.parametrize("max_tokens", [2048, 1], ids=["one micro-batch", "a micro-batch for each response"])
def test_losses_and_metrics_of_the_update(
    models: dict[str, PreTrainedModel], experience: Experience, by_hand: ByHand, max_tokens: int
) -> None:
    config = CONFIG.model_copy(
        update={"optimiser": CONFIG.optimiser.model_copy(update={"max_tokens": max_tokens, "lr": 1e-9})}
    )
    actor_critic = SeparateValue(
        models["policy"],
        Optimiser(models["policy"], config.optimiser, 1),
        models["value"],
        Optimiser(models["value"], config.value.optimiser, 1),
    )
    found = update(config, actor_critic, experience, seed=0)
    old, new, advantages = (np.concatenate(part) for part in (by_hand.old, by_hand.new, by_hand.advantages))
    plain = -advantages * np.exp(new - old)
    clipped = -advantages * np.clip(np.exp(new - old), 0.9, 1.1)
    gaps = [first - second for first, second in zip(by_hand.new, by_hand.old, strict=True)]
    kl = np.mean([(np.exp(gap) - 1 - gap).sum() for gap in gaps])
    errors = np.concatenate(by_hand.values) - np.concatenate(by_hand.returns)
    assert 0 < (clipped > plain).mean() < 1
    assert found == pytest.approx(
        {
            "policy_loss": np.maximum(plain, clipped).mean(),
            "value_loss": (errors**2).mean() / 2,
            "clipfrac": (clipped > plain).mean(),
            "entropy_nats": np.concatenate(by_hand.entropy).mean(),
            "kl_to_rollout_nats": kl,
            "kl_to_rollout_nats_max": kl,
            "epochs_done": 1.0,
        },
        abs=2e-5,
    )
