"""Demonstrations where nobody wrote any: the preferred answers of pairs."""

from collections.abc import Iterator

from data_contracts.formats.items import Ballot, Convert, Item, LeftOut, RawRow, Tie


def preferred_answers(pairs: Convert) -> Convert:
    """The function that makes demonstrations of rows that hold pairs.

    Args:
        pairs: the function that makes pairs of them.
    """

    def demonstrations(row: RawRow) -> Iterator[Item]:
        for item in pairs(row):
            match item:
                case Ballot():
                    continue
                case Tie():
                    yield LeftOut("a tie, which prefers no answer")
                case LeftOut():
                    yield item
                case pair:
                    group = {"group": pair["group"]} if "group" in pair else {}
                    yield {"prompt": pair["prompt"], "response": pair["chosen"], **group}

    return demonstrations
