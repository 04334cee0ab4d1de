"""What each rater's vote counts while preferences are read: nothing, once, or several times."""

from collections.abc import Iterator, Mapping

from data_contracts.formats.items import WEIGHTS, Ballot, Convert, Item, LeftOut, RawRow, Record, Tie, recounted
from data_contracts.sameness import name_form

_ONE_VOTE = {"votes_chosen": 1, "votes_rejected": 0, "votes_tied": 0}


class RaterWeights:
    """Votes of raters, some left out and some counted several times.

    Args:
        excluded: whose votes are left out, and why.
        weights: what one vote counts as, by rater; 1 where nothing is said.
    """

    def __init__(self, excluded: Mapping[str, str], weights: Mapping[str, int]) -> None:
        self._excluded = {name_form(name): why for name, why in excluded.items()}
        self._weights = {name_form(name): weight for name, weight in weights.items()}

    def weigh(self, convert: Convert) -> Convert:
        """A function that makes pairs of rows, by the votes that count."""
        named = {*self._excluded, *self._weights}

        def pairs(row: RawRow) -> Iterator[Item]:
            items = iter(convert(row))
            for item in items:
                if isinstance(item, Ballot) and any(name in named for name, _ in item.votes):
                    yield from (self._left_out(name) for name, _ in item.votes if name and name in self._excluded)
                    yield from self._recounted(item, next(items, None))
                else:
                    yield self._weighed(item)

        return pairs if named else convert

    def _weighed(self, item: Item) -> Item:
        """A pair that one person labelled, as far as that person's label counts."""
        record = item.record if isinstance(item, Tie) else item
        name = record.get("annotator") if isinstance(record, dict) else None
        if not isinstance(record, dict) or not isinstance(name, str):
            return item
        if name in self._excluded:
            return self._left_out(name)
        weight = self._weights.get(name, 1)
        votes = {key: record.get(key, count) for key, count in _ONE_VOTE.items()}
        if weight == 1 or not all(isinstance(count, int) for count in votes.values()):
            return item
        weighed: Record = {**record, **{key: weight * count for key, count in votes.items()}, WEIGHTS: (weight,)}
        return Tie(weighed) if isinstance(item, Tie) else weighed

    def _recounted(self, ballot: Ballot, pair: Item | None) -> Iterator[Item]:
        """A ballot and its pair by the votes that count; the pair is left out where none does."""
        record = pair.record if isinstance(pair, Tie) else pair
        if isinstance(record, dict):
            yield from recounted(ballot, record, self._excluded, self._weights)
        elif pair is not None:
            yield pair

    def _left_out(self, name: str) -> LeftOut:
        return LeftOut(f"label of {name}, a rater who is left out: {self._excluded[name]}")
