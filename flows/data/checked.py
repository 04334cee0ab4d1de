"""Tables that met their contracts and suites, before they get their names, and what is to be said of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from data_contracts.records import Kind
from data_contracts.suites.checks import Population
from data_contracts.suites.drift import Profile
from flows.data.audits.rater_report import rater_remarks
from flows.data.audits.source_report import source_remarks
from flows.data.step_timer import Clock
from flows.data.tables import Table
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_quality import LabelWorth
from rlhf_core.metrics.raters import RaterFigures


class Checked(NamedTuple):
    """Tables that met their contracts and suites, still under temporary names.

    Attributes:
        folder: where their files and the Data Docs lie.
        populations: what the suites saw, by the name of the suite.
        worth: what the labels of the preferences are worth, None without preferences.
        estimates: what the prompts are like, and the labels of the source that is agreed with least; as far as known.
        clock: time and memory of each step.
        raters: what is known of each who labelled preferences under a name.
        of_settings: what a person should know of the settings about raters, a sentence each.
    """

    folder: Path
    tables: dict[Kind, Table]
    populations: dict[str, Population]
    profiles: dict[Kind, Profile]
    worth: LabelWorth | None
    estimates: dict[str, Estimate]
    clock: Clock
    raters: Mapping[str, RaterFigures] = {}
    of_settings: tuple[str, ...] = ()

    def broken(self, *, drift: bool) -> tuple[str, ...]:
        """What does not hold of tables that were not refused for it."""
        return tuple(
            f"{name}: {item}"
            for name, seen in self.populations.items()
            if name.endswith("-drift") == drift
            for item in seen.broken
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of the tables, a sentence each."""
        return (
            *self.broken(drift=False),
            *(remark for table in self.tables.values() for remark in table.remarks),
            *(source_remarks(self.worth.sources) if self.worth else ()),
            *rater_remarks(self.raters),
            *self.of_settings,
            *filter(None, (table.special_tokens.remark for table in self.tables.values())),
        )
