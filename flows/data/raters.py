"""Who labelled the preferences of an ingestion: whose votes count, and what is known of each."""

from collections.abc import Callable, Container, Iterable, Iterator

import pandas as pd

from data_contracts.formats.items import Convert
from data_contracts.records import Kind
from flows.config.data import DataConfig
from flows.config.raters import RatersConfig
from flows.data.rater_votes import GatheredVotes, exclusions, unknown_raters
from flows.data.rater_weights import RaterWeights
from flows.data.sources import Read, Spare, as_it_is, gold_questions, open_sources
from flows.data.withdrawn_rows import WithdrawnRows
from rlhf_core.metrics.raters import RaterFigures


class Raters:
    """The raters of the preferences that are read.

    Where somebody may be left out the preferences are read twice, as only all votes show who.

    Args:
        settings: whose votes count.
        open_by: opens every table that has a source, as `open_sources`, by the votes that count.
        gold: pairs whose chosen response is known to be the better one.
    """

    def __init__(
        self,
        settings: RatersConfig,
        open_by: Callable[[Spare], dict[Kind, Iterator[Read]]],
        gold: Iterable[pd.DataFrame] = (),
    ) -> None:
        self._settings, self._open_by, self._gold = settings, open_by, gold
        self._gathered = GatheredVotes()
        self._excluded: dict[str, str] = {}
        self._known: dict[str, RaterFigures] | None = None
        if settings.may_exclude:
            for _ in self._gathered.watch(open_by(as_it_is).get("preferences", ())):
                pass
            self._known = self._gathered.measure(gold)
            self._excluded = exclusions(settings, self._known)

    @classmethod
    def of(
        cls, data: DataConfig, settings: RatersConfig, pinned: Container[str], withdrawn: WithdrawnRows, *, seed: int
    ) -> "Raters":
        """Those of an ingestion, which leaves out what was withdrawn; arguments as of `open_sources`."""

        def open_by(weigh: Spare) -> dict[Kind, Iterator[Read]]:
            def spare(convert: Convert) -> Convert:
                return weigh(withdrawn.spare(convert))

            opened = open_sources(data, seed=seed, pinned=pinned, spare=spare)
            return {kind: withdrawn.leave_out(kind, batches) for kind, batches in opened.items()}

        return cls(settings, open_by, gold_questions(data, pinned))

    def open_tables(self) -> dict[Kind, Iterator[Read]]:
        """The records of every table that has a source, by the votes that count."""
        weights = RaterWeights(self._excluded, self._settings.weights)
        reads = self._open_by(weights.weigh)
        if self._known is None and "preferences" in reads:
            reads["preferences"] = self._gathered.watch(reads["preferences"])
        return reads

    def figures(self) -> dict[str, RaterFigures]:
        """What is known of each rater, after all was read; those who are left out say why."""
        known = self._gathered.measure(self._gold) if self._known is None else self._known
        return {
            name: figures.model_copy(update={"left_out": self._excluded.get(name, "")})
            for name, figures in known.items()
        }

    def remarks(self) -> tuple[str, ...]:
        """What a person should know of the settings and of the gold questions, after `figures`; a sentence each."""
        alone = unknown_raters(self._settings, self._gathered.names)
        count = self._gathered.contradicted
        either = f"data.gold: {count:,} pairs have either response as the better one; they measure nobody: keep one row"
        return (*alone, either) if count else tuple(alone)
