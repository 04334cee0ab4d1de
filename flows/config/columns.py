"""Columns of a file mapped to what they mean, where no known format says it."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal
from unicodedata import normalize

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from data_contracts.records import Kind
from rlhf_core.config import Frozen
from rlhf_core.config.units import Number

Says = Literal["first", "second", "tie", "skip"]

Column = Annotated[str, Field(min_length=1), AfterValidator(partial(normalize, "NFC"))]

_WHOLE = re.compile(r"[+-]?\d{1,15}", re.ASCII)

_YES, _NO = ("true", "yes", "on"), ("false", "no", "off")


def _listed(value: Any) -> Any:
    """One column, written without brackets, as a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


ColumnNames = Annotated[tuple[Column, ...], BeforeValidator(_listed)]


class Meaning(Frozen):
    """What a label says."""

    says: Says
    """Which response is better, that both are alike, or that the label is no vote."""
    grade: Number = Field(default=0.0, ge=0.0)
    """By how much that response is better, in steps of the annotators' scale; 0 where no label says it."""


def label_text(cell: object) -> str:
    """A label as `labels` spells it: as NFC, stripped, in small letters, whole numbers without a point."""
    text = "" if cell is None else normalize("NFC", str(cell)).strip()
    whole = text.removesuffix(".0")
    return str(int(whole)) if _WHOLE.fullmatch(whole) else text.casefold()


def _read_labels(labels: Any) -> Any:
    """Labels by their text, with what each says.

    Raises:
        ValueError: naming every label that says something else, or that stands twice.
    """
    if not isinstance(labels, Mapping):
        return labels
    if wrong := [str(label) for label, meaning in labels.items() if _meaning(meaning) is None]:
        raise ValueError(
            f"{', '.join(map(repr, wrong))} must say first, second, tie or skip, or how much better one is, such as "
            "{first: 2}"
        )
    spelt = [(text, _meaning(meaning)) for label, meaning in labels.items() for text in _spellings(label)]
    if twice := [text for text, count in Counter(text for text, _ in spelt).items() if count > 1]:
        raise ValueError(f"{', '.join(map(repr, twice))} stands twice, as case and space do not matter; keep one")
    return dict(spelt)


def _spellings(label: object) -> tuple[str, ...]:
    """The texts that a label stands for; YAML reads yes, on and true without quotation marks as one."""
    return {True: _YES, False: _NO}[label] if isinstance(label, bool) else (label_text(label),)


def _meaning(value: Any) -> Any:
    match value:
        case Meaning() | {"says": _}:
            return value
        case "first" | "second" | "tie" | "skip":
            return Meaning(says=value)
        case {"first": int() | float() as grade} | {"second": int() | float() as grade} if (
            len(value) == 1 and grade > 0
        ):
            return Meaning(says=next(iter(value)), grade=grade)
    return None


class VoteColumns(Frozen):
    """Columns that count the annotators who said the same; one annotator's tick (`true`, 1) is a count of one."""

    first: Column
    """Of those who preferred the first response."""
    second: Column
    """The same of the second."""
    tie: Column | None = None
    """Of those who found them alike."""

    @property
    def names(self) -> tuple[str, ...]:
        """All columns."""
        return (self.first, self.second, *([self.tie] if self.tie else []))


class Scale(Frozen):
    """The ends of a scale of numbers, on which the middle is a tie and the distance from it the grade."""

    first: Number
    """The number by which an annotator prefers the first response most."""
    second: Number
    """The same of the second; it may be the smaller one."""

    @model_validator(mode="after")
    def _has_two_ends(self) -> "Scale":
        if self.first == self.second:
            raise ValueError("first and second are the same end; write the two ends of the scale")
        return self


class Columns(Frozen):
    """Which column holds what. Of nested rows a name may be a path: `task.prompt`, `answers.0`, `answers.text`."""

    prompt: ColumnNames = ()
    """The prompt, as text or messages; several columns are its turns, the user's first."""
    input: Column | None = None
    """What the prompt is about, put below it."""
    system: Column | None = None
    """The system prompt."""
    history: Column | None = None
    """The messages before the prompt."""
    responses: ColumnNames = ()
    """Two or more responses to compare; one column that holds a list of them."""
    chosen: Column | None = None
    """The better response, where columns say it."""
    rejected: Column | None = None
    """The worse one."""
    label: ColumnNames = ()
    """What an annotator said of two responses; one column for each annotator, or one that holds a list or an object of
    all their labels."""
    names: ColumnNames = ()
    """What `label` calls the two responses in a row, such as the columns with the names of their models."""
    scores: ColumnNames = ()
    """A score for each response, the highest the best; or one column with a list of them."""
    ranks: ColumnNames = ()
    """The same of ranks, 1 the best."""
    votes: VoteColumns | None = None
    """How many annotators preferred which."""
    annotator: Column | None = None
    """Who compared them, one row for each; rows on one pair are then votes."""
    grade: Column | None = None
    """By how much the better response is better."""
    response: Column | None = None
    """What an assistant should answer."""
    messages: Column | None = None
    """A whole conversation that ends with it."""

    @property
    def by_use(self) -> dict[str, tuple[str, ...]]:
        """The columns of each use that has any."""
        uses = {name: getattr(self, name) for name in Columns.model_fields}
        return {
            use: (names,) if isinstance(names, str) else names.names if isinstance(names, VoteColumns) else names
            for use, names in uses.items()
            if names
        }

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What rows with these columns give."""
        kinds: dict[Kind, bool] = {
            "preferences": bool(self.responses or self.chosen),
            "demonstrations": bool(self.response or self.messages),
            "prompts": True,
        }
        return tuple(kind for kind, given in kinds.items() if given)

    @property
    def verdicts(self) -> list[str]:
        """The uses that say which response is better."""
        return [use for use in ("label", "scores", "ranks", "votes") if getattr(self, use)]

    @model_validator(mode="after")
    def _agree(self) -> "Columns":
        if problem := next(self._problems(), None):
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        """What contradicts something, with the mend."""
        uses = self.by_use
        counts = Counter(name for use, names in uses.items() if use != "names" for name in names)
        twice = [name for name, count in counts.items() if count > 1]
        for name in [*twice, *(name for name in self.names if self.names.count(name) > 1)]:
            where = " and ".join(use for use, names in uses.items() if name in names)
            yield f"column '{name}' is used more than once ({where}); name another, or leave one of them out"
        if not (self.prompt or self.responses or self.chosen or self.messages):
            yield "no column holds a prompt; name one as `prompt`"
        if not self.prompt and (alone := [use for use in ("input", "history", "response") if use in uses]):
            yield f"{alone[0]} needs a prompt; name its column as `prompt`"
        if self.prompt and self.messages:
            yield "messages hold the prompt themselves; leave `prompt` out, or name `response` instead of `messages`"
        if self.response and self.messages:
            yield "response and messages both say what to answer; leave one out"
        yield from self._problems_of_pairs()

    def _problems_of_pairs(self) -> Iterator[str]:
        verdicts = self.verdicts
        if bool(self.chosen) != bool(self.rejected):
            yield "chosen and rejected need one another; name both, or `responses` with a `label`"
        if self.chosen and (other := ["responses"] * bool(self.responses) + verdicts):
            yield f"chosen and rejected say which response is better, and so does {other[0]}; leave one out"
        if self.responses and not verdicts:
            yield "no column says which response is better; name one as `label`, `scores`, `ranks` or `votes`"
        if len(verdicts) > 1:
            yield f"{' and '.join(verdicts)} both say which response is better; leave one out"
        if not (self.responses or self.chosen):
            for use in (*verdicts, *(use for use in ("annotator", "grade", "names") if getattr(self, use))):
                yield f"{use} compares responses; name their columns as `responses`"
        yield from self._problems_of_verdicts(self.verdicts, len(self.responses))

    def _problems_of_verdicts(self, verdicts: list[str], responses: int) -> Iterator[str]:
        if responses > 2 and verdicts in (["label"], ["votes"]):
            yield f"{verdicts[0]} compares two responses, not {responses}; name `scores` or `ranks` of more than two"
        for use, numbers in (("scores", self.scores), ("ranks", self.ranks)):
            if responses > 1 and len(numbers) not in (0, 1, responses):
                yield f"there are {responses} responses and {len(numbers)} {use}; name one for each"
        if self.annotator and len(self.label) > 1:
            yield "each column of label is an annotator; leave `annotator` out"
        if self.names and (len(self.names) != 2 or not self.label):
            yield "names are what `label` calls the two responses; name two columns, and the label"
        if self.grade and (len(self.label) > 1 or verdicts in (["scores"], ["ranks"], ["votes"])):
            yield "grade is of one label; leave it out where there are scores, ranks, votes or several labels"


class ColumnFormat(Frozen):
    """A format that a configuration describes: the columns, and what the labels in them say."""

    columns: Columns
    """Which column holds what."""
    labels: Annotated[dict[str, Meaning], BeforeValidator(_read_labels)] = {}
    """What each label says; case and white space around do not matter."""
    scale: Scale | None = None
    """The same of labels that are numbers between two ends."""

    @model_validator(mode="after")
    def _labels_are_explained(self) -> "ColumnFormat":
        if problem := next(self._problems(), None):
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        said = {meaning.says for meaning in self.labels.values()}
        graded = {meaning.grade > 0 for meaning in self.labels.values() if meaning.says in ("first", "second")}
        if (self.labels or self.scale) and not self.columns.label:
            yield "labels and scale explain columns.label, which names no column; name it"
        if self.columns.label and not (self.labels or self.scale or self.columns.names):
            yield (
                "columns.label is not explained; write what each label says, such as "
                "`labels: {A: first, B: second, tie: tie}`, or the ends of its `scale`"
            )
        if self.labels and self.scale:
            yield "labels and scale both explain columns.label; leave one out"
        for side in ("first", "second") if self.labels and not self.columns.names else ():
            if side not in said:
                yield f"no label says {side}, so that all pairs would be the same way round; add the one that does"
        if len(graded) > 1:
            yield "some labels say by how much a response is better, and others do not; write all of them, or none"
        if self.columns.grade and (self.scale or True in graded):
            yield "columns.grade and the labels both say by how much a response is better; leave one out"
