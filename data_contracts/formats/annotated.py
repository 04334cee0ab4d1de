"""PandaLM, LLMBar and plain votes: two responses and the verdicts of annotators; and MT-bench's questions."""

import re
from collections.abc import Iterator
from typing import Any

from data_contracts.formats.fields import cell_of, text_of, turns_of, whole_number_of
from data_contracts.formats.items import Item, Misfit, RawRow, Record, judged
from data_contracts.formats.registry import adapter, holds

_ANNOTATOR = re.compile(r"annotator_?(\d+)")
_LETTERS: dict[Any, int | None] = {"a": 1, "b": 2, "tie": 0, None: None}

_is_pandalm = holds("instruction", "response1", "response2", verdict="annotator1")
_is_llmbar = holds("input", "output_1", "output_2", verdict="label")
_is_votes = holds("prompt", "response_a", "response_b", verdict="votes")


@adapter("pandalm", "preferences", fits=_is_pandalm, precedence=20)
def pandalm(row: RawRow) -> Iterator[Item]:
    """PandaLM (Wang et al., 2023): `annotator1`, `annotator2`, ... say 1, 2, 0 for a tie, or nothing."""
    fields = [match for field in sorted(row) if (match := _ANNOTATOR.fullmatch(field))]
    if not fields:
        raise Misfit("annotator1", "is missing")
    opinions = [(f"annotator {match[1]}", _vote(row, match[0])) for match in fields]
    yield from judged(_ask(row), text_of(row, "response1"), text_of(row, "response2"), opinions)


@adapter("pandalm", "prompts", fits=_is_pandalm, precedence=20)
def pandalm_prompts(row: RawRow) -> Iterator[Record]:
    """The instruction with its input, if any."""
    yield {"prompt": _ask(row)}


@adapter("llmbar", "preferences", fits=_is_llmbar, precedence=20)
def llmbar(row: RawRow) -> Iterator[Item]:
    """LLMBar (Zeng et al., 2024): `label` says which of two outputs follows the instruction."""
    opinions = [(None, _vote(row, "label"))]
    yield from judged(text_of(row, "input"), text_of(row, "output_1"), text_of(row, "output_2"), opinions)


@adapter("llmbar", "prompts", fits=_is_llmbar, precedence=20)
def llmbar_prompts(row: RawRow) -> Iterator[Record]:
    """The instruction."""
    yield {"prompt": text_of(row, "input")}


@adapter("votes", "preferences", fits=_is_votes, precedence=20)
def votes(row: RawRow) -> Iterator[Item]:
    """`votes` says "a", "b", "tie" or null for each annotator: an object by name, or a list where names are unknown."""
    cells = row.get("votes")
    if not isinstance(cells, dict | list | None):
        raise Misfit("votes", "is neither a list nor an object")
    opinions = [(name, _letter(vote)) for name, vote in _by_name(cells or [])]
    yield from judged(turns_of(row, "prompt"), text_of(row, "response_a"), text_of(row, "response_b"), opinions)


@adapter("votes", "prompts", fits=_is_votes, precedence=20)
def votes_prompts(row: RawRow) -> Iterator[Record]:
    """The prompt of a comparison."""
    yield {"prompt": turns_of(row, "prompt")}


@adapter("mt-bench", "prompts", fits=holds("question_id", "turns"), precedence=20)
def mt_bench(row: RawRow) -> Iterator[Record]:
    """MT-bench (Zheng et al., 2023): the first turn of a question; later ones presuppose an answer."""
    turns = cell_of(row, "turns")
    if not isinstance(turns, list) or not turns:
        raise Misfit("turns", "is not a list of texts")
    yield {"prompt": turns[0]}


def _ask(row: RawRow) -> Any:
    """The instruction with its input, if any."""
    instruction, context = text_of(row, "instruction"), "" if row.get("input") is None else text_of(row, "input")
    if isinstance(instruction, str) and isinstance(context, str):
        return f"{instruction.strip()}\n\n{context.strip()}".strip()
    raise Misfit("instruction" if not isinstance(instruction, str) else "input", "is not text")


def _by_name(votes: dict[str, Any] | list[Any]) -> list[tuple[str | None, Any]]:
    return list(votes.items()) if isinstance(votes, dict) else [(None, vote) for vote in votes]


def _letter(vote: Any) -> int | None:
    if not isinstance(vote, str | None) or vote not in _LETTERS:
        raise Misfit("votes", 'holds something other than "a", "b", "tie" and null')
    return _LETTERS[vote]


def _vote(row: RawRow, field: str) -> int | None:
    try:
        vote = whole_number_of(row, field)
    except Misfit:
        vote = -1
    if vote not in (None, 0, 1, 2):
        raise Misfit(field, "is not 1, 2, 0 for a tie, or empty")
    return vote
