"""TRL's dataset types as text or messages: prompt-only, prompt-completion, preference; and whole conversations."""

from collections.abc import Iterator
from typing import Any

from data_contracts.conversation import Message
from data_contracts.formats.items import Misfit, RawRow, Record, compare, messages_of, text_of
from data_contracts.formats.registry import adapter, has
from data_contracts.schemas.preferences import VOTES


@adapter("trl", "prompts", fits=has("prompt"))
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt of any type that has one."""
    yield {"prompt": _prompt(row)}


def _is_demonstration(row: RawRow) -> bool:
    return "messages" in row or ("prompt" in row and "completion" in row)


@adapter("trl", "demonstrations", fits=_is_demonstration)
def demonstrations(row: RawRow) -> Iterator[Record]:
    """A prompt with its completion, or the last answer of `messages`, a whole conversation."""
    if "messages" in row and "completion" not in row:
        yield _answer("messages", messages_of(row, "messages"))
        return
    prompt, completion = _prompt(row), text_of(row, "completion")
    if isinstance(completion, list):
        yield _answer("completion", [*_as_messages(prompt), *messages_of(row, "completion")])
    else:
        yield {"prompt": prompt, "response": completion}


@adapter("trl", "preferences", fits=has("chosen", "rejected"))
def preferences(row: RawRow) -> Iterator[Record]:
    """Two completions of one prompt, which may be what both begin with (implicit prompt).

    `margin`, or else the gap of `score_chosen` and `score_rejected`, says by how much the chosen one is better.
    Conversations that begin with a user hold the prompt, and a text beside them repeats it, as in UltraFeedback.
    """
    chosen, rejected = text_of(row, "chosen"), text_of(row, "rejected")
    votes: Record = {name: row[name] for name in VOTES if name in row}
    if "margin" in row:
        votes["grade"] = row["margin"]
    elif has("score_chosen", "score_rejected")(row):
        votes["grade"] = _gap(row["score_chosen"], row["score_rejected"])
    if isinstance(chosen, list) or isinstance(rejected, list):
        both = messages_of(row, "chosen"), messages_of(row, "rejected")
        repeated = isinstance(row.get("prompt"), str) and all(turns[0]["role"] != "assistant" for turns in both)
        before = _as_messages(_prompt(row)) if "prompt" in row and not repeated else []
        yield compare(before + both[0], before + both[1]) | votes
    elif "prompt" in row:
        yield {"prompt": _prompt(row), "chosen": chosen, "rejected": rejected, **votes}
    else:
        yield _divide(chosen, rejected) | votes


def _gap(chosen: Any, rejected: Any) -> float:
    """By how much the grade of the chosen response is higher; 0 where it is not, or one has none."""
    graded = isinstance(chosen, int | float) and isinstance(rejected, int | float)
    return max(0.0, float(chosen - rejected)) if graded else 0.0


def _answer(field: str, conversation: list[Message]) -> Record:
    *context, answer = conversation
    if not context or answer["role"] != "assistant":
        raise Misfit(field, "does not end with an answer")
    return {"prompt": context, "response": answer["content"]}


def _prompt(row: RawRow) -> Any:
    prompt = text_of(row, "prompt")
    return messages_of(row, "prompt") if isinstance(prompt, list) else prompt


def _as_messages(prompt: Any) -> list[Message]:
    if isinstance(prompt, str):
        return [Message(role="user", content=prompt)]
    if not isinstance(prompt, list):
        raise Misfit("prompt", "is neither text nor a list of messages")
    return list(prompt)


def _divide(chosen: Any, rejected: Any) -> Record:
    """Cut two texts where they begin to differ, at the word boundary before it."""
    for field, text in (("chosen", chosen), ("rejected", rejected)):
        if not isinstance(text, str):
            raise Misfit(field, "is not text, so that the prompt that both begin with cannot be found")
    same = zip(chosen, rejected, strict=False)
    shared = chosen[: next((index for index, (a, b) in enumerate(same) if a != b), min(len(chosen), len(rejected)))]
    cut = max(shared.rfind(" "), shared.rfind("\n")) + 1
    if not shared[:cut].strip():
        raise Misfit("rejected", "shares no beginning with chosen", rule="prompt_is_shared")
    return {"prompt": chosen[:cut], "chosen": chosen[cut:], "rejected": rejected[cut:]}
