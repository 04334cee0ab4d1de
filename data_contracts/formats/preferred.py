"""Demonstrations where nobody wrote any: the preferred answers of pairs."""

from collections.abc import Iterator

from data_contracts.formats.items import Ballot, Convert, Item, LeftOut, RawRow, Record, Tie


def preferred_answers(pairs: Convert) -> Convert:
    """The function that makes demonstrations of rows that hold pairs.

    Args:
        pairs: the function that makes pairs of them.
    """

    def demonstrations(row: RawRow) -> Iterator[Item]:
        for item in pairs(row):
            match item:
                case Ballot():
                    yield item
                case Tie():
                    yield LeftOut("a tie, which prefers no answer")
                case LeftOut():
                    yield item
                case pair:
                    kept: Record = {name: pair[name] for name in ("group", "annotator") if name in pair}
                    yield {"prompt": pair["prompt"], "response": pair["chosen"], **kept}

    return demonstrations
