"""Rules that every dataset shares, each with the reason it exists and the mend a person can apply."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
from numpy.typing import NDArray

from data_contracts.conversation import read_conversation, roles_alternate
from data_contracts.records import SPLIT
from data_contracts.sameness import is_blank, same_form
from data_contracts.text_columns import byte_lengths, first_and_last_bytes, texts_of

LONGEST_TEXT = 1_000_000
"""Characters; a longer cell is a broken line or a whole file, not a text that anyone compared."""


@dataclass(frozen=True)
class Rule:
    """One thing that must hold for every row.

    Attributes:
        field: the column that the rule is about.
        reason: what is wrong with a row that breaks it, as a clause without the row's text.
        mend: what to do about it.
        holds: from the frame to one boolean per row, True where the row is sound.
        needs: the columns that `holds` reads.
        fatal: whether a row that breaks it shows that the file is not what it should be, so that nothing is used.
    """

    name: str
    field: str
    reason: str
    mend: str
    holds: Callable[[pd.DataFrame], pd.Series]
    needs: tuple[str, ...]
    fatal: bool = False

    def check(self) -> pa.Check:
        """The rule as a Pandera check on the whole frame, because Pandera's report of single rows shows their text."""
        return pa.Check(lambda frame: bool(self.holds(frame).all()), name=self.name, description=self.reason)


def schema(columns: tuple[str, ...], rules: tuple[Rule, ...]) -> pa.DataFrameSchema:
    """A schema of exactly these columns, in any order, with an optional split.

    Column types are left to the rules, so that one wrong cell is reported with its row and not as a wrong column.
    """
    declared = {name: pa.Column(nullable=True) for name in columns}
    declared[SPLIT] = pa.Column(nullable=True, required=False)
    return pa.DataFrameSchema(declared, checks=[rule.check() for rule in rules], strict=True)


def text_rules(field: str) -> tuple[Rule, ...]:
    """The rules of a text column: it holds text that can be seen, and no more of it than a person would read."""
    return (
        Rule(
            f"{field}_is_text",
            field,
            f"{field} is not a string that UTF-8 can hold",
            "write the value as a string, or remove the row",
            lambda frame: pd.Series(_all_text(frame[field]) or list(map(is_text, frame[field])), index=frame.index),
            (field,),
            fatal=True,
        ),
        Rule(
            f"{field}_not_empty",
            field,
            f"{field} is empty, or only white space and marks that nobody sees",
            f"fill in {field}, or remove the row",
            lambda frame: _per_row(
                frame, field, lambda cell: not isinstance(cell, str) or not _says_nothing(cell), _begin_unseen
            ),
            (field,),
        ),
        Rule(
            f"{field}_not_huge",
            field,
            f"{field} has more than {LONGEST_TEXT:,} characters",
            "look for a lost line break or quotation mark, or cut the text",
            lambda frame: _per_row(
                frame,
                field,
                lambda cell: not isinstance(cell, str) or len(cell) <= LONGEST_TEXT,
                lambda texts: byte_lengths(texts) > LONGEST_TEXT,
            ),
            (field,),
            fatal=True,
        ),
    )


def prompt_rules() -> tuple[Rule, ...]:
    """The rules of a prompt: those of text, and that its roles alternate."""
    return (
        *text_rules("prompt"),
        Rule(
            "roles_alternate",
            "prompt",
            "user and assistant do not take turns, or the user does not speak first and last",
            "merge the turns of one speaker, or remove the row",
            lambda frame: _per_row(
                frame,
                "prompt",
                lambda cell: not isinstance(cell, str) or cell[:1] != "[" or roles_alternate(cell),
                lambda texts: first_and_last_bytes(texts)[0] == ord("["),
            ),
            ("prompt",),
        ),
    )


def not_repeated(texts: tuple[str, ...], mend: str) -> Rule:
    """No earlier row has the same texts; rows with a cell that is no text are left to the rules about text."""
    return Rule(
        "not_repeated",
        texts[0],
        f"an earlier row has the same {', '.join(texts)}",
        mend,
        lambda frame: ~same_texts(frame, texts).duplicated(),
        texts,
    )


def same_texts(frame: pd.DataFrame, fields: tuple[str, ...]) -> pd.DataFrame:
    """Some columns in the form by which texts are compared; a cell that is no text is like those that look like it."""
    forms = {
        name: [same_form(cell) if isinstance(cell, str) else f"\0{cell!r}" for cell in frame[name]] for name in fields
    }
    return pd.DataFrame(forms, index=frame.index, dtype=object)


def _all_hold(frame: pd.DataFrame) -> pd.Series:
    """All rows hold."""
    return pd.Series(True, index=frame.index)


SHAPE: tuple[Rule, ...] = (
    Rule(
        "fits_format",
        "",
        "is not what its format says",
        "mend the row, or name the format of this file in the configuration",
        _all_hold,
        (),
        fatal=True,
    ),
    Rule(
        "prompt_is_shared",
        "rejected",
        "chosen and rejected answer different prompts",
        "remove the row: it compares answers to different questions",
        _all_hold,
        (),
    ),
    Rule(
        "scores_favour_chosen",
        "score_rejected",
        "rejected has a higher score than chosen",
        "swap the two responses and their scores, or remove the scores if a low one is good",
        _all_hold,
        (),
    ),
    Rule(
        "label_is_known",
        "",
        "holds a label that the configuration does not explain",
        "add it to the format's `labels` as first, second, tie or skip, or mend the row",
        _all_hold,
        (),
        fatal=True,
    ),
)
"""What only a format can see, before there is a record."""

VOTED_TWICE = Rule(
    "annotator_votes_once",
    "prompt",
    "the same annotator has an earlier row on this pair",
    "keep one of the rows, as an annotator has one vote on a pair",
    _all_hold,
    (),
)
"""What only the rows of one pair together show, as no record holds its annotators."""

LEAK = Rule(
    "prompt_not_held_out",
    "prompt",
    "the row trains, and its prompt is held out in a table or a source of this data",
    "give rows with the same prompt the same group in every table, or remove the row",
    _all_hold,
    (),
)

NEAR_LEAK = Rule(
    "prompt_near_held_out",
    "prompt",
    "the row trains, and its prompt is nearly one that is held out in a table or a source of this data",
    "give rows with nearly the same prompt one group in every table, remove the row, or raise contract.near_held_out, "
    "the similarity that counts (null: none)",
    _all_hold,
    (),
)
"""What only all tables together show."""


def is_text(value: object) -> bool:
    """Whether a cell is a string without lone surrogates, which no UTF-8 file can hold."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _all_text(column: pd.Series) -> bool:
    """The usual case at once: all cells are strings, and Arrow can encode them."""
    if texts_of(column) is not None:
        return True
    if pd.api.types.infer_dtype(column, skipna=False) != "string":
        return False
    try:
        pyarrow.array(column.to_numpy(), pyarrow.string())
    except UnicodeEncodeError:
        return False
    return True


def _says_nothing(text: str) -> bool:
    """Whether a text is blank; of a conversation, its last turn, which is to be answered."""
    return is_blank(text if text[:1] != "[" else read_conversation(text)[-1]["content"])


def _begin_unseen(texts: pyarrow.LargeStringArray) -> NDArray[np.bool_]:
    """Which texts do not begin with a sign that shows that they are neither blank nor a conversation."""
    first, _ = first_and_last_bytes(texts)
    return np.asarray((first <= ord(" ")) | (first > ord("~")) | (first == ord("[")), dtype=bool)


def _per_row(
    frame: pd.DataFrame,
    field: str,
    holds: Callable[[Any], bool],
    in_doubt: Callable[[pyarrow.LargeStringArray], NDArray[np.bool_]],
) -> pd.Series:
    """Which cells hold; of a column of texts, only those are looked at one by one of which a glance leaves it open."""
    texts = texts_of(frame[field])
    if texts is not None:
        verdicts = ~in_doubt(texts)
        for place in np.flatnonzero(~verdicts):
            verdicts[place] = holds(texts[place].as_py())
        return pd.Series(verdicts, index=frame.index)
    return pd.Series(np.fromiter(map(holds, frame[field].tolist()), bool, len(frame)), index=frame.index)
