"""Sampling with a key-value cache: responses with the log-probability of each token, taken while sampling."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.records import Response
from rlhf_core.data.stop_tokens import stop_ids
from rlhf_core.data.tokenizer import decode, encode_prompts, load_tokenizer
from rlhf_core.distributed import together
from rlhf_core.generation.continuous_batching import draw_continuously
from rlhf_core.generation.decoding import DrawRequest, Engine, draw_by_graphs, draw_eagerly
from rlhf_core.generation.vllm import draw_by_vllm
from rlhf_core.models.loading import load_policy
from rlhf_core.models.precision import check_finite


def generate(model_path: Path, prompts: Sequence[str], config: SamplingConfig, *, seed: int) -> list[Response]:
    """Sample one response for each prompt.

    Args:
        model_path: folder of a causal language model with its tokenizer.
        prompts: texts of the users.
        config: temperature and limits.
        seed: seed of the sampling.

    Returns:
        Responses in the order of the prompts.
    """
    tokenizer = load_tokenizer(str(model_path))
    return sample_responses(load_policy(model_path, tokenizer), tokenizer, prompts, config, seed=seed)


ENGINES: dict[str, Engine] = {
    "eager": draw_eagerly,
    "graphs": draw_by_graphs,
    "continuous": draw_continuously,
    "vllm": draw_by_vllm,
}

OWN_FORWARD = ("eager", "graphs")
"""Engines whose log-probabilities come from the forward that the trainer differentiates."""


class Sampled(NamedTuple):
    """One sampled response.

    Attributes:
        prompt_ids: ids of the prompt.
        response_ids: ids of the response, with the id that ends it if it finished.
        logprobs: log-probability in nats of each response id under the sampling distribution.
        finished: whether the response ended by itself.
    """

    prompt_ids: list[int]
    response_ids: list[int]
    logprobs: list[float]
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
        model: causal language model, which says where responses end.
        tokenizer: its tokenizer.
        prompts: texts of the users.
        config: temperature and limits.
        generator: source of chance, on the processor. Each prompt has numbers of its own, so that neither batches nor
            ranks change a draw.

    Returns:
        Sampled responses in the order of the prompts.

    Raises:
        NotFiniteError: if the model gives no probabilities.
    """
    encoded = encode_prompts(tokenizer, prompts, max_prompt_tokens=config.max_prompt_tokens)
    lengths, stops = [len(ids) for ids in encoded], stop_ids(model)
    chance = torch.rand((len(prompts), config.max_response_tokens), dtype=torch.double, generator=generator)
    request = DrawRequest(encoded, chance, stops, config.temperature, config.batch_tokens)

    def read(reader: PreTrainedModel, mine: list[int]) -> list[Sampled]:
        draws = ENGINES[config.engine](reader, request.take(mine))
        check_finite("the model's log-probabilities", torch.tensor([nats for draw in draws for nats in draw.logprobs]))
        return [
            Sampled(encoded[row], ids, logprobs, ids[-1] in stops)
            for row, (ids, logprobs) in zip(mine, draws, strict=True)
        ]

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
    responses = sample(model, tokenizer, prompts, config, generator=generator)
    return [Response(decode(tokenizer, response.response_ids), response.finished) for response in responses]
