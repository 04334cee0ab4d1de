"""The part of the configuration that says where data come from and what happens to rows that break a rule."""

import runpy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from data_contracts.formats.registry import FORMATS, makers
from data_contracts.records import Kind
from flows.config.columns import ColumnFormat
from flows.config.raters import RatersConfig
from rlhf_core.config import Frozen
from rlhf_core.config.units import Rows, Share, Similarity
from rlhf_core.embedded_world.data import WorldConfig

DATA_FOLDER = "RLHF_DATA"
"""Environment variable that names the folder below which relative paths of data lie."""


class Shares(Frozen):
    """How groups are divided; the rest is for training.

    A group lies at the same place of the hash in every table, so that one held out of a table is held out of all.
    """

    test: Share = Field(default=0.15, gt=0.0, lt=1.0)
    """Share of the groups that nothing is trained on: every figure comes from them."""
    judge: Share = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the groups whose preferences train the judge alone; their prompts and demonstrations train as any."""

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> "Shares":
        if self.test + self.judge >= 1.0:
            raise ValueError("test and judge shares leave nothing to train on: let them sum to less than 1")
        return self


HubName = Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")]

Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]

EmbeddedData = WorldConfig


def load_formats(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Run Python files, which register formats.

    Raises:
        ValueError: naming a file that does not run.
    """
    for path in paths:
        try:
            runpy.run_path(str(path))
        except (Exception, SystemExit) as error:
            raise ValueError(
                f"{path} does not run ({type(error).__name__}: {error}); mend it, or name another"
            ) from None
    return paths


def _how_written(value: object) -> str:
    """Which way of saying the format a value is meant to be."""
    return "mapping" if isinstance(value, dict | ColumnFormat) else "name"


Format = Annotated[Annotated[str, Tag("name")] | Annotated[ColumnFormat, Tag("mapping")], Discriminator(_how_written)]


class Source(Frozen):
    """How the rows of a source are understood."""

    format: Format | None = None
    """The name of a format, one's own among them, or the columns; null: each file's first row is recognised. What a
    name may be, `rlhf data inspect` shows, and an error where it is wrong."""
    repeats: Literal["copies", "votes"] = "copies"
    """What several rows on one pair are: copies of one, or the votes of several people, as they always are where a
    column says who compared them."""
    synthetic: bool = False
    """Whether rows marked `synthetic` may be used."""
    licence: str | None = None
    """Licence under which its rows may be used, such as CC-BY-4.0; papers of models name it. null: not stated."""
    ties: Literal["leave_out", "keep"] = "leave_out"
    """What becomes of pairs of which nobody knows the better response. Kept ones tell something to what learns from
    votes (`reward_model.labels: votes`), where they pull both scores together."""

    @model_validator(mode="before")
    @classmethod
    def _annotators_vote(cls, values: Any) -> Any:
        match values:
            case {"format": {"columns": {"annotator": str()}}} if "repeats" not in values:
                return {**values, "repeats": "votes"}
        return values

    @model_validator(mode="after")
    def _votes_are_no_copies(self) -> "Source":
        if isinstance(self.format, ColumnFormat) and self.format.columns.annotator and self.repeats == "copies":
            raise ValueError("format.columns.annotator has several people label one pair; write `repeats: votes`")
        return self


class FileSource(Source):
    """A raw file, a folder of them, or a glob."""

    path: Annotated[str, Field(min_length=1)]
    """Absolute; from the working folder where it begins with `./` or `../`; else from the folder that the environment
    variable RLHF_DATA names, or the working folder where that is not set."""

    @property
    def begins_here(self) -> bool:
        """Whether it is relative to the working folder, whatever the environment says."""
        return self.path.startswith(("./", "../"))


class HubSource(Source):
    """A data set on the Hugging Face hub at a pinned revision."""

    dataset: HubName
    """Name on the hub, `owner/name`."""
    revision: Revision
    """Full commit hash, so that a run is repeatable."""
    split: Annotated[str, Field(min_length=1)]
    """Split of the data set, such as `train`."""
    data_dir: Annotated[str, Field(min_length=1)] | None = None
    """Folder in the data set; null: all of it."""
    max_rows: Rows | None = Field(default=None, ge=1)
    """First rows that are read; null: all."""


_NEEDED: dict[Kind, str] = {
    "preferences": "`responses`, with a `label`",
    "demonstrations": "`response` or `messages`",
    "prompts": "`prompt`",
}


def gives(kind: Kind) -> AfterValidator:
    """A check that the format of each source, where it is said, exists and gives this kind of data."""

    def check(sources: tuple[Source, ...]) -> tuple[Source, ...]:
        for name in (source.format for source in sources):
            if isinstance(name, ColumnFormat):
                kinds = name.columns.kinds
                if kind not in kinds and not (kind == "demonstrations" and "preferences" in kinds):
                    raise ValueError(f"format.columns gives no {kind}; name a column as {_NEEDED[kind]}")
            elif name is not None and name not in makers(kind):
                problem = "gives no" if name in FORMATS else "is unknown; it must give"
                raise ValueError(f"format '{name}' {problem} {kind}; there are {', '.join(makers(kind))}")
        return sources

    return AfterValidator(check)


class Tables(Frozen):
    """The tables that are read."""

    formats: Annotated[tuple[Path, ...], AfterValidator(load_formats)] = ()
    """Python files that register formats of their own with `data_contracts.formats.adapter`."""


class FileData(Tables):
    """Tables read from files."""

    kind: Literal["files"] = "files"
    """Data from files."""
    demonstrations: Annotated[tuple[FileSource, ...], gives("demonstrations")] = ()
    """Prompts with an answer that people wrote or approved: SFT learns from them. A climb needs at least one."""
    preferences: Annotated[tuple[FileSource, ...], gives("preferences")] = ()
    """Pairs of answers with what people preferred: reward model and judge learn from them. A climb needs one."""
    prompts: Annotated[tuple[FileSource, ...], gives("prompts")] = ()
    """What the policy answers in training and evaluation. A climb needs one."""
    held_out: Annotated[tuple[FileSource, ...], gives("prompts")] = ()
    """Evaluation sets, whose prompts no row may train on; they are compared and not kept."""
    gold: Annotated[tuple[FileSource, ...], gives("preferences")] = ()
    """Gold questions: pairs whose better answer is known. Who labelled the same pairs among the preferences is measured
    by them; they are compared and not kept."""


class HubData(Tables):
    """Tables read from the hub; needs a network."""

    kind: Literal["hub"] = "hub"
    """Data from the Hugging Face hub."""
    demonstrations: Annotated[tuple[HubSource, ...], gives("demonstrations")] = ()
    """Prompts with an answer that people wrote or approved: SFT learns from them. A climb needs at least one."""
    preferences: Annotated[tuple[HubSource, ...], gives("preferences")] = ()
    """Pairs of answers with what people preferred: reward model and judge learn from them. A climb needs one."""
    prompts: Annotated[tuple[HubSource, ...], gives("prompts")] = ()
    """What the policy answers in training and evaluation. A climb needs one."""
    held_out: Annotated[tuple[HubSource, ...], gives("prompts")] = ()
    """Evaluation sets, whose prompts no row may train on; they are compared and not kept."""
    gold: Annotated[tuple[HubSource, ...], gives("preferences")] = ()
    """Gold questions: pairs whose better answer is known. Who labelled the same pairs among the preferences is measured
    by them; they are compared and not kept."""


DataConfig = EmbeddedData | FileData | HubData


Quarantined = Annotated[Share, Field(ge=0.0, le=1.0)]


class TableShares(Frozen):
    """A share for each table."""

    demonstrations: Quarantined = 0.05
    """Of the demonstrations."""
    preferences: Quarantined = 0.05
    """Of the pairs."""
    prompts: Quarantined = 0.05
    """Of the prompts."""


def _shares_tag(shares: object) -> str:
    return "by table" if isinstance(shares, dict | TableShares) else "for all"


class ContractConfig(Frozen):
    """What happens to rows that break a rule of the data contracts."""

    rules: dict[str, Literal["fatal", "quarantine"]] = Field(default_factory=dict)
    """`fatal` or `quarantine` by name of the rule, where it shall differ from what the rule says of itself; a wrong
    name is answered by all that there are."""
    max_quarantined: Annotated[
        Annotated[Quarantined, Tag("for all")] | Annotated[TableShares, Tag("by table")], Discriminator(_shares_tag)
    ] = 0.05
    """Share of a table's records above which quarantined rows refuse the table; a number for all tables, or one by
    table."""
    near_held_out: Similarity | None = Field(default=0.7, ge=0.3, le=1.0)
    """Similarity, that of `flows.data.near_duplicates`, from which on a row may not train on a prompt beside one that
    is held out; null looks for none. Prompts of eleven words of which one differs have .7. Those of the embedded world
    are all made of the same few phrases, and never looked at."""
    tables: Literal["report", "fatal"] = "fatal"
    """Whether a table that is odd as a whole, as where length alone tells which response is chosen, is refused or only
    reported."""
    drift: Literal["report", "fatal"] = "report"
    """Whether a table unlike that of the champion is refused or only reported."""
    raters: RatersConfig = RatersConfig()
    """Whose labels of preferences count, and how much."""

    @model_validator(mode="after")
    def _rules_exist(self) -> "ContractConfig":
        if not self.rules:
            return self
        from data_contracts.schemas.validation import CONTRACTS  # noqa: PLC0415 pandas; most configurations name none

        rules = dict.fromkeys(name for contract in CONTRACTS.values() for name in contract.rules)
        if unknown := [name for name in self.rules if name not in rules]:
            raise ValueError(f"no rule is called {', '.join(unknown)}; there are {', '.join(rules)}")
        return self

    def allowed(self, kind: Kind) -> float:
        """The share of a table's records that may be quarantined."""
        shares = self.max_quarantined
        share: float = getattr(shares, kind) if isinstance(shares, TableShares) else shares
        return share
