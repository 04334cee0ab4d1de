"""Evaluation of an SFT model on held-out demonstrations, beside its base."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.packing import Row, lay
from rlhf_core.data.records import Demonstration, Response
from rlhf_core.data.tokenizer import encode, load_tokenizer
from rlhf_core.distributed import together
from rlhf_core.generation.sampling import sample_responses
from rlhf_core.metrics.drift import eos_rate, regurgitation_rate
from rlhf_core.metrics.estimates import Estimate, mean
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.loading import load_policy
from rlhf_core.models.precision import check_finite, device, precision


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
) -> dict[str, Estimate]:
    """Measure a saved SFT model beside its base; on the same demonstrations the figures are those of its training.

    Args:
        config: lengths, sampling and precision.
        base: folder of the base.
        sft: folder of the SFT model.
        held_out: demonstrations to measure on.
        seed: seed of the sampling.

    Returns:
        The estimates of `train_sft`.
    """
    tokenizer = load_tokenizer(str(sft))
    before, after = (
        measure_sft(config, load_policy(folder, tokenizer), tokenizer, held_out, seed=seed) for folder in (base, sft)
    )
    return compare_with_base(before, after)


class SFTMeasurements(NamedTuple):
    """Losses in nats per response token, one for each demonstration with its prompt, and answers to unique prompts."""

    losses: NDArray[np.float64]
    demonstrated: list[str]
    prompts: list[str]
    responses: list[Response]

    def estimates(self, prefix: str) -> dict[str, Estimate]:
        """Mean loss, and the shares of answers that end and that repeat their prompt."""
        return {
            f"{prefix}held_out_loss": mean(self.losses, self.demonstrated),
            f"{prefix}eos_rate": eos_rate([response.finished for response in self.responses]),
            f"{prefix}regurgitation_rate": regurgitation_rate(
                self.prompts, [response.text for response in self.responses]
            ),
        }


def measure_sft(
    config: SFTConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    held_out: Sequence[Demonstration],
    *,
    seed: int,
) -> SFTMeasurements:
    """Ask a model on held-out demonstrations: the loss of each, and an answer of its own to their prompts."""
    losses = _held_out_losses(config, model, tokenizer, held_out)
    demonstrated = [demonstration.prompt for demonstration in held_out]
    prompts = list(dict.fromkeys(demonstrated))[: config.evaluation_prompts]
    responses = sample_responses(model, tokenizer, prompts, config.sampling, seed=seed)
    return SFTMeasurements(losses, demonstrated, prompts, responses)


def compare_with_base(before: SFTMeasurements, after: SFTMeasurements) -> dict[str, Estimate]:
    """Estimates of an SFT model, those of its base with the prefix `base_`, and the gain in loss."""
    return {
        **after.estimates(""),
        **before.estimates("base_"),
        "held_out_loss_gain": mean(before.losses - after.losses, after.demonstrated),
    }


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
