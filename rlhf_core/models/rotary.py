"""What depends on the length of all that is read together: how far a model with such positions can be used."""

from collections.abc import Mapping

from transformers import PreTrainedConfig

CHANGING = ("dynamic", "longrope")
"""Kinds of rotary embedding whose frequencies change with the longest sequence of a forward pass."""


def steady_positions(config: PreTrainedConfig) -> int | None:
    """Tokens of a sequence up to which nothing in it depends on other sequences; None where it never does.

    Phi-3 with a long context is one of the few models where they do (Ding et al., 2024): beyond so many tokens its
    frequencies change, for all sequences that are read together and for tokens that were read before. Doge chooses
    among all keys, later ones too, when there are more than its window of them.
    """
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, Mapping))]
    limits = [
        int(kind.get("original_max_position_embeddings") or text.max_position_embeddings)
        for kind in kinds
        if kind.get("rope_type") in CHANGING
    ]
    limits += [text.keep_window_size] if hasattr(text, "keep_window_size") else []
    return min(limits, default=None)


def check_positions(config: PreTrainedConfig, longest: int) -> None:
    """Refuse a sequence whose positions would depend on what it is read with.

    Args:
        config: of the model.
        longest: tokens of the longest sequence, prompt and response together.

    Raises:
        ValueError: if it is too long.
    """
    limit = steady_positions(config)
    if limit is not None and longest > limit:
        raise ValueError(
            f"a prompt with its response has {longest} tokens, and beyond {limit} what this {config.model_type} says "
            f"depends on what else is read: lower max_prompt_tokens and max_response_tokens to "
            f"{limit} together"
        )
