"""Pretraining: a small causal language model from a stream of text, and the architecture built by configuration."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase

from rlhf_core.config.base import LanguageModelConfig
from rlhf_core.distributed import Loss, LossFigures
from rlhf_core.models.precision import device, precision, to_device
from rlhf_core.training.optimiser import Optimiser
from rlhf_core.training.stage import Event


def build(config: LanguageModelConfig, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> GPT2LMHeadModel:
    """A freshly initialised model with an embedding for every token and no dropout."""
    torch.manual_seed(seed)
    shape = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=config.max_positions,
        n_embd=config.width,
        n_layer=config.layers,
        n_head=config.heads,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return to_device(GPT2LMHeadModel(shape))


def fit(config: LanguageModelConfig, model: GPT2LMHeadModel, stream: Sequence[int], *, seed: int) -> Iterator[Event]:
    """Minimise next-token cross-entropy over random windows of a stream of ids.

    Args:
        config: steps, batch and optimiser.
        model: trained in place.
        stream: token ids, longer than one window.
        seed: seed of the choice of windows.

    Yields:
        `loss_nats` per token and `lr`, for every optimiser step.

    Raises:
        ValueError: if the stream is not longer than a window.
    """
    if len(stream) <= config.window + 1:
        raise ValueError(f"pretraining text has {len(stream)} tokens, not more than the window of {config.window}")
    tokens = torch.tensor(stream, dtype=torch.long)
    offsets = torch.arange(config.window + 1)
    generator = torch.Generator().manual_seed(seed)
    optimiser = Optimiser(model, config.optimiser, config.steps)
    model.train()
    for step in range(config.steps):
        starts = torch.randint(len(tokens) - config.window - 1, (config.batch_size, 1), generator=generator)
        lr = optimiser.lr
        figures = optimiser.accumulate([starts.numel() * config.window], window_loss(config, tokens[starts + offsets]))
        optimiser.step()
        yield Event(step, {**figures, "lr": lr}, config.steps - 1)
    model.eval()


def window_loss(config: LanguageModelConfig, windows: Tensor) -> Loss:
    """Next-token cross-entropy of a batch of windows, which are one item: they go through the model at once."""

    def loss(model: GPT2LMHeadModel, _: list[int]) -> tuple[Tensor, LossFigures]:
        ids = windows.to(device())
        with precision(config.optimiser):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
        total = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        return total, {"loss_nats": total.detach()}

    return loss
