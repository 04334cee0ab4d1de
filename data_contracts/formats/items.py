"""What a format makes of a raw row: records, votes, rows left out, misfits."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from data_contracts.conversation import Message
from data_contracts.sameness import name_form

RawRow = dict[str, Any]
Record = dict[str, Any]
"""Texts and votes of one record. `prompt` may be text or a list of messages; without `group` it is the opening turn."""

WEIGHTS = "rater_weights"
"""Field of a record: what each vote that prefers a response counts, where one counts as several."""


VOTED_AGAIN = "later vote of the same annotator on this pair"
"""Why a vote is left out: whoever votes on a pair several times has one vote, the first."""

_ONCE_EACH: Mapping[str, int] = MappingProxyType({})


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
        leads: by how much the first response is better to each who voted, below 0 where the second is; empty where
            votes have no grades.
    """

    prompt: Any
    votes: tuple[tuple[str | None, int], ...]
    responses: tuple[Any, ...] = ()
    leads: tuple[float, ...] = ()

    def without(self, gone: Container[str]) -> "Ballot":
        """The votes of all others, with their grades."""
        kept = [place for place, (name, _) in enumerate(self.votes) if name is None or name not in gone]
        leads = tuple(self.leads[place] for place in kept) if self.leads else ()
        return self._replace(votes=tuple(self.votes[place] for place in kept), leads=leads)


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


def judged(
    prompt: Any,
    first: Any,
    second: Any,
    opinions: Sequence[tuple[str | None, int | None]],
    leads: Sequence[float] = (),
) -> Iterator[Item]:
    """What comes of two responses that several people compared.

    Args:
        prompt: text or messages.
        first: one response.
        second: the other.
        opinions: each annotator's name, which is kept in `name_form`, None where it is not known, and vote: 1 or 2, 0
            for a tie, None for no vote.
        leads: as of `Ballot`, of each opinion; empty where opinions have no grades.

    Yields:
        What is left out where people voted several times, as the first vote of each counts; the votes as a ballot,
        where there are several or a name is known; the pair with what the majority preferred as chosen; a tie where
        both were preferred equally; or what is left out, as nobody voted.
    """
    cast = [place for place, (_, vote) in enumerate(opinions) if vote is not None]
    names = [name_form(name or "") or None for name, _ in opinions]
    first_of = {names[place]: place for place in reversed(cast)}
    kept = [place for place in cast if names[place] is None or first_of[names[place]] == place]
    yield from [LeftOut(VOTED_AGAIN)] * (len(cast) - len(kept))
    votes = tuple((names[place], vote) for place in kept if (vote := opinions[place][1]) is not None)
    ballot = Ballot(prompt, votes, (first, second), tuple(leads[place] for place in kept) if leads else ())
    if len(votes) > 1 or any(name is not None for name, _ in votes):
        yield ballot
    yield _decided(ballot, first, second, _ONCE_EACH)


def recounted(
    ballot: Ballot, pair: Record, gone: Container[str], weights: Mapping[str, int] = _ONCE_EACH
) -> Iterator[Item]:
    """The ballot and the pair by the votes that count, as `judged` gives them; the ballot is of people, not of weights.

    Args:
        ballot: with all votes.
        pair: what they made of it.
        gone: who does not count.
        weights: what one vote counts as, by name; 1 where nothing is said.
    """
    for_first, for_second = (sum(vote == side for _, vote in ballot.votes) for side in (1, 2))
    first, second = ("chosen", "rejected") if for_first > for_second else ("rejected", "chosen")
    left = ballot.without(gone)
    if left.votes:
        yield left
    item = _decided(left, pair[first], pair[second], weights)
    if isinstance(item, LeftOut):
        yield item
        return
    told = item.record if isinstance(item, Tie) else item
    prefers_the_same = told is item and told["chosen"] == pair["chosen"]
    whole = {**pair, **({} if prefers_the_same else {"grade": 0.0}), **told}
    yield Tie(whole) if isinstance(item, Tie) else whole


def _decided(ballot: Ballot, first: Any, second: Any, weights: Mapping[str, int]) -> Record | Tie | LeftOut:
    if not ballot.votes:
        return LeftOut("no vote")
    each = [weights.get(name or "", 1) for name, _ in ballot.votes]
    cast: Counter[int] = Counter()
    for (_, vote), weight in zip(ballot.votes, each, strict=True):
        cast[vote] += weight
    chosen, rejected = (first, second) if cast[1] > cast[2] else (second, first)
    record = {
        "prompt": ballot.prompt,
        "chosen": chosen,
        "rejected": rejected,
        "votes_chosen": max(cast[1], cast[2]),
        "votes_rejected": min(cast[1], cast[2]),
        "votes_tied": cast[0],
    }
    if ballot.leads:
        lead = sum(lead * weight for lead, weight in zip(ballot.leads, each, strict=True)) / cast.total()
        record["grade"] = max(0.0, lead if cast[1] > cast[2] else -lead)
    if any(weight != 1 for (_, vote), weight in zip(ballot.votes, each, strict=True) if vote):
        record[WEIGHTS] = tuple(weight for (_, vote), weight in zip(ballot.votes, each, strict=True) if vote)
    return Tie({**record, "grade": 0.0} if ballot.leads else record) if cast[1] == cast[2] else record
