"""Decoding by the continuous batching of `transformers`: a paged KV cache, and room that is filled again at once."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel

from rlhf_core.generation.decoding import Draw, DrawRequest
from rlhf_core.models.attention import RAGGED
from rlhf_core.models.soft_capping import score_cap
from rlhf_core.models.trial import name_of
from rlhf_core.models.trunk import way_of

PAGE_TOKENS = 16
"""Tokens of a page: a sequence leaves less than that unused."""


def draw_continuously(model: PreTrainedModel, request: DrawRequest) -> list[Draw]:
    """The `Engine` with a forward of its own; its stream of chance is seeded by the first number of the request.

    The distribution is that of the others; a draw depends on what is drawn beside it. Attention goes through flash
    attention where that is installed, else through SDPA over all pages at once, whose cost grows with their square.

    Raises:
        ValueError: if the model caps its attention scores, which no kernel here does, or is computed with padding.
        RuntimeError: if it ended before all responses did.
    """
    if score_cap(model.config) is not None:
        raise ValueError(
            f"sampling.engine continuous has no capped attention scores, which {type(model).__name__} asks for: "
            "set it to eager or graphs"
        )
    if not way_of(model).rows:
        raise ValueError(
            f"sampling.engine continuous is for models that are computed in rows, and {name_of(model)} is not, because "
            f"{way_of(model).reason}: set it to eager"
        )
    prompts, limit = request.prompts, request.max_response_tokens
    drawn: dict[str, Any] = {"do_sample": True, "temperature": request.temperature, "top_k": 0, "top_p": 1.0}
    chance = drawn if request.temperature > 0 else {"do_sample": False}
    generation = GenerationConfig(
        **chance,
        max_new_tokens=limit,
        eos_token_id=list(request.stops),
        suppress_tokens=model.generation_config.suppress_tokens,
    )
    batching = ContinuousBatchingConfig(
        page_size=PAGE_TOKENS,
        num_blocks=sum((len(prompt) + limit) // PAGE_TOKENS + 1 for prompt in prompts),
        max_batch_tokens=request.max_tokens,
        return_logprobs=True,
        seed=int(request.chance[0, 0] * 2**32),
    )
    with _stock(model) as reader, torch.inference_mode(False):
        generate: Any = reader.generate_batch
        outputs = generate(prompts, generation_config=generation, continuous_batching_config=batching)
    responses = list(outputs.values())
    errors = sorted({one.error for one in responses if one.error is not None})
    if errors or len(responses) < len(prompts):
        raise RuntimeError(
            f"continuous batching returned {len(responses)} of {len(prompts)} responses, with these errors: {errors}; "
            "set sampling.engine to eager"
        )
    return [Draw(one.generated_tokens, one.logprobs) for one in responses]


@contextmanager
def _stock(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """The model with its attention as `transformers` has it, in the type that autocast asks for.

    The engine works in a thread of its own, which knows of no autocast; so a copy of the weights is cast.
    """
    kind = model.device.type
    if torch.is_autocast_enabled(kind):
        model = copy.deepcopy(model)
        nn.Module.to(model, torch.get_autocast_dtype(kind))
    model.set_attn_implementation("sdpa")
    try:
        yield model
    finally:
        model.set_attn_implementation(RAGGED)
