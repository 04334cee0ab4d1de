"""From prompts and responses to token ids: chat template, end of response, truncation."""

import json
import sys
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.data.stop_tokens import listed_stops

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Used where a tokenizer brings no chat template of its own."""

PAD_TOKEN = "<|pad|>"

_WITHOUT_ANSWER = (
    "{% if messages and messages[-1]['role'] == 'assistant' and not add_generation_prompt %}"
    "{% set last_answer = messages[-1]['content'] %}"
    "{% set messages = messages[:-1] %}{% set add_generation_prompt = true %}"
    "{% endif %}{{ '' }}"  # with an expression here no line break of what follows is trimmed
)

_WITH_ANSWER = "{% if last_answer is defined %}{{ last_answer + eos_token }}{% endif %}"


class Tree(NamedTuple):
    """Token ids of a prompt and of the responses, if any, that branch from it; none of these is empty."""

    prompt: list[int]
    responses: list[list[int]]

    @property
    def size(self) -> int:
        """Count of all its tokens."""
        return len(self.prompt) + self.response_tokens

    @property
    def response_tokens(self) -> int:
        """Count of the tokens of all responses."""
        return sum(map(len, self.responses))


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer that has a chat template, an end-of-sequence token and another padding token.

    Args:
        path: a folder or hub id that `AutoTokenizer` reads.

    Returns:
        The tokenizer; a missing template or padding token is added, so the model may need more embeddings. Its
        end-of-sequence token is what training teaches: the special token that the chat template writes after an
        answer, where it writes one, else its own. Its template is that of `as_trained`.

    Raises:
        ValueError: if it has no end-of-sequence token, without which no response can end.
    """
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{path}: the tokenizer has no end-of-sequence token; set `eos_token` in its configuration")
    if tokenizer.chat_template is None:
        tokenizer.chat_template = CHAT_TEMPLATE
    stops = {tokenizer.eos_token_id, *listed_stops(path)}
    if turn_end := _turn_end(tokenizer):
        tokenizer.eos_token = turn_end
    stops.add(tokenizer.eos_token_id)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in stops:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    tokenizer.chat_template = as_trained(tokenizer.chat_template)
    return tokenizer


def as_trained(template: str) -> str:
    """A chat template that writes a conversation with an answer at its end as models here are trained on it.

    That is the prompt up to where the assistant begins, the answer, and the end-of-sequence token. Templates differ
    there: some write no end, others a line break after it. Whoever has a saved reward model read whole conversations,
    as RewardBench does, would then have it judge from a token that it was not trained on. Prompts stay as they were.

    Args:
        template: in Jinja, as tokenizers have it; one that is so already is left alone.
    """
    if template.startswith(_WITHOUT_ANSWER):
        return template
    return _WITHOUT_ANSWER + template.removesuffix("\n") + _WITH_ANSWER


def turns(prompt: str) -> list[dict[str, str]]:
    """The messages of a prompt: itself as a user turn, or those that it lists as JSON objects of role and content."""
    if prompt.startswith('[{"role": '):
        try:
            return [{"role": turn["role"], "content": turn["content"]} for turn in json.loads(prompt)]
        except (ValueError, KeyError, TypeError):
            pass
    return [{"role": "user", "content": prompt}]


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, max_prompt_tokens: int
) -> list[list[int]]:
    """Ids of each prompt as the chat template writes its turns, up to where the assistant begins.

    A longer prompt loses its first tokens, so that the question's end and the assistant marker stay; a beginning-of-
    sequence token before them stays too, as models that were trained with one rely on it.

    Raises:
        ValueError: if the template refuses a conversation, as some do whose roles it does not know.
    """
    if not prompts:
        return []
    texts = [_render(tokenizer, turns(prompt)) for prompt in prompts]
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [_shorten(ids, max_prompt_tokens, tokenizer.bos_token_id) for ids in encoded]


def halves_of_positions(config: PreTrainedConfig) -> Lengths:
    """Half of a model's positions for the prompt, half for the response."""
    half = (getattr(config, "max_position_embeddings", None) or sys.maxsize) // 2
    return Lengths(half, half)


def encode(tokenizer: PreTrainedTokenizerBase, items: Sequence[tuple[str, str]], lengths: Lengths) -> list[Tree]:
    """Ids of prompts with their responses; a prompt that several responses share is encoded once.

    The end-of-sequence id follows a response that fits; a truncated one never gets it, so that no model learns to stop
    in the middle.

    Args:
        tokenizer: from `load_tokenizer`.
        items: texts of user and assistant.
        lengths: ids that are kept.

    Returns:
        For each item, a tree of one response.
    """
    if not items:
        return []
    unique = list(dict.fromkeys(prompt for prompt, _ in items))
    encoded = encode_prompts(tokenizer, unique, max_prompt_tokens=lengths.max_prompt_tokens)
    prompt_ids = dict(zip(unique, encoded, strict=True))
    responses = tokenizer([response for _, response in items], add_special_tokens=False)["input_ids"]
    return [
        Tree(prompt_ids[prompt], [[*ids, tokenizer.eos_token_id][: lengths.max_response_tokens]])
        for (prompt, _), ids in zip(items, responses, strict=True)
    ]


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Text of response ids without special tokens."""
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _render(tokenizer: PreTrainedTokenizerBase, conversation: list[dict[str, str]]) -> str:
    try:
        return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in conversation)
        raise ValueError(
            f"the chat template of {tokenizer.name_or_path} refuses a prompt whose turns are {roles} ({error}): leave "
            "such prompts out of the data, or give the tokenizer another `chat_template`"
        ) from None


def _shorten(ids: list[int], count: int, beginning: int | None) -> list[int]:
    """The last ids, the first of all in front of them if it marks the beginning of a sequence."""
    if len(ids) > count > 1 and ids[0] == beginning:
        return [ids[0], *ids[1 - count :]]
    return ids[-count:]


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The special token that the chat template writes right after an assistant's answer; None where it writes none.

    None, too, of a template that asks for an answer whether or not it is told to, whose marker would look like an end.
    """
    question, answer = ({"role": role, "content": f"words of the {role}"} for role in ("user", "assistant"))
    asked, silent = (
        tokenizer.apply_chat_template([question], tokenize=False, add_generation_prompt=wanted)
        for wanted in (True, False)
    )
    text = str(tokenizer.apply_chat_template([question, answer], tokenize=False))
    _, found, after = text.rpartition(answer["content"])
    ids: list[int] = tokenizer(after, add_special_tokens=False)["input_ids"] if found else []
    added = tokenizer.added_tokens_decoder.get(ids[0]) if ids and asked != silent else None
    return str(added.content) if added is not None and added.special else None
