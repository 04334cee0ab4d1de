"""Tokenisation: what texts become, end of response, truncation. All texts become ids here."""

import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date
from typing import NamedTuple

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.data.chat_template import as_trained, settle_template
from rlhf_core.data.model_settings import read_tokenizer
from rlhf_core.data.panics import PanickedError, given_up, no_panic
from rlhf_core.data.rendering import Conversation, render
from rlhf_core.data.stop_tokens import listed_stops

PAD_TOKEN = "<|pad|>"

ROLES = ("system", "user", "assistant")
"""Who speaks in a prompt of several turns; templates write roles beside their marks, so no others are believed."""

READ_AS_TOKENS = "special_tokens_in_texts"
"""Key in a saved tokenizer's configuration: what `allow_special_tokens` set."""

_ANSWER = "{{ messages[0]['content'] }}"
"""The chat template of an answer alone."""


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


def load_tokenizer(path: str, *, day: date | None = None, allow: bool | None = None) -> PreTrainedTokenizerBase:
    """Load a tokenizer that has a chat template, an end-of-sequence token and another padding token.

    Args:
        path: a folder or hub id that `AutoTokenizer` reads.
        day: what a chat template that reads the clock is told, as in `settle_template`.
        allow: as of `allow_special_tokens`; None leaves it as it was saved.

    Returns:
        The tokenizer; a missing template or padding token is added, so the model may need more embeddings. Its
        end-of-sequence token is what training teaches: the added token that the chat template writes after an answer,
        where it writes one, else its own. Its template is that of `settle_template` and `as_trained`.

    Raises:
        ValueError: if it has no end-of-sequence token, without which no response can end, or no one chat template that
            writes the same on every day.
    """
    tokenizer: PreTrainedTokenizerBase = read_tokenizer(path)
    settle_tokenizer(tokenizer, listed_stops(path), day=day)
    if allow is not None:
        allow_special_tokens(tokenizer, allow=allow)
    return tokenizer


def settle_tokenizer(tokenizer: PreTrainedTokenizerBase, stops: Collection[int], *, day: date | None = None) -> None:
    """Make a tokenizer as it was published one as `load_tokenizer` gives it.

    Args:
        tokenizer: changed in place.
        stops: ids at which its model stops.
        day: as of `load_tokenizer`.

    Raises:
        ValueError: as `load_tokenizer`.
    """
    if tokenizer.eos_token_id is None:
        name = tokenizer.name_or_path
        raise ValueError(f"{name}: the tokenizer has no end-of-sequence token; set `eos_token` in its configuration")
    settle_template(tokenizer, day=day)
    ends = {tokenizer.eos_token_id, *stops}
    if turn_end := _turn_end(tokenizer):
        tokenizer.add_special_tokens({"eos_token": turn_end})
    ends.add(tokenizer.eos_token_id)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    tokenizer.chat_template = as_trained(tokenizer.chat_template)


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """What texts may write that is a special token: the end of a sequence and the like."""
    return _any_of(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)


def allow_special_tokens(tokenizer: PreTrainedTokenizerBase, *, allow: bool) -> None:
    """Let special tokens that texts write be read as what they are, or spelt out; saved with the tokenizer.

    Args:
        tokenizer: changed in place.
        allow: who writes the texts could then end turns and begin others, in anyone's name.
    """
    tokenizer.init_kwargs.pop(READ_AS_TOKENS, None)
    if allow:
        tokenizer.init_kwargs[READ_AS_TOKENS] = "allow"


def allows_special_tokens(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether special tokens that texts write are read as what they are."""
    return tokenizer.init_kwargs.get(READ_AS_TOKENS) == "allow"


def turns(prompt: str) -> Conversation:
    """The messages of a prompt: itself as a user turn, or those that it lists as JSON objects of role and content."""
    if prompt.startswith('[{"role": '):
        try:
            talk = [{"role": turn["role"], "content": turn["content"]} for turn in json.loads(prompt)]
        except (ValueError, KeyError, TypeError, RecursionError):
            talk = []
        if talk and all(turn["role"] in ROLES and isinstance(turn["content"], str) for turn in talk):
            return talk
    return [{"role": "user", "content": prompt}]


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, max_prompt_tokens: int
) -> list[list[int]]:
    """Ids of each prompt as the chat template writes its turns, up to where the assistant begins.

    A longer prompt loses its first tokens, so that the question's end and the assistant marker stay; a beginning-of-
    sequence token before them stays too, as models that were trained with one rely on it.

    What the turns say stays text: where a user writes a special token, or another that the template marks turns with,
    it is spelt out. The only control tokens are those that the template writes, unless `allow_special_tokens` did.

    Raises:
        ValueError: if the template refuses a conversation, as some do whose roles it does not know, or makes a special
            token of what it joins, or the tokenizer cannot spell out what it has as one.
    """
    if not prompts:
        return []
    encoded = _encode(tokenizer, [turns(prompt) for prompt in prompts], lambda talk: render(tokenizer, talk), None)
    return [_shorten(ids, max_prompt_tokens, tokenizer.bos_token_id) for ids in encoded]


def halves_of_positions(config: PreTrainedConfig) -> Lengths:
    """Half of a model's positions for the prompt, half for the response."""
    half = (getattr(config, "max_position_embeddings", None) or sys.maxsize) // 2
    return Lengths(half, half)


def encode(tokenizer: PreTrainedTokenizerBase, items: Sequence[tuple[str, str]], lengths: Lengths) -> list[Tree]:
    """Ids of prompts with their responses; a prompt that several responses share is encoded once.

    The end-of-sequence id follows a response that fits; a truncated one never gets it, so that no model learns to stop
    in the middle. No other special token is in a response: one that its text writes is spelt out. Tokens that are not
    special, such as `<think>`, are a model's to write, and stay.

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
    responses = encode_responses(tokenizer, [response for _, response in items], lengths.max_response_tokens)
    return [Tree(prompt_ids[prompt], [response]) for (prompt, _), response in zip(items, responses, strict=True)]


def encode_responses(
    tokenizer: PreTrainedTokenizerBase, responses: Sequence[str], max_response_tokens: int
) -> list[list[int]]:
    """Ids of responses with their end, cut, as `encode` has them."""
    answers = [[{"role": "assistant", "content": response}] for response in responses]
    encoded = _encode(tokenizer, answers, lambda turns: turns[0]["content"], _ANSWER)
    return [[*ids, tokenizer.eos_token_id][:max_response_tokens] for ids in encoded]


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Text of response ids without special tokens; where texts may write these, without its end and padding only."""
    if allows_special_tokens(tokenizer):
        ids = [token for token in ids if token not in (tokenizer.eos_token_id, tokenizer.pad_token_id)]
        return str(tokenizer.decode(ids)).strip()
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _encode(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    write: Callable[[Conversation], str],
    template: str | None,
) -> list[list[int]]:
    """Ids of conversations as `write` or the same template writes them; what their turns say is never a control token.

    Those that write no added token, nearly all, are encoded together: there is nothing to tell apart in them.
    """
    if allows_special_tokens(tokenizer):
        return [list(ids) for ids in _ids(tokenizer, list(map(write, conversations)))]
    tokens = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.content.isspace()]
    added = _any_of(tokens)
    writes_tokens = [any(added.search(turn["content"]) for turn in turns) for turns in conversations]
    if template is None:
        _refuse_joined(tokenizer, conversations, tokens)
    texts = [write(turns) for turns, careful in zip(conversations, writes_tokens, strict=True) if not careful]
    together = iter(_ids(tokenizer, texts))
    apart = {"tokenize": True, "return_dict": False, "sanitize_control_tokens": True, "chat_template": template}
    return [
        render(tokenizer, turns, **apart) if careful else next(together)
        for turns, careful in zip(conversations, writes_tokens, strict=True)
    ]


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts as they are.

    Raises:
        ValueError: naming the first that the tokenizer gives up on.
    """
    try:
        with no_panic():
            ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
            return ids
    except PanickedError as error:
        if len(texts) > 1:
            return [_ids(tokenizer, [text])[0] for text in texts]
        raise given_up(tokenizer.name_or_path, texts[0], error) from None


def _refuse_joined(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], tokens: Collection[str]
) -> None:
    """Refuse turns that become a special token where the template joins them; nothing spells out a half of one."""
    starts = {token[:end] for token in tokens for end in range(1, len(token))}
    ends = {token[start:] for token in tokens for start in range(1, len(token))}
    longest = max(map(len, tokens), default=1)

    def is_half(text: str) -> bool:
        return any(text[-size:] in starts or text[:size] in ends for size in range(1, longest))

    added = _any_of(tokens)
    for talk in conversations:
        if not any(is_half(turn["content"].strip()) for turn in talk):
            continue
        plain = [{**turn, "content": "text"} for turn in talk]
        own, known = (len(added.findall(render(tokenizer, each))) for each in (talk, plain))
        if own > known + sum(len(added.findall(turn["content"])) for turn in talk):
            raise ValueError(
                f"the text {talk[-1]['content'][:60]!r} becomes a special token where the chat template of "
                f"{tokenizer.name_or_path} joins it to what is beside it: leave such texts out"
            )


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Matches each of some tokens, the longest where several begin alike."""
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def _shorten(ids: list[int], count: int, beginning: int | None) -> list[int]:
    """The last ids, the first of all in front of them if it marks the beginning of a sequence."""
    if len(ids) > count > 1 and ids[0] == beginning:
        return [ids[0], *ids[1 - count :]]
    return ids[-count:]


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The added token that the chat template writes after an assistant's answer; None where it writes none.

    It need not be a special one: some publish turn markers that are not. None, too, of a template that asks for an
    answer whether or not it is told to, whose marker would look like an end, if it may be one.
    """
    question, answer = ({"role": role, "content": f"words of the {role}"} for role in ("user", "assistant"))
    with_marker, without_marker = (
        str(render(tokenizer, [question], add_generation_prompt=marker)) for marker in (True, False)
    )
    text = str(render(tokenizer, [question, answer], add_generation_prompt=False))
    _, match, after = text.rpartition(answer["content"])
    (ids,) = _ids(tokenizer, [after.lstrip()]) if match else [[]]
    token = tokenizer.added_tokens_decoder.get(ids[0]) if ids else None
    if token is None or token.content.isspace():
        return None
    may_ask = with_marker == without_marker and token.content in with_marker.rpartition(question["content"])[2]
    return None if may_ask else str(token.content)
