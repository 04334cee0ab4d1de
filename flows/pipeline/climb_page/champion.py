"""The climb beside what runs today: its figures, those of the champions, and what gates say of both."""

from collections.abc import Iterator

from flows.pipeline.climb_page.climb import Climb, StageRun
from flows.pipeline.climb_page.parts import Part, interval
from flows.promotion.comparison import Comparison
from flows.registry.model_card import KEY_FIGURES
from flows.registry.names import GATED
from flows.report import Sheet
from rlhf_core.gates.champion import OVER_CHAMPION

TODAY = "what runs today"
"""The champion, in words."""


def champion_part(climb: Climb) -> Part:
    """Verdicts against the champion, and the figures of both, on the same rows where they were compared."""
    judged = [verdict for found in climb.verdicts.values() for verdict in found]
    asked = [verdict for verdict in judged if verdict.metric.endswith(OVER_CHAMPION) and verdict.n]
    sentences = [f"{verdict.gate}: {verdict.explanation}." for verdict in asked]
    sheets, missing = [], []
    asked_of = GATED if not climb.rival else [*climb.comparisons]
    for stage in (name for name in asked_of if name in climb.stages):
        champion, made, compared = climb.champions.get(stage), climb.stages[stage], climb.comparisons.get(stage)
        if compared is not None:
            sentences += [f"{compared.on[:1].upper()}{compared.on[1:]}.", *(f"{note}." for note in compared.notes)]
            sheets.append(_compared(stage, compared, climb.other))
        elif champion is None:
            missing.append(f"There is no champion {stage} to compare {made.version.label} with.")
        elif champion.version.label == made.version.label:
            sentences.append(f"{made.version.label} is the champion now.")
        else:
            sheets.append(_beside(stage, made, champion))
            missing.append(f"{made.version.label} was not compared on the same rows: figures are as each was measured.")
    if lines := [(stage, *line.partition(": ")[::2]) for stage, lines in climb.changed.items() for line in lines]:
        sheets.append(Sheet("What went into it", ("model", "what differs", f"here and in {climb.other}"), lines))
    if not climb.stages:
        missing.append("This run reached no model.")
    return Part("champion", f"Is it better than {climb.rival or TODAY}?", sentences, sheets=sheets, missing=missing)


def _compared(stage: str, compared: Comparison, other: str) -> Sheet:
    rows = [
        (
            name.replace("_", " "),
            *("" if one is None else interval(one) for one in (it.challenger, it.champion, it.between)),
        )
        for name, it in compared.figures.items()
    ]
    columns = (stage, "this version", other, "between them")
    return Sheet(stage, columns, rows, columns[1:])


def _beside(stage: str, made: StageRun, champion: StageRun) -> Sheet:
    columns = ("figure", made.version.label, f"champion, {champion.version.label}")
    return Sheet(stage, columns, list(_rows(stage, made, champion)), columns[1:])


def _rows(stage: str, made: StageRun, champion: StageRun) -> Iterator[tuple[str, ...]]:
    for name in KEY_FIGURES.get(stage, ()):
        both = [one.figures.get(name) for one in (made, champion)]
        if any(both):
            yield name.replace("_", " "), *("not measured" if figure is None else interval(figure) for figure in both)
