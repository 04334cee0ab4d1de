"""Supervised fine-tuning: next-token cross-entropy on the tokens of the demonstrated responses."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.adapters import add_adapter
from rlhf_core.batching import lay
from rlhf_core.checkpoint import NEVER, Checkpoints
from rlhf_core.config.sft import SFTConfig
from rlhf_core.epochs import fit
from rlhf_core.evaluation.drift import eos_rate, regurgitation_rate
from rlhf_core.evaluation.estimates import Estimate, mean
from rlhf_core.models import device, load_policy, response_logprobs, save
from rlhf_core.parallel import Figures, Loss, together
from rlhf_core.records import Demonstration
from rlhf_core.rollout import Response, sample_responses
from rlhf_core.self_tests import remember
from rlhf_core.stage import Stage, StageResult
from rlhf_core.text import Tree, encode, limits, load_tokenizer
from rlhf_core.training import precision


def train_sft(
    config: SFTConfig,
    *,
    base: Path,
    train: Sequence[Demonstration],
    held_out: Sequence[Demonstration],
    out: Path,
    seed: int,
    checkpoints: Checkpoints = NEVER,
) -> Stage:
    """Fine-tune a base on demonstrations.

    Args:
        config: hyper-parameters.
        base: folder of a causal language model.
        train: demonstrations to learn from.
        held_out: demonstrations to measure on.
        out: folder that receives the model.
        seed: seed of order and sampling.
        checkpoints: where the stage keeps its state and goes on from.

    Yields:
        `loss_nats` per response token (mean over the whole optimiser batch) and `lr`.

    Returns:
        Artifact `sft`; held-out loss, EOS and regurgitation rates, before (`base_`) and after.

    Raises:
        ValueError: if an adapter shall be on layers that the base has not.
    """
    tokenizer = load_tokenizer(str(base))
    model = load_policy(base, tokenizer)
    before = _measure(config, model, tokenizer, held_out, seed=seed)
    encoded = _encode(config, tokenizer, train)
    if config.adapter is not None:
        add_adapter(model, config.adapter, seed=seed)
    yield from fit(
        model,
        encoded,
        config.optimiser,
        checkpoints,
        size=lambda tree: tree.size,
        loss=partial(_loss, config),
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=seed,
    )
    after = _measure(config, model, tokenizer, held_out, seed=seed)
    save(model, tokenizer, out)
    remember(out, tokenizer, held_out, -after.losses, config.optimiser, **limits(config.sampling))
    return StageResult(
        artifacts={"sft": out},
        estimates=_compare(before, after),
        samples=[
            {"prompt": prompt, "base": first.text, "sft": second.text}
            for prompt, first, second in zip(before.prompts, before.responses, after.responses, strict=True)
        ][:8],
    )


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
        _measure(config, load_policy(folder, tokenizer), tokenizer, held_out, seed=seed) for folder in (base, sft)
    )
    return _compare(before, after)


class _Measured(NamedTuple):
    """Losses in nats per response token, one for each demonstration, and answers to its prompts."""

    losses: NDArray[np.float64]
    prompts: list[str]
    responses: list[Response]

    def estimates(self, prefix: str) -> dict[str, Estimate]:
        return {
            f"{prefix}held_out_loss": mean(self.losses),
            f"{prefix}eos_rate": eos_rate([response.finished for response in self.responses]),
            f"{prefix}regurgitation_rate": regurgitation_rate(
                self.prompts, [response.text for response in self.responses]
            ),
        }


def _measure(
    config: SFTConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    held_out: Sequence[Demonstration],
    *,
    seed: int,
) -> _Measured:
    losses = _held_out_losses(config, model, tokenizer, held_out)
    prompts = list(dict.fromkeys(demonstration.prompt for demonstration in held_out))[: config.evaluation_prompts]
    return _Measured(losses, prompts, sample_responses(model, tokenizer, prompts, config.sampling, seed=seed))


def _compare(before: _Measured, after: _Measured) -> dict[str, Estimate]:
    return {
        **after.estimates(""),
        **before.estimates("base_"),
        "held_out_loss_gain": mean(before.losses - after.losses),
    }


@torch.inference_mode()
def _held_out_losses(
    config: SFTConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, held_out: Sequence[Demonstration]
) -> NDArray[np.float64]:
    encoded = _encode(config, tokenizer, held_out)

    def read(reader: PreTrainedModel, group: list[int]) -> list[float]:
        trees = [encoded[place] for place in group]
        tokens = _response_losses(config, reader, trees)
        return [float(response.mean()) for response in tokens.split([_response_tokens(tree) for tree in trees])]

    return np.array(together(model, [tree.size for tree in encoded], config.optimiser.max_tokens, read))


def _encode(
    config: SFTConfig, tokenizer: PreTrainedTokenizerBase, demonstrations: Sequence[Demonstration]
) -> list[Tree]:
    return encode(tokenizer, demonstrations, **limits(config.sampling))


def _response_losses(config: SFTConfig, model: PreTrainedModel, trees: list[Tree]) -> Tensor:
    """Cross-entropy of every response token, shape ``[R]``, in nats."""
    with precision(config.optimiser):
        logprobs, _ = response_logprobs(model, lay(trees, device()))
    return -logprobs


def _response_tokens(tree: Tree) -> int:
    return sum(map(len, tree.responses))


def _loss(config: SFTConfig, trees: list[Tree]) -> Loss:
    """Cross-entropy of some demonstrations over the count of response tokens of all."""
    tokens = sum(map(_response_tokens, trees))

    def loss(model: PreTrainedModel, group: list[int]) -> tuple[Tensor, Figures]:
        part = _response_losses(config, model, [trees[place] for place in group]).sum() / tokens
        return part, {"loss_nats": part.detach()}

    return loss
