"""Votes of a row counted again: without some people, by weights, once each; and the grade of what counts."""

from collections.abc import Callable

import pytest

from data_contracts.formats.items import Ballot, Item, LeftOut, Tie, judged
from flows.config.columns import ColumnFormat
from flows.data.mapping.rows import mapped
from flows.data.rater_weights import RaterWeights


def votes_of(record: Item) -> tuple[int, int, int]:
    record = record.record if isinstance(record, Tie) else record
    assert isinstance(record, dict)
    return record["votes_chosen"], record["votes_rejected"], record["votes_tied"]


def weighed(items: Callable[[], list[Item]], excluded: tuple[str, ...] = (), **weights: int) -> list[Item]:
    convert = RaterWeights(dict.fromkeys(excluded, "why"), weights).weigh(lambda _: items())
    return list(convert({}))


OPINIONS = [("ann", 1), ("bo", 2), ("cy", 2)]


def test_a_weight_is_that_many_votes_and_may_turn_the_majority() -> None:
    ballot, pair = weighed(lambda: list(judged("p", "one", "two", OPINIONS)), ann=3)
    assert ballot == Ballot("p", tuple(OPINIONS), ("one", "two"))  # agreement is of people, not of weights
    assert isinstance(pair, dict) and pair["chosen"] == "one" and votes_of(pair) == (3, 2, 0)


def test_without_a_rater_a_row_is_counted_again_and_may_be_a_tie_or_nothing() -> None:
    left_out, ballot, pair = weighed(lambda: list(judged("p", "one", "two", OPINIONS)), ("cy",))
    assert left_out == LeftOut("label of cy, a rater who is left out: why")
    assert isinstance(ballot, Ballot) and ballot.votes == (("ann", 1), ("bo", 2))
    assert isinstance(pair, Tie) and votes_of(pair) == (1, 1, 0)
    nobody = weighed(lambda: list(judged("p", "one", "two", OPINIONS)), ("ann", "bo", "cy"))
    assert nobody[-1] == LeftOut("no vote") and len(nobody) == 4


GRADED = [*OPINIONS, ("di", 1)]
LEADS = (3.0, -1.0, -2.0, 1.0)


@pytest.mark.parametrize(
    ("excluded", "weights", "chosen", "grade"),
    [
        (("bo",), {}, "one", (3.0 - 2.0 + 1.0) / 3),
        (("ann",), {}, "two", (1.0 + 2.0 - 1.0) / 3),
        (("ann", "di"), {}, "two", (1.0 + 2.0) / 2),
        ((), {"cy": 4}, "two", (4 * 2.0 + 1.0 - 3.0 - 1.0) / 7),
    ],
)
def test_the_grade_of_a_pair_is_of_the_votes_that_count(
    excluded: tuple[str, ...], weights: dict[str, int], chosen: str, grade: float
) -> None:
    *_, pair = weighed(lambda: list(judged("p", "one", "two", GRADED, LEADS)), excluded, **weights)
    assert isinstance(pair, dict) and pair["chosen"] == chosen and pair["grade"] == pytest.approx(grade)


def test_the_grade_of_a_row_says_nothing_of_the_response_that_it_was_not_given_to() -> None:
    def row() -> list[Item]:
        ballot, pair = judged("p", "one", "two", OPINIONS)
        return [ballot, pair | {"grade": 2.0}] if isinstance(pair, dict) else []

    *_, kept = weighed(row, ("ann",))
    *_, turned = weighed(row, ann=3)
    *_, tied = weighed(row, ("cy",))
    assert isinstance(kept, dict) and kept["grade"] == 2.0
    assert isinstance(turned, dict) and turned["chosen"] == "one" and turned["grade"] == 0.0
    assert isinstance(tied, Tie) and tied.record["grade"] == 0.0


def test_who_stands_in_a_row_with_several_votes_has_the_first_of_them() -> None:
    thrice = [("ann", None), ("ann", 1), ("bo", 2), ("ann", 0), (None, 2), (None, 2), ("ann", 2)]
    *left_out, ballot, pair = judged("p", "one", "two", thrice, (0.0, 3.0, -1.0, 0.0, -1.0, -1.0, -3.0))
    assert left_out == [LeftOut("later vote of the same annotator on this pair")] * 2
    assert ballot == Ballot("p", (("ann", 1), ("bo", 2), (None, 2), (None, 2)), ("one", "two"), (3.0, -1.0, -1.0, -1.0))
    assert isinstance(pair, dict) and votes_of(pair) == (3, 1, 0)


LOOK_ALIKE = ["ann", " ann ", "ann\u200b", "ann\u00a0", "\ufeffann"]


@pytest.mark.parametrize("name", LOOK_ALIKE)
def test_names_that_look_the_same_are_one_person_in_votes_settings_and_columns(name: str) -> None:
    opinions = [("ann", 1), (name, 2), ("Ann", 2), ("bo", 2), ("", 1), (" ", 1)]
    left_out, ballot, _ = judged("p", "one", "two", opinions)
    assert left_out == LeftOut("later vote of the same annotator on this pair")
    assert isinstance(ballot, Ballot) and [who for who, _ in ballot.votes] == ["ann", "Ann", "bo", None, None]
    again = RaterWeights({name: "why"}, {" bo\u00a0": 3}).weigh(lambda _: judged("p", "one", "two", opinions))
    *_, ballot, pair = again({})
    assert isinstance(ballot, Ballot) and [who for who, _ in ballot.votes] == ["Ann", "bo", None, None]
    assert votes_of(pair) == (4, 2, 0)
    columns = {"prompt": "q", "responses": ["a", "b"], "label": "l", "annotator": "who"}
    form = ColumnFormat.model_validate({"columns": columns, "labels": {"A": "first", "B": "second"}})
    (row,) = mapped(form, "preferences")({"q": "why", "a": "one", "b": "two", "l": "A", "who": name})
    assert isinstance(row, dict) and row["annotator"] == "ann"


def test_spaces_within_a_name_are_one_space() -> None:
    ballot, _ = judged("p", "one", "two", [("mary  ann", 1), ("bo", 1)])
    assert isinstance(ballot, Ballot) and ballot.votes[0] == ("mary ann", 1)


def test_a_label_of_one_person_is_weighed_and_left_out() -> None:
    row = {"prompt": "p", "chosen": "one", "rejected": "two", "annotator": "ann"}
    assert [votes_of(item) for item in weighed(lambda: [row], ann=4)] == [(4, 0, 0)]
    assert weighed(lambda: [row], ("ann",)) == [LeftOut("label of ann, a rater who is left out: why")]
    assert weighed(lambda: [row], ("bo",), cy=3) == [row]
