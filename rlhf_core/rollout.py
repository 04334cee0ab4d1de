"""Sampling with a key-value cache: responses with the log-probability of each token, taken while sampling."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.attention import next_states, ragged_states
from rlhf_core.batching import lay, similar_batches
from rlhf_core.config.rollout import SamplingConfig
from rlhf_core.models import device
from rlhf_core.parallel import together
from rlhf_core.slots import Slots
from rlhf_core.text import Tree, decode, encode_prompts


class Sampled(NamedTuple):
    """One sampled response.

    Attributes:
        prompt_ids: ids of the prompt.
        response_ids: ids of the response, with the end-of-sequence id if it finished.
        logprobs: log-probability in nats of each response id under the sampling distribution.
        finished: whether the response ended by itself.
    """

    prompt_ids: list[int]
    response_ids: list[int]
    logprobs: list[float]
    finished: bool


class Response(NamedTuple):
    """Text of a sampled response and whether it ended by itself."""

    text: str
    finished: bool


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    config: SamplingConfig,
    *,
    generator: torch.Generator,
) -> list[Sampled]:
    """Draw one response for each prompt.

    Args:
        model: causal language model.
        tokenizer: its tokenizer.
        prompts: texts of the users.
        config: temperature and limits.
        generator: source of chance, on the processor. Each prompt has numbers of its own, so that neither batches nor
            ranks change a draw.

    Returns:
        Sampled responses in the order of the prompts.
    """
    encoded = encode_prompts(tokenizer, prompts, max_prompt_tokens=config.max_prompt_tokens)
    lengths = [len(ids) for ids in encoded]
    chance = torch.rand((len(prompts), config.max_response_tokens), dtype=torch.double, generator=generator)

    def read(reader: PreTrainedModel, mine: list[int]) -> list[Sampled]:
        drawn: dict[int, Sampled] = {}
        for group in similar_batches([lengths[place] for place in mine], config.batch_tokens):
            rows = [mine[place] for place in group]
            responses = _sample_batch(reader, tokenizer, [encoded[row] for row in rows], config, chance[rows])
            drawn |= zip(rows, responses, strict=True)
        return [drawn[row] for row in mine]

    return together(model, lengths, sum(lengths), read)


def sample_responses(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    config: SamplingConfig,
    *,
    seed: int,
) -> list[Response]:
    """Text of one sampled response for each prompt, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    drawn = sample(model, tokenizer, prompts, config, generator=generator)
    return [Response(decode(tokenizer, response.response_ids), response.finished) for response in drawn]


def _sample_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: list[list[int]],
    config: SamplingConfig,
    chance: Tensor,
) -> list[Sampled]:
    """Sample from prompts of similar length; a response that ends leaves the batch.

    `chance` holds a number from [0, 1) for each prompt and token, float64.
    """
    chance = chance.to(device())
    slots = Slots([len(prompt) for prompt in prompt_ids], config.max_response_tokens, device())
    row = lay([Tree(prompt, []) for prompt in prompt_ids], device())
    states = ragged_states(model, row, slots)[slots.lengths.cumsum(0) - 1]
    rows = list(range(len(prompt_ids)))
    responses: list[list[int]] = [[] for _ in prompt_ids]
    logprobs: list[list[float]] = [[] for _ in prompt_ids]
    finished = [False] * len(prompt_ids)
    for number in range(config.max_response_tokens):
        distribution = torch.log_softmax(model.get_output_embeddings()(states).float() / config.temperature, dim=-1)
        tokens, token_logprobs = _draw(distribution, chance[:, number])
        ended = tokens == tokenizer.eos_token_id
        for place, token, logprob, end in zip(
            rows, tokens.tolist(), token_logprobs.tolist(), ended.tolist(), strict=True
        ):
            responses[place].append(token)
            logprobs[place].append(logprob)
            finished[place] = end
        going = (~ended).nonzero().squeeze(-1)
        if number + 1 == config.max_response_tokens or len(going) == 0:
            break
        if len(going) < len(ended):
            slots.keep(going)
            rows, tokens, chance = [rows[place] for place in going.tolist()], tokens[going], chance[going]
        states = next_states(model, tokens, slots)
    return [Sampled(*row) for row in zip(prompt_ids, responses, logprobs, finished, strict=True)]


def _draw(distribution: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a token from each of B rows of log-probabilities by inverting its distribution function at `chance`, [B]."""
    cumulative = distribution.exp().cumsum(dim=-1, dtype=torch.float64)
    tokens = torch.searchsorted(cumulative, chance[:, None] * cumulative[:, -1:], right=True)
    return tokens.squeeze(-1), distribution.gather(1, tokens).squeeze(-1)
