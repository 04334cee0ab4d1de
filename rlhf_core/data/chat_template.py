"""The chat template of a tokenizer: one, the same on every day, and written as models are trained on it."""

import ast
import re
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, TemplateError, TemplateSyntaxError

from rlhf_core.data.template_trial import try_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Used where a tokenizer brings no chat template of its own. Its marks are no tokens, so a user can write them too."""

BEGINNING = "{{ bos_token }}"
"""Stands before it where the tokenizer marks the beginning of every text."""

CLOCK = "strftime_now"
"""What a template asks for the time, as transformers offers it."""

_TAKE_ANSWER = "{% set last_answer = messages[-1]['content'] %}"

_BESIDES = ("tool_calls", "reasoning_content", "thinking")
"""What a message may hold beside its text; such a one the template writes itself."""

_WITHOUT_ANSWER = (
    "{% if messages and messages[-1]['role'] == 'assistant' and not add_generation_prompt "
    f"and messages[-1]['content'] is string and not ({' or '.join(f'messages[-1][{key!r}]' for key in _BESIDES)}) %}}"
    f"{_TAKE_ANSWER}"
    "{% set messages = messages[:-1] %}{% set add_generation_prompt = true %}"
    "{% endif %}{{ '' }}"  # with an expression here no line break of what follows is trimmed
)

_ANSWER = "{{ last_answer + eos_token }}"

_WITH_ANSWER = "{% if last_answer is defined %}" + _ANSWER + "{% endif %}"

_BEGINS_TWICE = (
    "{{% set written %}}{{{{ '' }}}}{template}{{% endset %}}"
    "{{{{ written[bos_token | length :] if written.startswith(bos_token + bos_token) else written }}}}"
)
"""A chat template without the first of the two beginnings that it writes."""

_PLAIN = (CHAT_TEMPLATE, BEGINNING + CHAT_TEMPLATE)

_OWN = (*_PLAIN, *(_BEGINS_TWICE.format(template=template) for template in _PLAIN))
"""Templates that are written here, letter by letter, so that they need no trial."""

BREAKS = (TemplateError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""What a chat template may raise that has a mistake."""

_GENERATION = re.compile(r"{%[-+]?\s*generation\b")
"""Begins a block of what the assistant writes, by which `transformers` makes a mask of it."""

_PINNED = re.compile(r"{# chat template pinned to (\d{4}-\d\d-\d\d) #}")


def settle_template(tokenizer: "PreTrainedTokenizerBase", *, day: date | None = None) -> None:
    """Give a tokenizer one chat template that writes the same texts in the same way on every day.

    Of several by name it is that called `default`; where there is none it is `CHAT_TEMPLATE`, with the beginning of a
    sequence if the tokenizer writes one by itself. One that begins a text twice, as by `<s>` and `bos_token`, begins it
    once. One that reads the clock is pinned: wherever it is rendered from now on, in stock transformers too, the clock
    says 0:00 of one day.

    Args:
        tokenizer: changed in place.
        day: to which it is pinned, unless it is already; None is today.

    Raises:
        ValueError: if none of several templates is called `default`, it depends on more than what it is given, or takes
            too much time or memory.
    """
    template = tokenizer.chat_template
    if isinstance(template, dict):
        if "default" not in template:
            raise ValueError(
                f"the tokenizer has chat templates by name, {', '.join(sorted(template))}, and none is called default; "
                "set `chat_template` in its tokenizer_config.json to the one that is meant"
            )
        template = template["default"]
    if template is None:
        template = BEGINNING + CHAT_TEMPLATE if _marks_beginnings(tokenizer) else CHAT_TEMPLATE
    elif not isinstance(template, str):
        raise ValueError(f"its chat template is a {type(template).__name__}, not a text; correct its `chat_template`")
    elif template not in _OWN:
        try_template(template)
    tokenizer.chat_template = pinned(template, day or date.today())
    if _begins_twice(tokenizer):
        tokenizer.chat_template = _BEGINS_TWICE.format(template=tokenizer.chat_template.removesuffix("\n"))


def is_fallback(template: str | None) -> bool:
    """Whether a chat template is missing, or the one that is used then, settled or not."""
    return template is None or CHAT_TEMPLATE in template


def pinned(template: str, day: date) -> str:
    """A chat template for which the clock stands still; one that reads no clock, or is pinned, is left alone.

    Args:
        template: in Jinja, as tokenizers have it.
        day: what it is told, at 0:00.

    Raises:
        ValueError: if it uses chance, or asks the clock in a format that only rendering tells.
    """
    if _PINNED.search(template) or not (formats := _formats(template)):
        return template
    midnight = datetime.combine(day, time())
    answers = {form: midnight.strftime(form) for form in formats}
    return (
        f"{{# chat template pinned to {day.isoformat()} #}}"
        f"{{% macro {CLOCK}(format) %}}{{{{ {answers!r}[format] }}}}{{% endmacro %}}\n{template}"
    )


def pinned_day(folder: Path) -> date | None:
    """The day to which the chat template in a model's folder is pinned; None where it reads no clock."""
    path = folder / "chat_template.jinja"
    match = _PINNED.search(path.read_text(encoding="utf-8")) if path.exists() else None
    return date.fromisoformat(match[1]) if match else None


def as_trained(template: str) -> str:
    """A chat template that writes a conversation with an answer at its end as models here are trained on it.

    That is the prompt up to where the assistant begins, the answer, and the end-of-sequence token. Templates differ
    there: some write no end, others a line break after it. Whoever has a saved reward model read whole conversations,
    as RewardBench does, would then have it judge from a token that it was not trained on. Prompts stay as they were,
    and so do answers that are not text alone, as with calls of tools.

    Args:
        template: in Jinja, as tokenizers have it; one that is so already is left alone.
    """
    if _TAKE_ANSWER in template:
        return template
    answer = _WITH_ANSWER
    if _GENERATION.search(template):
        answer = answer.replace(_ANSWER, "{% generation %}" + _ANSWER + "{% endgeneration %}")
    return _WITHOUT_ANSWER + template.removesuffix("\n") + answer


def _marks_beginnings(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether a tokenizer writes its beginning-of-sequence token before every text."""
    ids: list[int] = tokenizer("text")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def _begins_twice(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the chat template of a tokenizer writes its beginning-of-sequence token twice before anything else."""
    if not tokenizer.bos_token:
        return False
    try:
        text = tokenizer.apply_chat_template([{"role": "user", "content": "text"}], tokenize=False)
    except BREAKS:
        return False  # which tells whoever writes prompts by it
    return str(text).startswith(2 * tokenizer.bos_token)


def _formats(template: str) -> list[str]:
    """The formats in which a template asks for the time.

    Raises:
        ValueError: as `pinned`.
    """
    tokens = list(_tokens(template))
    formats = []
    for index, token in enumerate(tokens):
        if _may_use_chance(tokens[index : index + 5]):
            raise ValueError(
                "the chat template uses chance (`random` or `lipsum`, or `map` with a filter that only rendering "
                "tells), so that no text would be read twice in the same way; take that out of its `chat_template`"
            )
        if token != ("name", CLOCK):
            continue
        match tokens[index + 1 : index + 4]:
            case [("operator", "("), ("string", form), ("operator", ")")]:
                formats.append(ast.literal_eval(form))
            case [("name", "is"), *_]:
                pass
            case _:
                raise ValueError(
                    f"the chat template reads the clock by `{CLOCK}` in a way that cannot be pinned to a day; write "
                    f"the format as text in its `chat_template`, such as {CLOCK}('%d %b %Y')"
                )
    return formats


def _may_use_chance(tokens: list[tuple[str, str]]) -> bool:
    """Whether tokens begin with what draws at random; `map` takes the name of a filter as text."""
    match tokens:
        case [("name", "lipsum"), *_]:
            return True
        case [("operator", "|") | ("name", "filter"), ("name", "random"), *_]:
            return True
        case [("operator", "|") | ("name", "filter"), ("name", "map"), ("operator", "("), first, after]:
            if first[0] == "string" and after in (("operator", ","), ("operator", ")")):
                return bool(ast.literal_eval(first[1]) == "random")
            return first[0] != "name" or after != ("operator", "=")
        case _:
            return False


def _tokens(template: str) -> Iterator[tuple[str, str]]:
    """Kind and text of what a template consists of, white space left out."""
    try:
        for _, kind, text in Environment().lex(template):  # noqa: S701 (only lexed)
            if kind != "whitespace":
                yield kind, text
    except TemplateSyntaxError as error:
        raise ValueError(f"the chat template is not valid Jinja ({error}, line {error.lineno})") from None
