"""Which families can be a policy or a reward model here at all, by their configuration, before weights are read."""

from pathlib import Path

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

UNFIT = {
    "rwkv": "rescales its own weights whenever it is evaluated, so what is trained would not be what is saved",
    "reformer": "trains only with its own backward pass and random hashes, so nothing of it can be computed twice",
    "xlnet": "is trained on permutations of a text and reads in both directions",
    "cpmant": "reads a prompt of its own in both directions before the text",
}
"""Why no way of computing a family would be right."""

CAUSAL = "RLHF Ladder trains causal language models (decoder only)"


def check_family(path: Path) -> None:
    """Refuse a family that cannot be a policy or a reward model, in a user's words.

    Args:
        path: folder of a model.

    Raises:
        ValueError: if it is an encoder-decoder or no causal language model, or what is trained of it would not hold.
    """
    config = AutoConfig.from_pretrained(path)
    name = f"{path}: {config.model_type}"
    if config.is_encoder_decoder:
        raise ValueError(f"{name} is an encoder-decoder model; {CAUSAL}")
    if config.model_type in UNFIT:
        raise ValueError(f"{name} {UNFIT[config.model_type]}; {CAUSAL}")
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ValueError(f"{name} has no causal language model in transformers; {CAUSAL}")
