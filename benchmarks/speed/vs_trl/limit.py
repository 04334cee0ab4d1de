"""What the hardware allows: the multiplications that the mathematics needs, over the rate measured just now."""

import statistics
import time

import torch
from transformers import AutoConfig, PretrainedConfig

from benchmarks.speed.vs_trl.workload import PPO_EPOCHS, Workload

TRAINING_PASSES = 3
"""Forward and backward pass in forward passes: backward multiplies twice as often."""
SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
"""Rows and columns of the products that are tried."""


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Best median rate of square matrix products, in floating-point operations a second."""
    rates = []
    for size in SIZES[device.type]:
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        seconds = []
        for _ in range(12):
            started = time.perf_counter()
            left @ right
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        rates.append(2 * size**3 / statistics.median(seconds[2:]))
    return max(rates)


def forward_flops(config: PretrainedConfig, trees: list[tuple[int, list[int]]], scored: int) -> float:
    """Floating-point operations of one forward pass of a Llama-like model.

    A product of weights costs 2 operations for each weight and token, attention 4 for each layer, dimension and visible
    pair of tokens. Norms, activations and the optimiser are left out: a lower bound.

    Args:
        config: shape of the model.
        trees: tokens of each prompt, and of each response to it.
        scored: tokens at which the head over the vocabulary is needed.
    """
    width, heads = config.hidden_size, config.num_attention_heads
    keys = width * config.num_key_value_heads // heads
    layer = 2 * width * width + 2 * width * keys + 3 * width * config.intermediate_size
    tokens = sum(prompt + sum(responses) for prompt, responses in trees)
    pairs = sum(
        prompt * (prompt + 1) / 2 + sum(length * prompt + length * (length + 1) / 2 for length in responses)
        for prompt, responses in trees
    )
    trunk = config.num_hidden_layers * (2 * layer * tokens + 4 * width * pairs)
    return trunk + 2 * width * config.vocab_size * scored


def needed_flops(work: Workload, stage: str, turn: int) -> float:
    """Floating-point operations that the mathematics of a mean step of a turn needs."""
    config = AutoConfig.from_pretrained(work.policy)
    if stage == "ppo":
        lengths = work.response_lengths
        trees = [(len(row["ids"]), [length]) for row, length in zip(work.rollout_prompts, lengths, strict=True)]
        with_head = forward_flops(config, trees, sum(lengths))
        without = forward_flops(config, trees, 0)
        scoring = with_head + 2 * without  # reference; reward model and value model
        return scoring + PPO_EPOCHS * TRAINING_PASSES * (with_head + without)
    steps, size = work.batches.steps, work.batches.size
    rows = work.ids[turn * steps * size : (turn + 1) * steps * size]
    responses = ("chosen",) if stage == "sft" else ("chosen", "rejected")
    trees = [(len(row["prompt"]), [len(row[name]) for name in responses]) for row in rows]
    scored = 0 if stage == "reward_model" else sum(sum(lengths) for _, lengths in trees)
    passes = TRAINING_PASSES + 1 if stage == "dpo" else TRAINING_PASSES  # DPO: the reference's too
    return passes * forward_flops(config, trees, scored) / steps
