"""Great Expectations checks of a table as a whole, by suites that are kept as readable files in `suites/`."""

import json
import logging
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from data_contracts.records import Kind
from data_contracts.suites.drift import Profile, drift_expectations, source_flags


class SuiteFinding(NamedTuple):
    """One expectation of a suite and what the table shows; no row is ever part of it."""

    expectation: str
    column: str
    holds: bool
    observed: str
    expected: str
    reason: str
    mend: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.column or 'rows'} is {self.observed}, expected {self.expected}"


class Population(NamedTuple):
    """What a suite saw.

    Attributes:
        findings: every expectation of the suite, in its order.
        report: the result of Great Expectations as JSON holds it; aggregates only, no rows.
    """

    findings: tuple[SuiteFinding, ...]
    report: dict[str, Any]

    @property
    def broken(self) -> tuple[SuiteFinding, ...]:
        """The expectations that do not hold."""
        return tuple(item for item in self.findings if not item.holds)


class PopulationViolation(ValueError):
    """A table that breaks a suite; `population` holds what the suite saw."""

    def __init__(self, suite: str, population: Population) -> None:
        super().__init__(suite, population)
        self.suite = suite
        self.population = population

    def __str__(self) -> str:
        broken = self.population.broken
        lines = [f"suite {self.suite}: {len(broken)} expectations on the table as a whole do not hold"]
        for item in broken:
            lines.append(f"  {item}")
            lines.append(f"    Mend: {item.mend}.")
        setting = "drift" if self.suite.endswith("-drift") else "tables"
        lines.append(f"  To take such data and only be told: contract: {{{setting}: report}}")
        return "\n".join(lines)


class Suites:
    """Great Expectations over the numbers of tables, one checkpoint each; nobody is called.

    Its Data Docs lie in a folder and show numbers only.
    """

    def __init__(self, docs: Path) -> None:
        import great_expectations as gx  # noqa: PLC0415 takes 5 s to import
        from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415 as above

        self._gx, self._docs = gx, docs
        self._context = gx.get_context(mode="ephemeral")
        self._context.enable_analytics(False)
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        for name in list(self._context.get_site_names()):
            self._context.delete_data_docs_site(name)
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)}
        index = {"class_name": "DefaultSiteIndexBuilder"}
        site: Any = {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index}
        self._context.add_data_docs_site(site_name="docs", site_config=site)
        self._source = self._context.data_sources.add_pandas("tables")

    def check(self, kind: Kind, numbers: pd.DataFrame) -> Population:
        """Run the suite of a kind of data.

        Args:
            kind: which suite.
            numbers: from `data_contracts.suites.measures.gather`.

        Returns:
            Every expectation with what was observed, whether it holds or not.
        """
        return self._run(str(kind), load_suite(kind), numbers.drop(columns="source"))

    def check_drift(self, kind: Kind, numbers: pd.DataFrame, champion: Profile) -> Population:
        """Hold a table against the one that the champion was trained on.

        Args:
            kind: which kind of data.
            numbers: as for `check`.
            champion: the profile of the champion's table.
        """
        suite = {"name": f"{kind}-drift", "expectations": drift_expectations(champion, len(numbers))}
        return self._run(f"{kind}-drift", suite, source_flags(numbers, list(champion["sources"])))

    def build_docs(self) -> None:
        """Write the Data Docs of all that was checked, without 4 MB of animations and fonts that no page names."""
        self._context.build_data_docs()
        for unused in (*self._docs.glob("static/**/*.gif"), *self._docs.glob("static/**/*.otf")):
            unused.unlink()

    def _run(self, name: str, suite: dict[str, Any], numbers: pd.DataFrame) -> Population:
        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        expectations = self._context.suites.add(self._gx.ExpectationSuite(**suite))
        definition = self._gx.ValidationDefinition(name=name, data=batch, suite=expectations)
        checkpoint = self._gx.Checkpoint(
            name=name,
            validation_definitions=[self._context.validation_definitions.add(definition)],
            result_format="BASIC",
        )
        ran: Any = self._context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": numbers})
        logging.captureWarnings(False)  # as which its import takes the warnings of the whole process from people
        (outcome,) = ran.run_results.values()
        plain = json.dumps(outcome.to_json_dict(), default=lambda scalar: scalar.item())  # NumPy scalars survive in it
        return Population(tuple(map(_finding, outcome.results)), json.loads(plain))


def load_suite(kind: Kind) -> dict[str, Any]:
    """The suite of a kind of data as its file says it."""
    text = resources.files("data_contracts.suites").joinpath(f"{kind}.json").read_text(encoding="utf-8")
    suite: dict[str, Any] = json.loads(text)
    return suite


def _finding(item: Any) -> SuiteFinding:
    config = item.expectation_config
    return SuiteFinding(
        expectation=config.type,
        column=str(config.kwargs.get("column", "")),
        holds=bool(item.success),
        observed=_observed(item.result),
        expected=_expected(config.kwargs),
        reason=config.meta["reason"],
        mend=config.meta["mend"],
    )


def _observed(result: dict[str, Any]) -> str:
    if "unexpected_percent" in result:
        return f"in bounds for {100 - result['unexpected_percent']:.4g} %"
    value = result.get("observed_value")
    return "unknown" if value is None else _number(value)


def _expected(kwargs: dict[str, Any]) -> str:
    ends = (("least", kwargs.get("min_value")), ("most", kwargs.get("max_value")))
    bounds = " and ".join(f"at {end} {_number(value)}" for end, value in ends if value is not None)
    return f"{bounds} for {kwargs['mostly']:.0%}" if "mostly" in kwargs else bounds


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
