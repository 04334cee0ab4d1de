"""Decoding by vLLM where it is installed; no dependency, because its pins and the pipeline's exclude each other."""

import os
import tempfile
from importlib import import_module
from typing import Any

import torch
from transformers import PreTrainedModel

from rlhf_core.distributed import ranks
from rlhf_core.generation.decoding import Draw, DrawRequest
from rlhf_core.models.kv_cache import power_of_two
from rlhf_core.models.lora import merged

MEMORY_SHARE = 0.3
"""Of an accelerator's memory, for weights, keys and values of vLLM; training has the rest."""

IMPOSSIBLE = -100.0
"""The least that vLLM adds to a logit."""


_LOADED: dict[tuple[str, str, int], Any] = {}
"""The one engine that is alive, by configuration of the model, type of its weights and room of a sequence."""


def draw_by_vllm(model: PreTrainedModel, request: DrawRequest) -> list[Draw]:
    """The `Engine` with weights of its own, which it takes from the model in every call, through a folder.

    Each prompt's stream of chance is seeded by the first of its numbers. How many prompts are read at once is vLLM's
    choice, `max_tokens` is not asked.

    Raises:
        ValueError: if vLLM is not installed or several ranks share the stage.
    """
    vllm = _library()
    limit = request.max_response_tokens
    room = max(map(len, request.prompts)) + limit
    no_tokens = dict.fromkeys(model.generation_config.suppress_tokens or (), IMPOSSIBLE)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False):
        merged(model).save_pretrained(folder)
        engine = _with_weights(vllm, model, folder, room)
        outputs = engine.generate(
            [{"prompt_token_ids": prompt} for prompt in request.prompts],
            [
                vllm.SamplingParams(
                    temperature=request.temperature,
                    max_tokens=limit,
                    stop_token_ids=list(request.stops),
                    logprobs=0,
                    logit_bias=no_tokens or None,
                    seed=int(first * 2**32),
                    detokenize=False,
                )
                for first in request.chance[:, 0].tolist()
            ],
            use_tqdm=False,
        )
    return [_as_draw(one.outputs[0]) for one in outputs]


def _library() -> Any:
    """The module, told to stay in this process and to send nothing."""
    if ranks() > 1:
        raise ValueError(f"sampling.engine vllm serves one process, this stage has {ranks()}: take another engine")
    for name, value in {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}.items():
        os.environ.setdefault(name, value)
    try:
        return import_module("vllm")
    except ModuleNotFoundError as error:
        raise ValueError(
            "sampling.engine vllm needs the package vllm, which is not installed: install it into an environment of "
            "its own, or take another engine"
        ) from error


def _with_weights(vllm: Any, model: PreTrainedModel, folder: str, room: int) -> Any:
    """An engine for sequences of so many tokens that has the weights in a folder."""
    kind = model.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.dtype
    most = min(power_of_two(room), getattr(model.config, "max_position_embeddings", room))
    key = (model.config.to_json_string(), str(dtype).removeprefix("torch."), most)
    if key in _LOADED:
        _LOADED[key].collective_rpc("reload_weights", kwargs={"weights_path": folder})
    else:
        _LOADED.clear()
        _LOADED[key] = vllm.LLM(
            model=folder,
            skip_tokenizer_init=True,
            dtype=key[1],
            max_model_len=most,
            gpu_memory_utilization=MEMORY_SHARE,
            enable_prefix_caching=False,
            logprobs_mode="processed_logprobs",
        )
    return _LOADED[key]


def _as_draw(output: Any) -> Draw:
    """Ids with the log-probability of each, which vLLM gives under its id."""
    ids = list(output.token_ids)
    return Draw(ids, [candidates[token].logprob for token, candidates in zip(ids, output.logprobs, strict=True)])
