"""The data of a climb on the page: where they come from, what was set aside, what their labels are worth."""

from collections.abc import Iterator, Mapping

from flows.lineage.training_record import DatasetUse
from flows.pipeline.climb_page.charts import ranges
from flows.pipeline.climb_page.climb import Climb
from flows.pipeline.climb_page.parts import Chart, Part, interval, percent
from flows.report import Sheet

TITLE = "What was it made from?"

SOURCES_SHOWN = 4


def data_part(climb: Climb) -> Part:
    """Tables, quarantine, and what labels and prompts are like."""
    missing = []
    if climb.worth is None:
        missing.append("What the labels are worth was not kept.")
    elif not climb.worth.noise:
        missing.append("How often annotators agree is unknown: no pair has two votes.")
    tables = _tables(climb)
    if not tables.rows:
        missing.append("No run of this climb names its tables.")
    return Part("data", TITLE, list(_said(climb)), list(_charts(climb)), [tables], missing=missing)


def uses(climb: Climb) -> dict[str, DatasetUse]:
    """Every table that a stage of the climb read, by digest."""
    found: dict[str, DatasetUse] = {}
    for stage in climb.stages.values():
        for use in stage.training.uses.values() if stage.training else ():
            found[use.digest] = use
    return found


def _said(climb: Climb) -> Iterator[str]:
    yield from (f"{line[:1].upper()}{line[1:]}." for line in climb.growth)
    aside = [(use, use.counts) for use in uses(climb).values() if use.counts is not None]
    for use, counts in aside:
        rules = ", ".join(f"{rule} {count}" for rule, count in counts.by_rule.items())
        if counts.withdrawn:
            yield f"Of {use.name} {counts.withdrawn:,} rows or votes were left out, as their data were withdrawn."
        if counts.quarantined:
            yield f"Of {counts.records:,} records of {use.name} {counts.quarantined:,} were set aside ({rules})."
    if aside and not any(counts.quarantined for _, counts in aside):
        yield "No record was set aside."
    if climb.worth is not None and (ceiling := climb.worth.noise.get("held_out_ceiling")):
        yield f"A perfect judge would agree with {percent(ceiling)} of the held-out labels, majorities of votes."
    if climb.worth is not None and (bag := climb.worth.floors.get("bag_of_words")):
        yield f"A bag of words that never sees the prompt agrees with {percent(bag)}."
    if repeated := climb.data.get("prompt_near_duplicate_share"):
        yield f"Of the prompts {percent(repeated)} nearly repeat another one."
    if least := climb.data.get("least_source_agreement"):
        yield f"Of each source of labels the words of the others agree with {interval(least)} at least."
    if shift := climb.data.get("prompt_shift_auc"):
        yield f"Words tell prompts from those of the pairs with an area of {interval(shift)}: .5 not at all, 1 always."


def _tables(climb: Climb) -> Sheet:
    columns = ("table", "digest", "rows", "set aside", "from")
    rows = [_table(use) for use in sorted(uses(climb).values(), key=lambda use: use.name)]
    return Sheet("Tables", columns, rows, ("rows", "set aside"))


def _table(use: DatasetUse) -> tuple[str, ...]:
    sources: Mapping[str, int] = use.counts.sources if use.counts else dict.fromkeys(use.sources, 0)
    named = [f"{name} {count:,}" if count else name for name, count in sources.items()]
    more = f" and {len(named) - SOURCES_SHOWN} more" if len(named) > SOURCES_SHOWN else ""
    aside = "unknown" if use.counts is None else f"{use.counts.quarantined:,}"
    return use.name, use.digest[:12], f"{use.rows:,}", aside, ", ".join(named[:SOURCES_SHOWN]) + more


def _charts(climb: Climb) -> Iterator[Chart]:
    if climb.worth is not None and climb.worth.effects:
        rows = [(name, effect.others_equal) for name, effect in climb.worth.effects.items()]
        how = (
            "What makes a response be preferred on the surface, all else equal. A ratio of 2 means that of two "
            "responses the one with more of it wins twice as often; the dashed line is no influence."
        )
        yield Chart("What annotators fall for", ranges(rows, "odds ratio", rule=1.0, log=True), how)
