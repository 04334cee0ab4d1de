"""The part of the configuration that says where data come from and what happens to rows that break a rule."""

import runpy
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from data_contracts.formats.registry import FORMATS, makers
from data_contracts.records import Kind
from data_contracts.schemas.validation import CONTRACTS
from rlhf_core.config import Frozen
from rlhf_core.embedded_world.data import WorldConfig


class Shares(Frozen):
    """How groups are divided; the rest is for training.

    A group lies at the same place of the hash in every table, so that one held out of a table is held out of all.
    """

    test: float = Field(default=0.15, gt=0.0, lt=1.0)
    """Share of the groups that nothing is trained on: every figure comes from them."""
    judge: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the groups whose preferences train the judge alone; their prompts and demonstrations train as any."""

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> "Shares":
        if self.test + self.judge >= 1.0:
            raise ValueError("test and judge shares leave nothing to train on: let them sum to less than 1")
        return self


HubName = Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")]

Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", description="full commit hash, so that a run is repeatable")]

EmbeddedData = WorldConfig


def load_formats(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Run Python files, which register formats.

    Raises:
        ValueError: naming a file that does not run.
    """
    for path in paths:
        try:
            runpy.run_path(str(path))
        except Exception as error:
            raise ValueError(f"{path} does not run ({type(error).__name__}: {error})") from None
    return paths


class Source(Frozen):
    """How the rows of a source are understood.

    Attributes:
        format: a name from `data_contracts.formats`; without it, each file's first row is recognised.
        repeats: what several rows on one pair are: copies of one, or the votes of several people.
        synthetic: whether rows marked `synthetic` may be used.
        ties: what becomes of pairs of which nobody knows the better response. Kept ones tell something to what learns
            from votes (`reward_model.labels: votes`), where they pull both scores together.
    """

    format: str | None = None
    repeats: Literal["copies", "votes"] = "copies"
    synthetic: bool = False
    ties: Literal["leave_out", "keep"] = "leave_out"


class FileSource(Source):
    """A raw file, a folder of them, or a glob.

    Attributes:
        path: relative to the folder that the environment variable RLHF_DATA names, or absolute.
    """

    path: str


class HubSource(Source):
    """A data set on the Hugging Face hub at a pinned revision."""

    dataset: HubName
    revision: Revision
    split: str
    data_dir: str | None = None
    max_rows: int | None = Field(default=None, ge=1)


def gives(kind: Kind) -> AfterValidator:
    """A check that the format of each source, where it is named, exists and gives this kind of data."""

    def check(sources: tuple[Source, ...]) -> tuple[Source, ...]:
        for name in (source.format for source in sources):
            if name is not None and name not in makers(kind):
                problem = "gives no" if name in FORMATS else "is unknown; it must give"
                raise ValueError(f"format '{name}' {problem} {kind}; there are {', '.join(makers(kind))}")
        return sources

    return AfterValidator(check)


class Tables(Frozen):
    """The tables that are read.

    Attributes:
        formats: Python files that register formats of their own with `data_contracts.formats.adapter`.
        held_out: sources of evaluation sets, whose prompts no row may train on; they are compared and not kept.
    """

    formats: Annotated[tuple[Path, ...], AfterValidator(load_formats)] = ()


class FileData(Tables):
    """Tables read from files."""

    kind: Literal["files"] = "files"
    demonstrations: Annotated[tuple[FileSource, ...], gives("demonstrations")] = ()
    preferences: Annotated[tuple[FileSource, ...], gives("preferences")] = ()
    prompts: Annotated[tuple[FileSource, ...], gives("prompts")] = ()
    held_out: Annotated[tuple[FileSource, ...], gives("prompts")] = ()


class HubData(Tables):
    """Tables read from the hub; needs a network."""

    kind: Literal["hub"] = "hub"
    demonstrations: Annotated[tuple[HubSource, ...], gives("demonstrations")] = ()
    preferences: Annotated[tuple[HubSource, ...], gives("preferences")] = ()
    prompts: Annotated[tuple[HubSource, ...], gives("prompts")] = ()
    held_out: Annotated[tuple[HubSource, ...], gives("prompts")] = ()


DataConfig = EmbeddedData | FileData | HubData


Share = Annotated[float, Field(ge=0.0, le=1.0)]


class TableShares(Frozen):
    """A share for each table."""

    demonstrations: Share = 0.05
    preferences: Share = 0.05
    prompts: Share = 0.05


def _shares_tag(shares: object) -> str:
    return "by table" if isinstance(shares, dict | TableShares) else "for all"


class ContractConfig(Frozen):
    """What happens to rows that break a rule of the data contracts.

    Attributes:
        rules: `fatal` or `quarantine` by name of the rule, where it shall differ from what the rule says of itself.
        max_quarantined: share of a table's records above which quarantined rows refuse the table; a number for all
            tables, or one by table.
        near_held_out: similarity, that of `flows.data.near_duplicates`, from which on a row may not train on a prompt
            beside one that is held out; null looks for none. Prompts of eleven words of which one differs have .7.
            Those of the embedded world are all made of the same few phrases, and never looked at.
        drift: whether a table unlike that of the champion is refused or only reported.
    """

    rules: dict[str, Literal["fatal", "quarantine"]] = Field(default_factory=dict)
    max_quarantined: Annotated[
        Annotated[Share, Tag("for all")] | Annotated[TableShares, Tag("by table")], Discriminator(_shares_tag)
    ] = 0.05
    near_held_out: float | None = Field(default=0.7, ge=0.3, le=1.0)
    drift: Literal["report", "fatal"] = "report"

    @model_validator(mode="after")
    def _rules_exist(self) -> "ContractConfig":
        rules = dict.fromkeys(name for contract in CONTRACTS.values() for name in contract.rules)
        if unknown := [name for name in self.rules if name not in rules]:
            raise ValueError(f"no rule is called {', '.join(unknown)}; there are {', '.join(rules)}")
        return self

    def allowed(self, kind: Kind) -> float:
        """The share of a table's records that may be quarantined."""
        shares = self.max_quarantined
        share: float = getattr(shares, kind) if isinstance(shares, TableShares) else shares
        return share
