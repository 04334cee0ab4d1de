"""Tokens a second of every engine of rollouts beside `generate` of transformers, in turns on one machine.

All draw `RESPONSE_TOKENS` for each prompt, none may end before, from a Llama with random weights.
"""

import json
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from benchmarks.common.machine import machine
from rlhf_core.generation.decoding import DrawRequest
from rlhf_core.generation.sampling import ENGINES
from rlhf_core.models.attention import RAGGED, use_ragged_attention
from rlhf_core.models.precision import device, to_device

RESULTS = Path(__file__).parents[1] / "results"
SHAPES = {
    "tiny": {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 344},
    "small": {"hidden_size": 320, "num_hidden_layers": 6, "num_attention_heads": 5, "intermediate_size": 864},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 2048},
    "0.5b": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
"""With a vocabulary of 8192 tokens, 0.5b with 152k."""
RESPONSE_TOKENS = 64
PROMPT_TOKENS = (8, 256)
"""Prompts are as long as a log-normal number around 90 says, between these."""
NEVER = -1
"""The id of the end: none is drawn."""
INSTALLED = [name for name in ENGINES if name != "vllm" or find_spec("vllm")]
Draw = Callable[[PreTrainedModel, list[list[int]], int], int]
"""Answers prompts, at most so many of their tokens at once, and says how many tokens it drew."""


def main(
    model: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "small",
    prompts: Annotated[int, typer.Option(min=1, help="Prompts of a rollout.")] = 16,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Prompt tokens sampled from at once.")] = 4096,
    alternations: Annotated[int, typer.Option(min=1, help="How often each engine has its turn.")] = 5,
    results: Annotated[Path, typer.Option(help="Folder for the JSON.")] = RESULTS,
) -> None:
    """Let every engine have its turn, again and again after one that is dropped, and keep the figures."""
    policy, asked = _policy(model), _prompts(prompts, 8192)
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for turn in range(alternations + 1):
        for name, draw in SIDES.items():
            started = time.perf_counter()
            drawn = draw(policy, asked, batch_tokens)
            seconds[name].append(time.perf_counter() - started)
            if drawn != prompts * RESPONSE_TOKENS:
                raise ValueError(f"{name} drew {drawn} tokens, not {RESPONSE_TOKENS} for each of {prompts} prompts")
            typer.echo(f"turn {turn}, {name}: {drawn / seconds[name][-1]:.0f} tokens/s")
    tokens = prompts * RESPONSE_TOKENS
    figures = {name: _figures(tokens, first, timed) for name, (first, *timed) in seconds.items()}
    said = {
        "machine": machine(),
        "model": {"name": model, "parameters": policy.num_parameters(), **SHAPES[model]},
        "prompts": list(map(len, asked)),
        "batch_tokens": batch_tokens,
        "response_tokens": RESPONSE_TOKENS,
        "precision": PRECISION,
        "tokens_per_second": figures,
    }
    results.mkdir(exist_ok=True)
    (results / f"rollout_{model}_{device().type}.json").write_text(json.dumps(said, indent=1) + "\n")


def _figures(tokens: int, first: float, seconds: list[float]) -> dict[str, object]:
    rates = sorted(tokens / taken for taken in seconds)
    return {"median": statistics.median(rates), "range": [rates[0], rates[-1]], "first_seconds": first}


def _policy(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    vocabulary = 151_936 if name == "0.5b" else 8192
    shape = {"vocab_size": vocabulary, "tie_word_embeddings": True, "max_position_embeddings": 1024, **SHAPES[name]}
    policy = LlamaForCausalLM(LlamaConfig(pad_token_id=0, eos_token_id=None, **shape)).eval()
    to_device(policy)
    use_ragged_attention(policy)
    return policy


def _prompts(count: int, vocabulary: int) -> list[list[int]]:
    rng = random.Random(0)
    shortest, longest = PROMPT_TOKENS
    lengths = [min(longest, max(shortest, round(rng.lognormvariate(4.5, 0.7)))) for _ in range(count)]
    return [[rng.randrange(1, vocabulary) for _ in range(length)] for length in lengths]


PRECISION = "bfloat16 matrix products" if device().type == "cuda" else "float32"


@torch.inference_mode()
def _engine(name: str, policy: PreTrainedModel, prompts: list[list[int]], batch_tokens: int) -> int:
    chance = torch.rand((len(prompts), RESPONSE_TOKENS), dtype=torch.double)
    request = DrawRequest(prompts, chance, stops=(NEVER,), temperature=1.0, max_tokens=batch_tokens)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device().type == "cuda"):
        draws = ENGINES[name](policy, request)
    return sum(len(one.ids) for one in draws)


def _generate(policy: PreTrainedModel, prompts: list[list[int]], batch_tokens: int) -> int:
    """All at once, left-padded, with log-probabilities from the scores, as a trainer needs them."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=policy.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=policy.device)
    policy.set_attn_implementation("sdpa")
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device().type == "cuda"):
        out = policy.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            top_k=0,
            max_new_tokens=RESPONSE_TOKENS,
            return_dict_in_generate=True,
            output_logits=True,
        )
    policy.set_attn_implementation(RAGGED)
    drawn = out.sequences[:, width:]
    logprobs = [
        logits.float().log_softmax(-1).gather(1, tokens[:, None])
        for logits, tokens in zip(out.logits, drawn.T, strict=True)
    ]
    return torch.cat(logprobs).numel()


SIDES: dict[str, Draw] = {"generate": _generate, **{name: partial(_engine, name) for name in INSTALLED}}

if __name__ == "__main__":
    typer.run(main)
