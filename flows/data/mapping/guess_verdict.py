"""A guess at which columns say what annotators preferred, and who they were."""

from collections.abc import Sequence
from typing import Any, Literal

from flows.config.columns import Meaning, label_text
from flows.data.mapping.columns_seen import SeenColumns, any_word
from flows.data.mapping.label_values import Reading, read_labels, says_no_side
from flows.data.mapping.names import Family, families, words_of
from flows.data.mapping.vocabulary import (
    ANNOTATOR,
    BETTER,
    CONTROL,
    COUNT,
    GRADE,
    IDENTITY,
    LABEL,
    MODEL,
    OF_ONE_THING,
    PERSON,
    PLACE,
    RANK,
    REMARK,
    SCORE,
    TICK,
    TIE,
)


def take_verdict(
    seen: SeenColumns, columns: dict[str, Any], responses: Family
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Add the columns that say what was preferred, and return what explains them, and what is in doubt."""
    if annotator := annotator_among(seen, responses.sides):
        (columns["annotator"],) = seen.take(annotator)
    several = are_several(seen, responses)
    rest: dict[str, Any] = {}
    doubts: tuple[str, ...] = ()
    if len(responses.names) == 1 and (doubt := _take_number_of_each(seen, columns, responses.names[0])) is not None:
        return {}, doubt
    if "chosen" not in columns and not several and (votes := _votes(seen, responses.sides)):
        columns["votes"] = votes
        seen.take(*votes.values())
    elif "chosen" not in columns and not several and (labels := _take_labels(seen, columns, responses)):
        rest, doubts = labels
    elif "chosen" not in columns and not _take_numbers(seen, columns, responses) and not several:
        rest, doubts = _take_scale(seen, columns, responses)
    if "chosen" in columns or (isinstance(columns.get("label"), str) and not _is_graded(rest)):
        _take_grade(seen, columns)
    return rest, doubts


def are_several(seen: SeenColumns, responses: Family) -> bool:
    """Whether more than two responses stand in a row, which no label compares."""
    listed = seen.most_listed(responses.names[0]) if len(responses.names) == 1 else 0
    return max(len(responses.names), listed) > 2


def annotator_among(seen: SeenColumns, sides: tuple[str, ...] = ()) -> str | None:
    """The column that says who compared the responses of a row."""
    named_so = [name for name in seen.left if not any_word(words_of(name), LABEL | CONTROL | REMARK)]
    by_person = _labels_by_person(seen, sides)
    usable = [name for name in named_so if seen.cells(name) and name not in by_person and not seen.is_list(name, str)]
    named = [name for name in usable if any_word(words_of(name), ANNOTATOR)]
    ids = [name for name in named if any_word(words_of(name), IDENTITY)]
    persons = [name for word in PERSON for name in usable if word in words_of(name)]
    return next(iter([*ids, *named, *persons]), None)


def labels_among(seen: SeenColumns, sides: tuple[str, ...]) -> dict[str, Reading]:
    """The columns that seem to hold labels of two responses, with what they say."""
    found = {}
    of_one = _scores_by_response(seen, sides)
    for name in (name for name in seen.left if name not in of_one):
        words = words_of(name)
        is_named = any_word(words, LABEL | ANNOTATOR)
        if any_word(words, CONTROL | REMARK) or ("id" in words and not any_word(words, BETTER)):
            continue
        if any_word(words, MODEL) and not is_named:
            continue
        reading = read_labels(name, seen.labels(name), sides, named_so=is_named)
        if reading is not None:
            found[name] = reading
    return found


def is_label(seen: SeenColumns, name: str) -> bool:
    """Whether the cells of a column could be labels by what they say."""
    return read_labels(name, seen.labels(name), (), named_so=False) is not None


def _labels_by_person(seen: SeenColumns, sides: tuple[str, ...]) -> set[str]:
    """Columns that hold an annotator's labels each, such as `rater_1` and `rater_2`."""
    named = [name for name in seen.left if any_word(words_of(name), ANNOTATOR)]
    labels = {name for name in named if read_labels(name, seen.labels(name), sides, named_so=True)}
    return labels if len(labels) > 1 else set()


def _scores_by_response(seen: SeenColumns, sides: tuple[str, ...]) -> set[str]:
    """Columns that rate one of the responses each, such as `overall_a` and `overall_b`."""
    rating = [family for family in families(seen.left) if family.sides == sides and any_word(family.words, SCORE)]
    return {name for family in rating for name in family.names if all(map(seen.is_numeric, family.names))}


def _take_labels(
    seen: SeenColumns, columns: dict[str, Any], responses: Family
) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    if named := _label_by_name(seen, responses):
        label, names, plain = named
        columns["label"], columns["names"] = label, list(names)
        seen.take(label, *(name for name in names if name not in responses.names))
        return ({"labels": plain} if plain else {}), ()
    readings = labels_among(seen, responses.sides)
    if not readings:
        return None
    chosen = _one_or_all(list(readings))
    if len(chosen) > 1:
        undecided = _undecided(seen, readings[chosen[0]])
        readings |= undecided
        chosen += undecided
    seen.take(*chosen)
    columns["label"] = chosen[0] if len(chosen) == 1 else chosen
    if len(chosen) > 1:
        columns.pop("annotator", None)
    read = [readings[name] for name in chosen]
    rest = _explained(seen, chosen, read)
    doubts = list(dict.fromkeys(reading.doubt for reading in read if reading.doubt))
    if others := [name for name in readings if name not in chosen]:
        doubts.append(f"{', '.join(others)} would be labels too")
    return rest, tuple(doubts)


def _undecided(seen: SeenColumns, reading: Reading) -> dict[str, Reading]:
    """Columns of people who, in these rows, preferred nothing."""
    columns = {name: {label_text(cell) for cell in seen.labels(name)} for name in seen.left}
    says = {text: says_no_side(text) for texts in columns.values() for text in texts}
    return {
        name: reading._replace(labels={text: Meaning(says=says[text] or "tie") for text in texts})
        for name, texts in columns.items()
        if texts and all(says[text] for text in texts)
    }


def _explained(seen: SeenColumns, names: Sequence[str], readings: Sequence[Reading]) -> dict[str, Any]:
    """What the labels of some columns say, as a configuration writes it."""
    if scale := next((reading.scale for reading in readings if reading.scale), None):
        ends = {"first": scale.first, "second": scale.second}
        return {"scale": {side: int(end) if end.is_integer() else end for side, end in ends.items()}}
    meanings = {text: meaning for reading in readings for text, meaning in reading.labels.items()}
    return {"labels": _spelt(seen, names, meanings)}


def _one_or_all(names: Sequence[str]) -> list[str]:
    """The label of most weight, or the labels of several people."""
    if len(names) == 1:
        return list(names)
    whole = [name for name in names if not any_word(words_of(name), OF_ONE_THING)]
    people = [name for name in whole if any_word(words_of(name), ANNOTATOR)]
    numbered = next((list(family.names) for family in families(whole)), [])
    spoken = [name for name in whole if any_word(words_of(name), LABEL)]
    if len(people) > 1 or len(numbered) > 1 or not spoken:
        return people if len(people) > 1 else numbered if len(numbered) > 1 else (whole or list(names[:1]))
    return [next((name for name in spoken if "overall" in words_of(name)), spoken[0])]


def _label_by_name(seen: SeenColumns, responses: Family) -> tuple[str, tuple[str, ...], dict[str, str]] | None:
    """A label that calls the responses by what stands in two columns, or by what their own columns are called."""
    called = [
        family.names for family in families(seen.left) if len(family.names) == 2 and any_word(family.words, MODEL)
    ]
    for names in [*called, responses.names]:
        for label in seen.left:
            if label in names or not any_word(words_of(label), LABEL):
                continue
            plain: dict[str, str] = {}
            if len(names) == 2 and _calls(seen, label, names, plain):
                return label, names, plain
    return None


def _calls(seen: SeenColumns, label: str, names: tuple[str, ...], plain: dict[str, str]) -> bool:
    """Whether all labels are what stands in two columns, or name no side; these are added to `plain`."""
    hits = 0
    for row in seen.rows:
        text = label_text(row.get(label))
        if text and text in {label_text(row.get(name)) for name in names}:
            hits += 1
        elif text and (says := says_no_side(text)):
            plain[str(row.get(label)).strip()] = says
        elif text:
            return False
    return hits > 0


def _votes(seen: SeenColumns, sides: tuple[str, ...]) -> dict[str, str] | None:
    """Columns that count votes for the two responses, or tick the winner."""
    for family in (family for family in families(seen.left) if len(family.names) == 2):
        counts = any_word(family.words, COUNT) and all(seen.is_numeric(name) for name in family.names)
        ticks = any_word(family.words, TICK) and _are_ticks(seen, family.names)
        if ticks or (counts and family.sides == sides):
            shared = family.words - MODEL
            tie = [name for name in seen.left if shared <= set(words_of(name)) and any_word(words_of(name), TIE)]
            return dict(zip(("first", "second", "tie"), [*family.names, *tie[:1]], strict=False))
    return None


def _are_ticks(seen: SeenColumns, names: Sequence[str]) -> bool:
    """Whether one of some columns at most is ticked in each row."""
    rows = [[label_text(row.get(name)) for name in names] for row in seen.rows]
    ticked = [sum(text in ("1", "true", "x", "yes") for text in row) for row in rows]
    known = {text for row in rows for text in row} <= {"", "0", "1", "true", "false", "x", "yes", "no"}
    return known and max(ticked, default=0) == 1


def _take_numbers(seen: SeenColumns, columns: dict[str, Any], responses: Family) -> bool:
    """Ranks or scores, one for each response."""
    uses: tuple[tuple[Literal["ranks", "scores"], frozenset[str]], ...] = (("ranks", RANK), ("scores", SCORE))
    for use, words in uses:
        found = [
            family
            for family in families(seen.left)
            if any_word(family.words, words)
            and len(family.names) == len(responses.names)
            and all(seen.is_numeric(name) for name in family.names)
        ]
        overall = [family for family in found if not family.words & OF_ONE_THING]
        if len(responses.names) > 1 and found:
            columns[use] = list(seen.take(*(overall or found)[0].names))
            return True
    return False


def _take_number_of_each(seen: SeenColumns, columns: dict[str, Any], responses: str) -> tuple[str, ...] | None:
    """Ranks, scores or ticks in a list beside the list of responses; what is doubtful, None where there are none."""
    numbers = {name: found for name in seen.left if (found := seen.number_of_each(name, responses)) is not None}
    ticked = [name for name, rows in numbers.items() if all(sorted(row, key=bool) == _one_of(row) for row in rows)]
    uses: tuple[tuple[Literal["ranks", "scores"], Sequence[str], frozenset[str]], ...] = (
        ("ranks", list(numbers), RANK - PLACE),
        ("scores", list(numbers), SCORE),
        ("scores", ticked, LABEL | TICK),
    )
    for use, among, words in uses:
        if named := [name for name in among if any_word(words_of(name), words)]:
            (columns[use],) = seen.take(min(named, key=_of_most_weight))
            is_tick = among is ticked and "." not in columns[use]
            return (f"whether {columns[use]} holds a number for each response, and 1 is the better",) * is_tick
    return None


def _one_of(row: Sequence[float | None]) -> list[float]:
    """The ticks of a row in which one is set, those that are not set first."""
    return [0.0] * (len(row) - 1) + [1.0]


def _of_most_weight(name: str) -> tuple[bool, bool, int]:
    words = words_of(name)
    return any_word(words, OF_ONE_THING), "overall" not in words, len(words)


def _take_scale(
    seen: SeenColumns, columns: dict[str, Any], responses: Family
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A number that rates two responses together, for want of anything that is called a label."""
    found = [name for name in seen.left if any_word(words_of(name), SCORE) and seen.is_numeric(name)]
    reading = read_labels(found[0], seen.labels(found[0]), responses.sides, named_so=True) if found else None
    if reading is None:
        return {}, ()
    (columns["label"],) = seen.take(found[0])
    return _explained(seen, found[:1], [reading]), (reading.doubt or f"whether {found[0]} compares the two responses",)


def _take_grade(seen: SeenColumns, columns: dict[str, Any]) -> None:
    found = [name for name in seen.left if any_word(words_of(name), GRADE) and seen.is_numeric(name)]
    if found and all(float(cell) >= 0 for cell in seen.cells(found[0])):
        (columns["grade"],) = seen.take(found[0])


def _is_graded(rest: dict[str, Any]) -> bool:
    return "scale" in rest or any(isinstance(says, dict) for says in rest.get("labels", {}).values())


def _spelt(seen: SeenColumns, names: Sequence[str], labels: dict[str, Meaning]) -> dict[str, Any]:
    """Labels as they are written in the file."""
    written = {label_text(cell): str(cell).strip() for name in names for cell in seen.labels(name)}
    return {
        written.get(text, text): {meaning.says: int(meaning.grade)} if meaning.grade else meaning.says
        for text, meaning in labels.items()
    }
