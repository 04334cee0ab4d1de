"""The climb beside what runs today: its figures, those of the champions, and what gates say of both."""

from collections.abc import Iterator

from flows.pipeline.climb_page.climb import Climb, StageRun
from flows.pipeline.climb_page.decision import CHAMPION_FIGURE
from flows.pipeline.climb_page.parts import Part, interval
from flows.registry.model_card import KEY_FIGURES
from flows.registry.names import GATED
from flows.report import Sheet

TITLE = "Is it better than what runs today?"


def champion_part(climb: Climb) -> Part:
    """Verdicts against the champion, then the key figures of both."""
    judged = [verdict for found in climb.verdicts.values() for verdict in found if CHAMPION_FIGURE in verdict.metric]
    sentences = [f"{verdict.gate}: {verdict.explanation}." for verdict in judged]
    sheets, missing = [], []
    for stage in (name for name in GATED if name in climb.stages):
        champion, made = climb.champions.get(stage), climb.stages[stage]
        if champion is None:
            missing.append(f"There is no champion {stage} to compare {made.version.label} with.")
        elif champion.version.label == made.version.label:
            sentences.append(f"{made.version.label} is the champion now.")
        else:
            sheets.append(_beside(stage, made, champion))
    if sheets:
        sentences.append("Both have the figures that they were measured with: prompts, pairs and judges may differ.")
    if sheets and not judged:
        missing.append("No gate compares these versions on the same prompts and pairs.")
    if not climb.stages:
        missing.append("This run reached no model.")
    return Part("champion", TITLE, sentences, sheets=sheets, missing=missing)


def _beside(stage: str, made: StageRun, champion: StageRun) -> Sheet:
    columns = ("figure", made.version.label, f"champion, {champion.version.label}")
    return Sheet(stage, columns, list(_rows(stage, made, champion)), columns[1:])


def _rows(stage: str, made: StageRun, champion: StageRun) -> Iterator[tuple[str, ...]]:
    for name in KEY_FIGURES.get(stage, ()):
        both = [one.figures.get(name) for one in (made, champion)]
        if any(both):
            yield name.replace("_", " "), *("not measured" if figure is None else interval(figure) for figure in both)
