"""Whether two tokenizers write the same tokens: what KL between two models, a sum over tokens, depends on."""

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from rlhf_core.data.tokenizer import PAD_TOKEN, encode_prompts

WHOLE = 2**31
"""Tokens of a prompt that are compared."""

SHOWN = 3


def check_same_tokens(other: PreTrainedTokenizerBase, ours: PreTrainedTokenizerBase, prompts: Sequence[str]) -> None:
    """Refuse a tokenizer that does not write what ours writes: other tokens, prompts or ends of answers.

    The padding token may differ, which no model reads.

    Args:
        other: from `load_tokenizer`, of a model that was trained elsewhere.
        ours: the same, of the model that it is compared with.
        prompts: some that both are to write.

    Raises:
        ValueError: saying what differs.
    """
    if differences := list(_differences(*(_vocabulary(each) for each in (other, ours)))):
        raise ValueError(f"its tokenizer has another vocabulary ({'; '.join(differences)})")
    theirs, mine = (encode_prompts(each, prompts, max_prompt_tokens=WHOLE) for each in (other, ours))
    for prompt, first, second in zip(prompts, theirs, mine, strict=True):
        if first != second:
            same = other.chat_template == ours.chat_template
            cause = "splits texts otherwise" if same else "has another chat template"
            raise ValueError(
                f"its tokenizer {cause}: the prompt {prompt[:40]!r} begins {_excerpt(other, first, second)}, where "
                f"{_excerpt(ours, second, first)} is expected"
            )
    if other.eos_token != ours.eos_token:
        raise ValueError(f"its tokenizer ends an answer with {other.eos_token!r}, where {ours.eos_token!r} is expected")


def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    return {token: row for token, row in tokenizer.get_vocab().items() if token != PAD_TOKEN}


def _differences(other: dict[str, int], ours: dict[str, int]) -> Iterator[str]:
    """What a vocabulary has more, lacks, or has at other ids."""
    groups = {
        "it has more": [token for token in other if token not in ours],
        "it lacks": [token for token in ours if token not in other],
        "it has other ids for": [token for token in ours if token in other and other[token] != ours[token]],
    }
    for what, tokens in groups.items():
        if tokens:
            shown = ", ".join(repr(token) for token in sorted(tokens)[:SHOWN])
            more = f" and {len(tokens) - SHOWN} more" if len(tokens) > SHOWN else ""
            yield f"{what}: {shown}{more}"


def _excerpt(tokenizer: PreTrainedTokenizerBase, ids: list[int], others: list[int]) -> str:
    """The tokens around the first that differs from another encoding."""
    same = next((place for place, pair in enumerate(zip(ids, others, strict=False)) if pair[0] != pair[1]), len(others))
    return repr(tokenizer.decode(ids[max(same - SHOWN, 0) : same + SHOWN]))
