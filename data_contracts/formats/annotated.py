"""Rows with two responses and what one or several people said of them, and MT-bench's questions."""

import re
from collections.abc import Iterator
from typing import Any

from data_contracts.formats.items import LeftOut, Misfit, RawRow, Record, judged, text_of
from data_contracts.formats.registry import adapter, has

_ANNOTATOR = re.compile(r"annotator_?\d+")
_VERDICTS: dict[Any, int | None] = {0: 0, 1: 1, 2: 2, None: None, "0": 0, "1": 1, "2": 2, "": None}


@adapter("pandalm", "preferences", fits=has("instruction", "input", "response1", "response2", "annotator1"))
def pandalm(row: RawRow) -> Iterator[Record | LeftOut]:
    """PandaLM (Wang et al., 2023): `annotator1`, `annotator2`, ... say 1, 2, 0 for a tie, or nothing."""
    votes = [_vote(row, field) for field in sorted(row) if _ANNOTATOR.fullmatch(field)]
    if not votes:
        raise Misfit("annotator1", "is missing")
    yield judged(_ask(row), text_of(row, "response1"), text_of(row, "response2"), votes)


@adapter("llmbar", "preferences", fits=has("input", "output_1", "output_2", "label"))
def llmbar(row: RawRow) -> Iterator[Record | LeftOut]:
    """LLMBar (Zeng et al., 2024): `label` says which of two outputs follows the instruction."""
    yield judged(text_of(row, "input"), text_of(row, "output_1"), text_of(row, "output_2"), [_vote(row, "label")])


@adapter("votes", "preferences", fits=has("prompt", "response_a", "response_b", "votes"))
def votes(row: RawRow) -> Iterator[Record | LeftOut]:
    """`votes` lists what each annotator said: "a", "b", "tie" or null."""
    cast = text_of(row, "votes")
    known: dict[Any, int | None] = {"a": 1, "b": 2, "tie": 0, None: None}
    if not isinstance(cast, list) or not all(isinstance(vote, str | None) and vote in known for vote in cast):
        raise Misfit("votes", 'is not a list of "a", "b", "tie" and null')
    said = [known[vote] for vote in cast]
    yield judged(text_of(row, "prompt"), text_of(row, "response_a"), text_of(row, "response_b"), said)


@adapter("mt-bench", "prompts", fits=has("question_id", "turns"))
def mt_bench(row: RawRow) -> Iterator[Record]:
    """MT-bench (Zheng et al., 2023): the first turn of a question; later ones presuppose an answer."""
    turns = text_of(row, "turns")
    if not isinstance(turns, list) or not turns:
        raise Misfit("turns", "is not a list of texts")
    yield {"prompt": turns[0]}


def _ask(row: RawRow) -> Any:
    instruction, given = text_of(row, "instruction"), text_of(row, "input")
    if isinstance(instruction, str) and isinstance(given, str):
        return f"{instruction.strip()}\n\n{given.strip()}".strip()
    raise Misfit("instruction" if not isinstance(instruction, str) else "input", "is not text")


def _vote(row: RawRow, field: str) -> int | None:
    vote = text_of(row, field)
    if isinstance(vote, bool) or not isinstance(vote, int | str | None) or vote not in _VERDICTS:
        raise Misfit(field, "is not 1, 2, 0 for a tie, or empty")
    return _VERDICTS[vote]
