"""Sampling: log-probabilities, ends, order and chance."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from scipy.stats import chisquare
from transformers import PreTrainedTokenizerBase

from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.policy import PolicyConfig
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree, encode_prompts
from rlhf_core.generation.decoding import at_temperature, invert
from rlhf_core.generation.sampling import Sampled, sample, sample_responses
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.loading import load_policy
from rlhf_core.models.precision import device

PROMPTS = ["how are you", "fine", "you are fine thanks", "thanks", "how", "are you fine"] * 5
CONFIG = SamplingConfig(temperature=0.8, max_prompt_tokens=8, max_response_tokens=6, batch_tokens=24)


def draw(base: Path, tokenizer: PreTrainedTokenizerBase, config: SamplingConfig = CONFIG) -> list[Sampled]:
    generator = torch.Generator().manual_seed(3)
    return sample(load_policy(base, tokenizer), tokenizer, PROMPTS, config, generator=generator)


def test_logprobs_taken_while_sampling_equal_teacher_forced_ones(
    base: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    drawn = draw(base, tokenizer)
    row = lay([Tree(one.prompt_ids, [one.response_ids]) for one in drawn], device())
    forced, _ = response_logprobs(load_policy(base, tokenizer), row, sampling_temperature=CONFIG.temperature)
    taken = torch.tensor([logprob for one in drawn for logprob in one.logprobs])
    torch.testing.assert_close(taken, forced.detach().cpu(), rtol=0, atol=1e-4)


def test_a_response_finishes_with_its_only_end_or_fills_the_limit(
    base: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    drawn = draw(base, tokenizer)
    assert {one.finished for one in drawn} == {True, False}
    for one in drawn:
        assert len(one.response_ids) == len(one.logprobs)
        assert (one.response_ids[-1] == tokenizer.eos_token_id) is one.finished
        assert tokenizer.eos_token_id not in one.response_ids[:-1]
        assert one.finished or len(one.response_ids) == CONFIG.max_response_tokens


def test_responses_come_in_the_order_of_the_prompts(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    drawn = draw(base, tokenizer)
    expected = encode_prompts(tokenizer, PROMPTS, max_prompt_tokens=CONFIG.max_prompt_tokens)
    assert [one.prompt_ids for one in drawn] == expected


def test_a_seed_gives_the_same_texts_and_another_seed_others(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_policy(base, tokenizer)
    first = sample_responses(model, tokenizer, PROMPTS, CONFIG, seed=1)
    assert sample_responses(model, tokenizer, PROMPTS, CONFIG, seed=1) == first
    assert sample_responses(model, tokenizer, PROMPTS, CONFIG, seed=2) != first


def test_a_low_temperature_draws_the_likeliest_token(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    cold = draw(base, tokenizer, CONFIG.model_copy(update={"temperature": 1e-4}))
    assert all(logprob == pytest.approx(0.0, abs=1e-3) for one in cold for logprob in one.logprobs)


def test_temperature_0_takes_the_likeliest_token_whatever_the_chance(
    base: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    greedy = CONFIG.model_copy(update={"temperature": 0.0})
    taken = draw(base, tokenizer, greedy)
    row = lay([Tree(one.prompt_ids, [one.response_ids]) for one in taken], device())
    forced, _ = response_logprobs(load_policy(base, tokenizer), row, sampling_temperature=1e-4)
    torch.testing.assert_close(forced.detach().cpu(), torch.zeros(len(forced)), rtol=0, atol=1e-3)
    assert [logprob for one in taken for logprob in one.logprobs] == [0.0] * len(forced)
    model = load_policy(base, tokenizer)
    first, other = (sample_responses(model, tokenizer, PROMPTS, greedy, seed=seed) for seed in (1, 2))
    assert first == other


def test_at_temperature_0_only_the_first_of_the_likeliest_is_possible() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0, -2.0], [0.5, -1.0, 0.0, 0.0]])
    assert at_temperature(logits, 0.0).softmax(dim=-1).tolist() == [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    assert torch.equal(at_temperature(logits, 2.0), logits / 2.0)


def test_at_temperature_0_what_is_no_number_stays_none() -> None:
    logits = torch.tensor([[torch.nan, 1.0], [torch.inf, 1.0], [-torch.inf, -torch.inf], [-torch.inf, 5.0]])
    _, logprobs = invert(at_temperature(logits, 0.0).log_softmax(dim=-1), torch.full((4,), 0.5, dtype=torch.double))
    assert logprobs.isfinite().tolist() == [False, False, False, True]


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf")])
def test_a_temperature_is_a_number_from_0(temperature: float) -> None:
    with pytest.raises(ValidationError, match="temperature"):
        SamplingConfig(temperature=temperature)


@pytest.mark.parametrize("config", [PPOConfig, DPOConfig])
def test_a_policy_is_sampled_above_temperature_0(config: type[PolicyConfig]) -> None:
    with pytest.raises(ValidationError, match=r"sampling.temperature 0 .* set it above 0"):
        config(sampling=SamplingConfig(temperature=0.0))


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    likely = torch.tensor([0.5, 0.0, 0.3, 0.2])
    chance = torch.rand(20_000, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    drawn, logprobs = invert(likely.log().expand(20_000, 4), chance)
    counts = torch.bincount(drawn, minlength=4)
    assert counts[1] == 0
    assert chisquare(counts[[0, 2, 3]].numpy(), 20_000 * likely[[0, 2, 3]].double().numpy()).pvalue > 0.01
    torch.testing.assert_close(logprobs, likely.log()[drawn])
