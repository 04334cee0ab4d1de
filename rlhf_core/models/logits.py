"""From final hidden states to logits and log-probabilities, scaled and capped as an architecture has it."""

import math

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from rlhf_core.data.stop_tokens import known_tokens
from rlhf_core.models.soft_capping import soft_cap
from rlhf_core.models.trunk import trunk, way_of
from rlhf_core.models.vocabulary import head_logprobs

SCALES = {"logit_scale": 1, "lm_head_multiplier": 1, "logits_scaling": -1, "logits_mup_width_multiplier": -1}
"""Settings that scale logits, with the power in which they do: Cohere, Falcon-H1, Granite, Inkling."""

CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Settings that cap logits: Gemma 2 and its kin, RecurrentGemma, xLSTM."""


def logit_scale(config: PreTrainedConfig) -> float:
    """What the logits of a causal language model are multiplied by after its linear head, before their cap."""
    text = config.get_text_config()
    factors = [(getattr(text, name, None), power) for name, power in SCALES.items()]
    return math.prod(float(value) ** power for value, power in factors if value)


def logit_cap(config: PreTrainedConfig) -> float | None:
    """The cap on the logits of a causal language model, None where there is none."""
    text = config.get_text_config()
    return next((float(cap) for name in CAPS if (cap := getattr(text, name, None)) is not None), None)


def logits_of(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Logits of each known token after each of R final states, shape ``[R, D]``: shape ``[R, V]``, float32 at least."""
    logits = linear_logits(model, states) if way_of(model).linear_head else stock_logits(model, states)
    return logits[:, : known_tokens(model)]


def linear_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Logits of all rows by the linear head of a model, scaled and capped as its configuration says."""
    logits: Tensor = model.get_output_embeddings()(states)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return soft_cap(logit_scale(model.config) * logits, logit_cap(model.config))


def state_logprobs(
    model: PreTrainedModel, states: Tensor, targets: Tensor, *, sampling_temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target after a final state, and entropy of its distribution.

    A scale s before a cap c is c tanh(s x / c) = s (c / s) tanh(x / (c / s)): a cap of c / s at a temperature of 1 / s.

    Args:
        model: causal language model.
        states: shape ``[R, D]``.
        targets: token ids, shape ``[R]``, int64.
        sampling_temperature: divides the logits.

    Returns:
        Both of shape ``[R]``, nats.
    """
    if way_of(model).linear_head:
        scale, cap = logit_scale(model.config), logit_cap(model.config)
        head, folded = model.get_output_embeddings(), None if cap is None else cap / scale
        temperature, known = sampling_temperature / scale, known_tokens(model)
        return head_logprobs(states, head, targets, temperature=temperature, cap=folded, known=known)
    logs = (logits_of(model, states) / sampling_temperature).log_softmax(dim=-1)
    return logs.gather(1, targets[:, None]).squeeze(1), -(logs.exp() * logs).sum(dim=-1)


def stock_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Logits as the stock model makes them of final states ``[R, D]``, in whatever way: all of ``[R, V]`` at once.

    Its forward runs with a trunk that says just these.
    """
    body = trunk(model)
    output = BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=states[None])
    output.router_logits = None  # mixtures of experts look for them
    vars(body)["forward"] = lambda *_, **__: output
    try:
        logits: Tensor = model(input_ids=torch.zeros((1, len(states)), dtype=torch.long, device=states.device)).logits[
            0
        ]
    finally:
        del vars(body)["forward"]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
