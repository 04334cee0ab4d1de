"""Whether MLflow holds what statements say, and states all that it holds."""

from collections.abc import Container, Iterator, Mapping
from typing import Any

from flows.lineage.finding import AuditFinding, AuditStatus
from flows.lineage.holdings import Holdings
from flows.lineage.stated import Stated
from flows.registry.held import (
    CURVES,
    FILES,
    INPUTS,
    kept_curves,
    kept_files,
    linked_statement,
    model_inputs,
    run_address,
)
from flows.registry.names import (
    CHALLENGER,
    CHAMPION,
    ENDS_TAG,
    GATED,
    SNAPSHOT_TAG,
    STAGE_PREFIX,
    STAGE_TAG,
    project_of_model,
)
from flows.registry.runs import FINAL

OF_RUNS = (STAGE_TAG, SNAPSHOT_TAG, "how", "why")
"""Tags of which every run has one that makes, measures, keeps, promotes or withdraws something."""

SHOWN = 3
"""Differences of one thing that a line names."""


def standing_findings(
    holdings: Holdings, stated: Stated, *, deep: bool, within: Container[str] | None = None
) -> Iterator[AuditFinding]:
    """Hold what MLflow has against statements.

    Args:
        holdings: what it has of a project.
        stated: what it must have.
        deep: whether files are read, too.
        within: addresses that are looked at; None for all.
    """
    held = 0
    for address, facets in stated.holds.items():
        if within is not None and address not in within:
            continue
        wrong = list(_against(holdings, address, facets, deep=deep, alone=deep or within is not None))
        if deep and address in holdings.runs:
            wrong += _linked(holdings, address, stated)
        for finding in wrong:
            yield finding._replace(detail=f"{finding.detail}; stated in {stated.since[address]}")
        held += not wrong
    if held:
        what = "with their files" if deep else "without their files"
        yield AuditFinding("registry", "state", "holds", f"{held} versions, models, runs and aliases, {what}")
    for address, facets in holdings.facets.items():
        if (within is None or address in within) and address not in stated.holds and _counts(address, facets, stated):
            yield AuditFinding(_name(address), "statement", "unsigned", "nobody stated that it is so")


def _against(holdings: Holdings, address: str, facets: Any, *, deep: bool, alone: bool) -> Iterator[AuditFinding]:
    """One thing against what is stated of it."""
    of, now = _name(address), holdings.facets.get(address)
    if facets is None or isinstance(facets, str):  # what was removed, and aliases
        if now != facets:
            status: AuditStatus = "missing" if now is None else "altered"
            shown = now if isinstance(now, str) else "gone" if now is None else "there"
            yield AuditFinding(of, "state", status, f"is {shown}, not {facets or 'gone'}")
        return
    if now is None:
        yield AuditFinding(of, "state", "missing", "is not there")
        return
    seen = now | (_costly(holdings, address, facets, deep=deep) if alone else {})
    for name, value in facets.items():
        if name in seen and (detail := _difference(value, seen[name])):
            yield AuditFinding(of, name, "altered", detail)


def _costly(holdings: Holdings, address: str, facets: Mapping[str, Any], *, deep: bool) -> dict[str, Any]:
    """Facets that take a look of their own: models that a run read; the digests of its files and curves."""
    run = holdings.runs.get(address)
    if run is None or FILES not in facets:
        return {}
    costly: dict[str, Any] = {INPUTS: model_inputs(holdings.with_inputs(address))}
    if deep:
        costly |= {FILES: kept_files(run.info.artifact_uri), CURVES: kept_curves(holdings.client, run)}
    return costly


def _linked(holdings: Holdings, address: str, stated: Stated) -> Iterator[AuditFinding]:
    """Whether the copy of a statement that a run has, to which pages link, is one of the log."""
    digest = linked_statement(holdings.runs[address].info.artifact_uri)
    if digest and digest not in stated.digests:
        yield AuditFinding(_name(address), "copy of its statement", "altered", "is none of the log")


def _difference(then: Any, now: Any) -> str:
    """How something differs from what was stated, in words; empty where it does not."""
    if then == now:
        return ""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        names = sorted({*then, *now})
        wrong = [_of_entry(name, then, now) for name in names if then.get(name) != now.get(name)]
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        return "; ".join([*wrong[:SHOWN], *more])
    if isinstance(then, list) and isinstance(now, list):
        gone, new = [item for item in then if item not in now], [item for item in now if item not in then]
        parts = {"removed": gone, "added": new}
        return "; ".join(f"{what}: {_short(items)}" for what, items in parts.items() if items) or "in another order"
    return f"is {_short(now)}, was {_short(then)}"


def _of_entry(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if name not in now:
        return f"{name} is gone, was {_short(then[name])}"
    return f"{name} is {_short(now[name])}, was {_short(then[name])}" if name in then else f"{name} was added"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _counts(address: str, facets: Any, stated: Stated) -> bool:
    """Whether something must be stated: versions, the aliases of the ladder, models and runs that look like its own."""
    kind, _, name = address.partition(" ")
    match kind:
        case "version":
            return True
        case "alias":
            return name.endswith((f"@{CHAMPION}", f"@{CHALLENGER}"))
        case "model":
            ours = project_of_model(facets["name"]) is not None or run_address(facets["run"]) in stated.holds
            return ours and facets["status"] == "READY"
        case "run":
            return run_must_be_stated(name, facets, stated)
    return False


def run_must_be_stated(run_id: str, facets: Any, stated: Stated) -> bool:
    """Whether a run that nobody stated should have been.

    That are those that ended well or say so, and did what the pipeline does or show its figures; moves of an alias,
    which the history believes before they have ended; and whatever judged a version and is in no statement.
    """
    tags = facets["tags"]
    if facets["status"] == "FINISHED" or ENDS_TAG in tags:
        return any(tag in tags for tag in OF_RUNS) or any(metric.startswith(FINAL) for metric in facets["metrics"])
    if "how" in tags and facets["status"] == "RUNNING":
        return True
    return run_id not in stated.named and any(f"{STAGE_PREFIX}{stage}" in tags for stage in GATED)


def _name(address: str) -> str:
    """What an address is of, as other findings name it."""
    kind, _, name = address.partition(" ")
    return name if kind == "version" else address
