"""Evaluation of an SFT model on held-out demonstrations, beside its base."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.packing import Row, lay
from rlhf_core.data.records import Demonstration
from rlhf_core.data.tokenizer import encode, load_tokenizer
from rlhf_core.distributed import together
from rlhf_core.evaluators.evaluation import Evaluation
from rlhf_core.generation.sampling import sample_responses
from rlhf_core.metrics.sft_evidence import SFTMeasurements, sft_evidence, sft_figures
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.loading import load_policy
from rlhf_core.models.precision import check_finite, device, precision
from rlhf_core.training.doing import doing

SAMPLES = 8


def held_out_losses(model_path: Path, held_out: Sequence[Demonstration], config: SFTConfig) -> NDArray[np.float64]:
    """Mean cross-entropy of each demonstrated response under a saved model, shape ``[N]``, nats per token.

    Args:
        model_path: folder of a causal language model with its tokenizer.
        held_out: N demonstrations that it was not trained on.
        config: lengths and precision.
    """
    tokenizer = load_tokenizer(str(model_path))
    return _held_out_losses(config, load_policy(model_path, tokenizer), tokenizer, held_out)


def evaluate_sft(
    config: SFTConfig, *, base: Path, sft: Path, held_out: Sequence[Demonstration], seed: int
) -> Evaluation:
    """Measure a saved SFT model beside its base; on the same demonstrations the figures are those of its training.

    Args:
        config: lengths, sampling and precision.
        base: folder of the base.
        sft: folder of the SFT model.
        held_out: demonstrations to measure on.
        seed: seed of the sampling.

    Returns:
        The estimates of `train_sft`, and their evidence.
    """
    tokenizer = load_tokenizer(str(sft))
    before, after = (
        measure_sft(config, load_policy(folder, tokenizer), tokenizer, held_out, seed=seed) for folder in (base, sft)
    )
    return compare_with_base(config, held_out, before, after)


def measure_sft(
    config: SFTConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    held_out: Sequence[Demonstration],
    *,
    seed: int,
) -> SFTMeasurements:
    """Ask a model on held-out demonstrations: the loss of each, and an answer of its own to their prompts."""
    prompts = asked(config, held_out)
    doing(f"measuring the model: its losses on {len(held_out):,} held-out demonstrations, {len(prompts):,} own answers")
    losses = _held_out_losses(config, model, tokenizer, held_out)
    return SFTMeasurements(losses, sample_responses(model, tokenizer, prompts, config.sampling, seed=seed))


def compare_with_base(
    config: SFTConfig, held_out: Sequence[Demonstration], before: SFTMeasurements, after: SFTMeasurements
) -> Evaluation:
    """An SFT model beside its base, by what was measured of both."""
    prompts = asked(config, held_out)
    evidence = sft_evidence(held_out, prompts, {"base": before, "sft": after})
    answers = zip(prompts, before.responses, after.responses, strict=True)
    samples = [{"prompt": prompt, "base": first.text, "sft": second.text} for prompt, first, second in answers]
    return Evaluation(sft_figures(evidence), evidence, samples[:SAMPLES])


def asked(config: SFTConfig, held_out: Sequence[Demonstration]) -> list[str]:
    """The unique prompts that models answer."""
    return list(dict.fromkeys(demonstration.prompt for demonstration in held_out))[: config.evaluation_prompts]


@torch.inference_mode()
def _held_out_losses(
    config: SFTConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, held_out: Sequence[Demonstration]
) -> NDArray[np.float64]:
    encoded = encode(tokenizer, held_out, config.sampling.lengths)

    def read(reader: PreTrainedModel, group: list[int]) -> list[float]:
        trees = [encoded[index] for index in group]
        tokens = response_losses(config, reader, lay(trees, device()))
        return [float(response.mean()) for response in tokens.split([tree.response_tokens for tree in trees])]

    losses = together(model, [tree.size for tree in encoded], config.optimiser.max_tokens, read)
    check_finite("the model's losses", torch.tensor(losses))
    return np.array(losses)


def response_losses(config: SFTConfig, model: PreTrainedModel, row: Row) -> Tensor:
    """Cross-entropy of every response token, shape ``[R]``, in nats."""
    with precision(config.optimiser):
        logprobs, _ = response_logprobs(model, row)
    return -logprobs
