"""The limits of what is known of a version: what no gate could tell, and what held-out rows do not cover."""

from collections.abc import Iterator

from flows.papers.dossier import Dossier, VersionDossier
from flows.report import format_detectable
from rlhf_core.gates.gate import Verdict

LUCKY = 0.2
"""Chance of another verdict on another sample from which a pass is told to be a close one."""


def limits(dossier: Dossier) -> list[str]:
    """What a reader must not take for known, the gravest first."""
    subject = dossier.subject
    return [
        *_gone(dossier),
        *(f"It, or what it stands on, was trained on data that were withdrawn: {said}." for said in dossier.withdrawn),
        *_gates(subject),
        *_rows(dossier),
        *_labels(dossier),
        *_origin(subject),
    ]


def _gone(dossier: Dossier) -> Iterator[str]:
    for label in dossier.missing:
        yield f"{label}, which it stands on, is gone from the registry."
    for each in dossier.versions:
        if each.training is None:
            yield f"The run that made {each.version.label} is gone, and with it what was measured of it."


def _gates(subject: VersionDossier) -> Iterator[str]:
    verdicts = subject.verdicts
    if not verdicts:
        yield "No gate has judged it."
    for verdict in verdicts:
        if verdict.status == "fail":
            yield f"Gate {verdict.gate} failed: {verdict.explanation}."
    for verdict in verdicts:
        if verdict.status == "abstain":
            yield f"Gate {verdict.gate} abstained: {verdict.explanation}."
    for verdict in verdicts:
        if verdict.status == "pass" and verdict.luck is not None and verdict.luck >= LUCKY:
            yield _close(verdict)
    if unmeasured := [verdict.gate for verdict in verdicts if verdict.status == "pass" and not verdict.n]:
        yield f"Gates that passed though their figure was not measured: {', '.join(unmeasured)}."


def _close(verdict: Verdict) -> str:
    shown = format_detectable(verdict)
    least = f"; so small a sample shows no distance below {shown}" if shown else ""
    return f"Gate {verdict.gate} passed closely: {verdict.luck:.0%} of other samples of {verdict.n} would fail{least}."


def _rows(dossier: Dossier) -> Iterator[str]:
    measured = [verdict.n for verdict in dossier.subject.verdicts if verdict.n]
    if measured:
        least, most = min(measured), max(measured)
        number = str(least) if least == most else f"{least} to {most}"
        yield f"Its verdicts rest on {number} independent held-out samples."
    sources = sorted({source for each in dossier.datasets for source in each.use.sources})
    if sources:
        named = ", ".join(sources[:4]) + (f" and {len(sources) - 4} more" if len(sources) > 4 else "")
        yield (
            f"Held-out rows were drawn from the same sources as those it learned from ({named}): what people ask "
            "elsewhere, in other languages, or try in order to harm, is not measured by them."
        )
    for each in dossier.datasets:
        if each.use.counts is None:
            yield f"No sound report says what became of the raw rows of {each.use.name} {each.use.digest[:12]}."


def _labels(dossier: Dossier) -> Iterator[str]:
    for each in dossier.datasets:
        if each.worth is not None and not each.worth.noise:
            yield f"How far annotators of {each.use.name} agree is unknown: no pair has two votes."
    if unstated := sorted({each.use.name for each in dossier.datasets if "not stated" in each.licences}):
        yield f"Nobody stated a licence of {', '.join(unstated)}."


def _origin(subject: VersionDossier) -> Iterator[str]:
    if subject.version.trained_by:
        yield f"It was trained elsewhere by {subject.version.trained_by}, on data that no registry here knows."
    if subject.training is not None and subject.training.dirty:
        yield "The code that made it had changes that no commit holds; its digest stands in the key of the stage."
