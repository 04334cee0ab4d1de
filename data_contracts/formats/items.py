"""What a format makes of a raw row: records, votes, rows left out, misfits."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from data_contracts.conversation import Message

RawRow = dict[str, Any]
Record = dict[str, Any]
"""Texts and votes of one record. `prompt` may be text or a list of messages; without `group` it is the opening turn."""

WEIGHTS = "rater_weights"
"""Field of a record: what each vote that prefers a response counts, where one counts as several."""


class LeftOut(NamedTuple):
    """A part of a row that the format itself does not count as a record; the reason never shows its text."""

    reason: str


class Tie(NamedTuple):
    """A pair of which nobody knows the better response; a record where a source keeps ties, else left out.

    Attributes:
        record: the pair with its votes; which response is called chosen does not matter.
    """

    record: Record


class Ballot(NamedTuple):
    """What people said of two responses; of several, how far labels can be trusted whatever becomes of the pair.

    Attributes:
        prompt: text or messages; agreement is measured by it.
        votes: who voted, None where that is not known, and 1 or 2 for a response in the order of the row, 0 for a tie.
        responses: the two, in that order; empty where a format does not say, and then nothing is known of raters.
    """

    prompt: Any
    votes: tuple[tuple[str | None, int], ...]
    responses: tuple[Any, ...] = ()


class Misfit(Exception):
    """Raised for a row that is not what its format says.

    Attributes:
        field: where.
        reason: what is wrong there, as a clause without the row's text.
        rule: which rule of `data_contracts.rules.SHAPE` it breaks.
    """

    def __init__(self, field: str, reason: str, *, rule: str = "fits_format") -> None:
        super().__init__(field, reason)
        self.field, self.reason = (text.encode("utf-8", "backslashreplace").decode() for text in (field, reason))
        self.rule = rule


Item = Record | LeftOut | Ballot | Tie
Convert = Callable[[RawRow], Iterable[Item]]


def compare(chosen: list[Message], rejected: list[Message]) -> Record:
    """The record of two conversations that differ in the last answer only.

    Raises:
        Misfit: if one does not end with an answer to a prompt, or the prompts differ.
    """
    for field, messages in (("chosen", chosen), ("rejected", rejected)):
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise Misfit(field, "does not end with an answer to a prompt")
    if chosen[:-1] != rejected[:-1]:
        raise Misfit("rejected", "answers another prompt than chosen", rule="prompt_is_shared")
    return {"prompt": chosen[:-1], "chosen": chosen[-1]["content"], "rejected": rejected[-1]["content"]}


def judged(prompt: Any, first: Any, second: Any, opinions: Sequence[tuple[str | None, int | None]]) -> Iterator[Item]:
    """What comes of two responses that several people compared.

    Args:
        prompt: text or messages.
        first: one response.
        second: the other.
        opinions: each annotator's name, None where it is not known, and vote: 1 or 2, 0 for a tie, None for no vote.

    Yields:
        The votes as a ballot, where there are several or a name is known; the pair with what the majority preferred as
        chosen; a tie where both were preferred equally; or what is left out, as nobody voted.
    """
    votes = tuple((name, vote) for name, vote in opinions if vote is not None)
    if len(votes) > 1 or any(name is not None for name, _ in votes):
        yield Ballot(prompt, votes, (first, second))
    for_first, for_second = (sum(vote == side for _, vote in votes) for side in (1, 2))
    if not votes:
        yield LeftOut("no vote")
        return
    chosen, rejected = (first, second) if for_first > for_second else (second, first)
    record = {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "votes_chosen": max(for_first, for_second),
        "votes_rejected": min(for_first, for_second),
        "votes_tied": len(votes) - for_first - for_second,
    }
    yield Tie(record) if for_first == for_second else record
