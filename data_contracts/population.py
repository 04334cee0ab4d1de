"""What must hold for a table as a whole: Great Expectations suites, kept as readable files in `suites/`."""

import json
from importlib import resources
from typing import Any, NamedTuple

import pandas as pd

from data_contracts.records import Kind


class Finding(NamedTuple):
    """One expectation of a suite and what the table shows; no row is ever part of it."""

    expectation: str
    column: str
    holds: bool
    observed: float | None
    expected: str
    reason: str
    mend: str


class PopulationViolation(ValueError):
    """A table that breaks its suite; `findings` holds every expectation that does not hold."""

    def __init__(self, kind: Kind, findings: tuple[Finding, ...]) -> None:
        super().__init__(kind, findings)
        self.kind = kind
        self.findings = findings

    def __str__(self) -> str:
        lines = [f"{self.kind} as a whole break their suite: {len(self.findings)} expectations do not hold"]
        for item in self.findings:
            lines.append(f"  {item.reason}: {item.column or 'rows'} is {item.observed}, expected {item.expected}")
            lines.append(f"    Mend: {item.mend}.")
        return "\n".join(lines)


def check_population(kind: Kind, frame: pd.DataFrame) -> tuple[Finding, ...]:
    """Run the suite of a kind of data over a table.

    Args:
        kind: which suite.
        frame: rows that meet their contract.

    Returns:
        Every expectation with what was observed.

    Raises:
        PopulationViolation: if an expectation does not hold.
    """
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    definition = context.data_sources.add_pandas(kind).add_dataframe_asset(kind).add_batch_definition_whole_dataframe(kind)
    suite = context.suites.add(gx.ExpectationSuite(**load_suite(kind)))
    validation = context.validation_definitions.add(gx.ValidationDefinition(name=kind, data=definition, suite=suite))
    checkpoint = gx.Checkpoint(name=kind, validation_definitions=[validation], result_format="BASIC")
    outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": _measured(kind, frame)})
    findings = tuple(_finding(item) for run in outcome.run_results.values() for item in run.results)
    broken = tuple(item for item in findings if not item.holds)
    if broken:
        raise PopulationViolation(kind, broken)
    return findings


def load_suite(kind: Kind) -> dict[str, Any]:
    """The suite of a kind of data as its file says it."""
    text = resources.files("data_contracts.suites").joinpath(f"{kind}.json").read_text(encoding="utf-8")
    suite: dict[str, Any] = json.loads(text)
    return suite


def _measured(kind: Kind, frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the figures that its suite is about, one column each."""
    words = {f"{name}_words": frame[name].str.split().str.len() for name in _texts(kind)}
    measured = frame.assign(**words)
    if kind == "demonstrations":
        starts = [row.response.startswith(row.prompt) for row in frame.itertuples()]
        return measured.assign(response_repeats_prompt=pd.Series(starts, index=frame.index).astype(float))
    if kind == "preferences":
        longer = (measured["chosen_words"] - measured["rejected_words"]).map(lambda d: 0.5 if d == 0 else float(d > 0))
        ties = (frame["votes_chosen"] == frame["votes_rejected"]).astype(float)
        return measured.assign(chosen_is_longer=longer, is_tie=ties)
    return measured


def _texts(kind: Kind) -> tuple[str, ...]:
    return {
        "demonstrations": ("prompt", "response"),
        "preferences": ("prompt", "chosen", "rejected"),
        "prompts": ("prompt",),
    }[kind]


def _finding(item: Any) -> Finding:
    config = item.expectation_config
    low, high = config.kwargs.get("min_value"), config.kwargs.get("max_value")
    return Finding(
        expectation=config.type,
        column=str(config.kwargs.get("column", "")),
        holds=bool(item.success),
        observed=float(item.result["observed_value"]) if "observed_value" in item.result else None,
        expected=" and ".join([f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)),
        reason=config.meta["reason"],
        mend=config.meta["mend"],
    )
