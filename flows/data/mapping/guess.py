"""A guess at what the columns of a file mean, by their names and by what stands in them."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

from pydantic import ValidationError

from data_contracts.formats.items import RawRow
from flows.config.columns import ColumnFormat, Columns
from flows.data.mapping.columns_seen import SeenColumns, any_word
from flows.data.mapping.guess_verdict import are_several, is_label, take_verdict
from flows.data.mapping.names import Family, apart, better_and_worse, families, turns, words_of
from flows.data.mapping.vocabulary import (
    ABOUT,
    ANNOTATOR,
    ANSWER,
    BELOW_PROMPT,
    BESIDE_SYSTEM,
    HISTORY,
    LABEL,
    MODEL,
    NO_PROMPT_ALONE,
    PROMPT,
    REMARK,
    RESPONSE,
    SPEAKER,
    SYSTEM,
    TICK,
    WHAT_IS_SAID,
)

LONG = 40
"""Mean characters above which cells are texts rather than names, whatever their column is called."""


class Guess(NamedTuple):
    """A mapping that seems right.

    Attributes:
        format: what stands below `format` in a configuration; empty where too little was found.
        doubts: what should be looked at before it is used.
        unread: the columns that it does not use.
        lacking: what was not found, and what would do.
        responses: the columns of responses, where a label of them was not found.
    """

    format: dict[str, Any]
    doubts: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    lacking: str = ""
    responses: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """That there are responses whose label was not found; empty where that is not so."""
        responses = ", ".join(self.responses)
        return responses and f"{responses} seem to be responses, but there is {self.lacking}"

    @property
    def mapping(self) -> ColumnFormat:
        """The format, read."""
        return ColumnFormat.model_validate(self.format)


def guess_columns(rows: Sequence[RawRow]) -> Guess:
    """What the columns of some rows seem to mean.

    Args:
        rows: the first of a file.
    """
    seen = SeenColumns(rows)
    columns: dict[str, Any] = {}
    family = _take_responses(seen, columns)
    holds_prompt = family is not None and all(_is_conversation(seen, name) for name in family.names)
    _take_prompt(seen, columns, holds_prompt=holds_prompt)
    if not holds_prompt and "prompt" not in columns and "messages" not in columns:
        return Guess({}, (), tuple(seen.left), "no column that looks like a prompt")
    if family is None:
        _take_answer(seen, columns)
        asked = columns.get("prompt")
        if isinstance(asked, str) and set(words_of(asked)) <= NO_PROMPT_ALONE and "response" not in columns:
            return Guess({}, (), tuple(seen.left), "no column that looks like a prompt")
        return Guess({"columns": columns}, (), tuple(seen.left))
    rest, doubts = take_verdict(seen, columns, family)
    if not any(use in columns for use in ("chosen", "label", "votes", "scores", "ranks")):
        return Guess({}, (), tuple(seen.left), _lacking_verdict(seen, family), family.names)
    ordered = {use: columns[use] for use in Columns.model_fields if use in columns}
    guess = Guess({"columns": ordered, **rest}, doubts, tuple(seen.left))
    try:
        guess.mapping  # noqa: B018 what is guessed must be one
    except ValidationError:
        return Guess(
            {}, (), tuple(seen.left), "no column whose labels say of either response that it is better", family.names
        )
    return guess


def _lacking_verdict(seen: SeenColumns, family: Family) -> str:
    """What is not there of all that could say which response is better, and what would do."""
    beside = [name for name in seen.left if seen.is_list(name, str) and any_word(words_of(name), LABEL | TICK)]
    if in_words := [name for name in beside if seen.counts_agree(name, family.names[0])]:
        said = f"{in_words[0]} says it in words"
        return f"no number for each of them: {said}; write 1 and 0, or a score, and name it `scores`"
    if not are_several(seen, family):
        return "no column that looks like a label of the responses"
    return (
        "no column with a score or a rank for each of them, which several need: a label compares two; write a list of "
        "numbers and `scores` (the highest the best, 1 and 0 where one is chosen) or `ranks` (1 the best)"
    )


def _take_responses(seen: SeenColumns, columns: dict[str, Any]) -> Family | None:
    """The columns to compare, if there are any."""
    pair = better_and_worse(name for name in seen.left if not _is_about(name))
    if pair and not any(seen.is_numeric(name) for name in pair.names) and _says_which_is_better(seen, pair):
        columns["chosen"], columns["rejected"] = seen.take(*pair.names)
        return pair
    single = [name for name in seen.left if not seen.is_list(name, str)]
    found = [family for family in families(single) if _are_responses(seen, family)] or _two_responses(seen, single)
    if found:
        best = max(found, key=lambda family: (any_word(family.words, RESPONSE), seen.length(*family.names)))
        columns["responses"] = list(seen.take(*best.names))
        return best
    lists = [name for name in seen.left if _lists_responses(seen, name)]
    if lists:
        texts = max(lists, key=lambda name: (words_of(name)[-1] in WHAT_IS_SAID, seen.length(name)))
        (columns["responses"],) = seen.take(texts)
        return Family(frozenset(words_of(texts)), (texts,), ("first", "second"))
    return None


def _lists_responses(seen: SeenColumns, name: str) -> bool:
    """Whether a column lists several responses: texts, those of objects by their field, or messages of each."""
    above, _, field = name.rpartition(".")
    named = any_word(words_of(above or name), RESPONSE) or (above and any_word(words_of(field), RESPONSE))
    texts = seen.is_list(name, str) and (not above or not _is_about(field))
    return bool(named) and (texts or seen.is_list(name, list)) and seen.most_listed(name) > 1


def _says_which_is_better(seen: SeenColumns, pair: Family) -> bool:
    """Whether two columns hold the better and the worse response, and not only what those are called."""
    return pair.sides == ("chosen", "rejected") or bool(pair.words & RESPONSE) or seen.length(*pair.names) > LONG


def _is_about(name: str) -> bool:
    """Whether a column holds something about a text, such as its score or its model."""
    words = words_of(name)
    last = next((word for word in reversed(words) if len(word) > 1 and not word.isdecimal()), "")
    return any_word(words, ABOUT) or last in MODEL


def _are_responses(seen: SeenColumns, family: Family) -> bool:
    long = seen.length(*family.names) > LONG
    if any(_is_about(name) for name in family.names) and not (long and not any_word(family.words, ABOUT)):
        return False
    labels = any(is_label(seen, name) or seen.is_ticked(name) for name in family.names)
    if any_word(family.words, RESPONSE):
        return not labels
    numeric = any(seen.is_numeric(name) for name in family.names)
    return not any_word(family.words, SPEAKER) and (long or not (numeric or labels))


def _two_responses(seen: SeenColumns, names: Sequence[str]) -> list[Family]:
    """Two columns of responses that are named by their models or kinds, such as `gpt4_answer` and `claude_answer`."""
    named = [name for name in names if any_word(words_of(name), RESPONSE) and not _is_about(name)]
    pairs = [
        Family(frozenset(words_of(one)) & frozenset(words_of(other)), (one, other), tuple(map(" ".join, sides)))
        for one, other in combinations(named, 2)
        if all(sides := apart(one, other))
    ]
    return [family for family in pairs if family.words & RESPONSE]


def _take_prompt(seen: SeenColumns, columns: dict[str, Any], *, holds_prompt: bool) -> None:
    for name in list(seen.left):
        words = set(words_of(name))
        is_system = words & SYSTEM and words <= SYSTEM | BESIDE_SYSTEM and not seen.is_list(name, str)
        if is_system and "system" not in columns:
            (columns["system"],) = seen.take(name)
    if several := turns(seen.left):
        columns["prompt"] = list(seen.take(*several))
        return
    asked = None if holds_prompt else _named_first(seen, PROMPT) or _longest(seen, columns)
    if asked is None:
        return
    if _ends_with_an_answer(seen, asked) and not ("responses" in columns or "chosen" in columns):
        (columns["messages"],) = seen.take(asked)
        return
    (columns["prompt"],) = seen.take(asked)
    for use, among, is_messages in (("input", BELOW_PROMPT, False), ("history", HISTORY, True)):
        found = [
            other
            for other in seen.left
            if any_word(words_of(other), among) and not _is_about(other) and seen.is_list(other, dict) == is_messages
        ]
        if found and not seen.is_list(asked, dict) and not seen.is_numeric(found[0]):
            (columns[use],) = seen.take(found[0])


def _named_first(seen: SeenColumns, wanted: Sequence[str]) -> str | None:
    """The column whose name has the first of some words; of several, the one with the fewest others."""
    usable = [name for name in seen.left if not _is_about(name) and not _is_text_free(seen, name)]
    for word in wanted:
        if found := [name for name in usable if word in words_of(name)]:
            return min(found, key=lambda name: len(words_of(name)))
    return None


def _longest(seen: SeenColumns, columns: dict[str, Any]) -> str | None:
    """The longest texts beside the responses, which are prompts by any other name."""
    if "responses" not in columns and "chosen" not in columns:
        return None
    usable = [name for name in seen.left if not (_is_about(name) or _is_text_free(seen, name) or is_label(seen, name))]
    asking = [name for name in usable if not any_word(words_of(name), LABEL | ANNOTATOR | REMARK)]
    return max(asking, key=lambda name: seen.length(name), default=None)


def _is_text_free(seen: SeenColumns, name: str) -> bool:
    return seen.is_numeric(name) or not seen.cells(name) or seen.is_list(name, str, list)


def _ends_with_an_answer(seen: SeenColumns, name: str) -> bool:
    return seen.is_list(name, dict) and all(
        isinstance(cell, str) or cell[-1].get("role") == "assistant" for cell in seen.cells(name)
    )


def _is_conversation(seen: SeenColumns, name: str) -> bool:
    """Whether the cells are messages, and of others than the assistant too."""
    messages = [message for cell in seen.cells(name) if isinstance(cell, list) for message in cell]
    answers = messages and all(isinstance(each, dict) and each.get("role") == "assistant" for each in messages)
    return seen.is_list(name, dict) and not answers


def _take_answer(seen: SeenColumns, columns: dict[str, Any]) -> None:
    """The one answer of a demonstration, if there is any."""
    answers = [name for name in seen.left if any_word(words_of(name), ANSWER) and not _is_about(name)]
    texts = [name for name in answers if not _is_text_free(seen, name) and not seen.is_list(name, dict)]
    if texts and "messages" not in columns:
        (columns["response"],) = seen.take(max(texts, key=lambda name: seen.length(name)))
