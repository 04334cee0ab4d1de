"""One vote of each person on a pair, where several rows hold votes by name."""

import hashlib
from collections.abc import Callable, Iterator

from data_contracts.formats import trl
from data_contracts.formats.items import VOTED_AGAIN, Ballot, Convert, Item, LeftOut, RawRow, Tie, recounted
from data_contracts.sameness import same_form


class FirstVotes:
    """Remembers whose votes on which pairs were read, and takes later ones of the same person out, counted.

    Args:
        spare: takes votes that do not count out of what makes pairs.
    """

    def __init__(self, spare: Callable[[Convert], Convert]) -> None:
        self._spare = spare
        self._seen: set[bytes] = set()

    def spare(self, convert: Convert) -> Convert:
        """A function that makes pairs of raw rows, by votes that count of people who have not yet voted on them."""
        if convert is trl.preferences:  # has no votes by name, and its plain columns are read at once as they are
            return self._spare(convert)

        def pairs(row: RawRow) -> Iterator[Item]:
            items = iter(convert(row))
            for item in items:
                if isinstance(item, Ballot) and item.responses and (again := self._again(item)):
                    yield from (LeftOut(VOTED_AGAIN) for name, _ in item.votes if name in again)
                    yield from _by_the_others(item, next(items), again)
                else:
                    yield item

        return self._spare(pairs)

    def _again(self, ballot: Ballot) -> set[str]:
        """Who has voted on a pair before; from now on all who do have."""
        pair = same_form(str(ballot.prompt)), *sorted(same_form(str(text)) for text in ballot.responses)
        keys = {name: _key(name, *pair) for name, _ in ballot.votes if name is not None}
        again = {name for name, key in keys.items() if key in self._seen}
        self._seen.update(keys.values())
        return again


def _by_the_others(ballot: Ballot, pair: Item, again: set[str]) -> Iterator[Item]:
    record = pair.record if isinstance(pair, Tie) else pair
    if isinstance(record, dict) and ballot.without(again).votes:
        yield from recounted(ballot, record, again)


def _key(*texts: str) -> bytes:
    whole = "\0".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=12).digest()
