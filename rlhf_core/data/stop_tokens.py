"""Stop tokens, which end a response, and suppressed ones, which none may hold, in a model's generation settings."""

from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig, PreTrainedTokenizerBase

from rlhf_core.data.model_settings import MEND, without_code

if TYPE_CHECKING:
    from transformers import PreTrainedModel  # whose import takes longer than a check of a configuration


def listed_stops(path: str, **options: Any) -> list[int]:
    """Ids at which the generation settings in a model's folder or on the hub stop; none where there are no settings.

    Raises:
        ValueError: if what there is cannot be used.
    """
    try:
        return _ends(without_code(GenerationConfig.from_pretrained, path, **options))
    except OSError:
        return []


def stop_ids(model: "PreTrainedModel") -> list[int]:
    """Ids that end a response of a language model that `settle_stops` has seen; the first is the one that is taught."""
    return _ends(model.generation_config)


def known_tokens(model: "PreTrainedModel") -> int | None:
    """Ids below this are tokens, in a model that `settle_stops` has seen; None where all rows of its vocabulary are."""
    suppressed = model.generation_config.suppress_tokens
    return suppressed[0] if suppressed else None


def rows_needed(tokenizer: PreTrainedTokenizerBase) -> int:
    """Rows that the vocabulary of a model must have; ids of a tokenizer may leave some out."""
    return max(tokenizer.get_vocab().values()) + 1


def settle_stops(model: "PreTrainedModel", tokenizer: PreTrainedTokenizerBase) -> None:
    """Let a language model stop at the tokenizer's end-of-sequence token, and where it stopped before.

    Rows that its vocabulary has beyond the tokenizer's, as many are padded to a multiple of 64, are no tokens: they
    have no probability, here and in `generate` of what is saved.

    Nothing else of its generation settings stays. Temperatures and penalties that a base brings are not those that it
    is trained and measured with, and `generate` of what is saved shall draw from the same distribution.

    Args:
        model: causal language model.
        tokenizer: from `load_tokenizer`.
    """
    ends = dict.fromkeys([tokenizer.eos_token_id, *_ends(model.generation_config)])
    known, rows = rows_needed(tokenizer), len(model.get_input_embeddings().get_parameter("weight"))
    stops = [end for end in ends if end < known]
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stops if len(stops) > 1 else stops[0],
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=list(range(known, rows)) or None,
    )


def _ends(settings: GenerationConfig) -> list[int]:
    ends = settings.eos_token_id
    stops = list(ends) if isinstance(ends, list | tuple) else [] if ends is None else [ends]
    if wrong := [stop for stop in stops if isinstance(stop, bool) or not isinstance(stop, int) or stop < 0]:
        raise ValueError(f"`eos_token_id` in generation_config.json has {wrong[0]!r}, no id of a token; {MEND}")
    return stops
