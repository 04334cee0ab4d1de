"""What must hold for a table as a whole: Great Expectations suites, kept as readable files in `suites/`."""

import json
from importlib import resources
from typing import Any, NamedTuple

import pandas as pd

from data_contracts.measures import measure
from data_contracts.records import Kind


class Finding(NamedTuple):
    """One expectation of a suite and what the table shows; no row is ever part of it."""

    expectation: str
    column: str
    holds: bool
    observed: str
    expected: str
    reason: str
    mend: str


class Population(NamedTuple):
    """What a suite saw.

    Attributes:
        findings: every expectation of the suite, in its order.
        report: the result of Great Expectations as JSON holds it; aggregates only, no rows.
    """

    findings: tuple[Finding, ...]
    report: dict[str, Any]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The expectations that do not hold."""
        return tuple(item for item in self.findings if not item.holds)


class PopulationViolation(ValueError):
    """A table that breaks its suite; `population` holds what the suite saw."""

    def __init__(self, kind: Kind, population: Population) -> None:
        super().__init__(kind, population)
        self.kind = kind
        self.population = population

    def __str__(self) -> str:
        broken = self.population.broken
        lines = [f"{self.kind} as a whole break their suite: {len(broken)} expectations do not hold"]
        for item in broken:
            lines.append(f"  {item.reason}: {item.column or 'rows'} is {item.observed}, expected {item.expected}")
            lines.append(f"    Mend: {item.mend}.")
        return "\n".join(lines)


def check_population(kind: Kind, frame: pd.DataFrame) -> Population:
    """Run the suite of a kind of data over a table; nothing is kept on disk and nobody is called.

    Args:
        kind: which suite.
        frame: rows that meet their contract, with their split.

    Returns:
        Every expectation with what was observed.

    Raises:
        PopulationViolation: if an expectation does not hold.
    """
    import great_expectations as gx  # noqa: PLC0415 takes 5 s to import
    from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415 as above

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas(kind).add_dataframe_asset(kind)
    whole = asset.add_batch_definition_whole_dataframe(kind)
    batch = whole.get_batch(batch_parameters={"dataframe": measure(kind, frame)})
    outcome: Any = batch.validate(gx.ExpectationSuite(**load_suite(kind)), result_format="BASIC")
    plain = json.dumps(outcome.to_json_dict(), default=lambda scalar: scalar.item())  # NumPy scalars survive in it
    population = Population(tuple(map(_finding, outcome.results)), json.loads(plain))
    if population.broken:
        raise PopulationViolation(kind, population)
    return population


def load_suite(kind: Kind) -> dict[str, Any]:
    """The suite of a kind of data as its file says it."""
    text = resources.files("data_contracts.suites").joinpath(f"{kind}.json").read_text(encoding="utf-8")
    suite: dict[str, Any] = json.loads(text)
    return suite


def _finding(item: Any) -> Finding:
    config = item.expectation_config
    observed = item.result.get("observed_value")
    return Finding(
        expectation=config.type,
        column=str(config.kwargs.get("column", "")),
        holds=bool(item.success),
        observed=_quantiles(observed) if isinstance(observed, dict) else _number(observed),
        expected=_expected(config.kwargs),
        reason=config.meta["reason"],
        mend=config.meta["mend"],
    )


def _expected(kwargs: dict[str, Any]) -> str:
    if "quantile_ranges" in kwargs:
        ranges = kwargs["quantile_ranges"]
        return ", ".join(
            f"quantile {quantile:g} {_bounds(low, high)}"
            for quantile, (low, high) in zip(ranges["quantiles"], ranges["value_ranges"], strict=True)
        )
    return _bounds(kwargs.get("min_value"), kwargs.get("max_value"))


def _bounds(low: float | None, high: float | None) -> str:
    return " and ".join(f"at {end} {value:g}" for end, value in (("least", low), ("most", high)) if value is not None)


def _quantiles(observed: dict[str, list[float]]) -> str:
    pairs = zip(observed["quantiles"], observed["values"], strict=True)
    return ", ".join(f"{_number(value)} at quantile {quantile:g}" for quantile, value in pairs)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
