"""The HTML report on ingested data: counts, quarantine, quality of labels and prompts."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.markup import escape

from data_contracts.records import Kind
from data_contracts.schemas.validation import Violation
from data_contracts.suites.checks import Population
from data_contracts.suites.drift import Profile
from flows.data.audits import rater_report
from flows.data.audits.label_report import (
    FEATURES_NOTE,
    FLOORS,
    balance_title,
    effect_sheet,
    floor_sheet,
    noise_note,
    noise_sheet,
    odds_figure,
    sample,
    sentences,
)
from flows.data.audits.prompt_report import NOTE, prompt_sheet
from flows.data.audits.rater_report import rater_sheet
from flows.data.audits.source_report import SOURCES_NOTE, source_sheet
from flows.data.step_timer import Clock
from flows.registry.names import WITHDRAWN_REASON
from flows.registry.references import Counts, DataRefs
from flows.report import Sheet, Terminal, for_terminal, format_estimate, templates
from rlhf_core.metrics.estimates import Estimate, proportion
from rlhf_core.metrics.label_quality import LabelWorth

FILES_SHOWN = 20

EXAMPLES_SHOWN = 3

SHARES = {
    "chosen_is_longer": "the longer response is chosen (equal length counts half)",
    "is_tie": "as many votes for one response as for the other",
    "majority": "share of the votes that the chosen response got",
    "copies": "other rows with the same texts, whatever became of them",
    "is_held_out": "held out",
}


class Section(NamedTuple):
    """A part of the page; `png` is a picture as base64, empty without."""

    title: str
    paragraphs: Sequence[str]
    sheets: Sequence[Sheet]
    png: str = ""


class Examined(NamedTuple):
    """What was seen of the data besides counts.

    Attributes:
        examples: the first rows that break each rule.
        profiles: numbers of the tables.
        populations: what the suites saw, by the name of the suite.
        clock: time and memory of each step.
    """

    examples: Mapping[Kind, Sequence[Violation]]
    profiles: Mapping[Kind, Profile]
    populations: Mapping[str, Population]
    clock: Clock


def write_page(refs: DataRefs, seen: Examined, project: str, path: Path) -> None:
    """Write the page as one HTML file; it shows counts, places and names of rules, never a text of the data."""
    worth = refs.labels
    sections = [
        Section("Tables", [], [_snapshots(refs), _rows(refs)]),
        Section("What was set aside", _aside_notes(refs), [_aside(refs), _examples(seen.examples)]),
        *(_label_sections(worth) if worth else []),
        *(
            [Section("Sources of labels", [SOURCES_NOTE], [source_sheet(worth.sources)])]
            if worth and worth.sources
            else []
        ),
        *([Section("Who labelled", [rater_report.NOTE], [rater_sheet(refs.raters)])] if refs.raters else []),
        *([Section("What the prompts are like", [NOTE], [prompt_sheet(refs.estimates)])] if refs.estimates else []),
        Section("What the tables look like", [], [_lengths(seen.profiles), _shares(seen.profiles)]),
        Section("Checks on the tables as a whole", [_SUITES_NOTE], [_suites(seen.populations)]),
        Section("Where the records come from", [], [_files(refs)]),
        Section("What it took", [], [_steps(seen.clock)]),
    ]
    page = templates("flows.data").get_template("page.html")
    html = page.render(
        title=f"Data of {project}",
        lead="Every record was written, merged with others or quarantined. This page shows no text of the data.",
        short=_in_short(refs, seen.populations),
        alarm=bool(refs.drift or refs.remarks),
        sections=sections,
    )
    path.write_text(html, encoding="utf-8")


def show(refs: DataRefs) -> None:
    """Print what became of all rows and what labels and prompts are worth, and where the page lies."""
    console = Terminal(highlight=False)
    console.print(render(refs))
    console.print(f"\nreport: {Path(refs.report) / 'report.html'}", soft_wrap=True)


def render(refs: DataRefs) -> Group:
    """Lay out what became of all rows and what labels and prompts are worth, for a terminal."""
    sheets = [_snapshots(refs), _rows(refs), _aside(refs), _files(refs)]
    if refs.labels:
        sheets += [noise_sheet(refs.labels), floor_sheet(refs.labels), effect_sheet(refs.labels.effects)]
        if refs.labels.sources:
            sheets.append(source_sheet(refs.labels.sources))
    if refs.raters:
        sheets.append(rater_sheet(refs.raters))
    if refs.estimates:
        sheets.append(prompt_sheet(refs.estimates))
    parts: list[RenderableType] = [for_terminal(sheet) for sheet in sheets if sheet.rows]
    said = [*(("drift", line) for line in refs.drift), *(("warning", line) for line in refs.remarks)]
    return Group(*parts, *map(escape, refs.growth), *(f"[yellow]{what}[/yellow] {escape(line)}" for what, line in said))


def _in_short(refs: DataRefs, populations: Mapping[str, Population]) -> list[str]:
    lines = [_fate(kind, counts) for kind, counts in refs.counts.items()]
    if worth := refs.labels:
        best = max(worth.floors, key=lambda name: worth.floors[name].value)
        lines += [
            _ceilings(worth.noise),
            f"The best trivial rule, {FLOORS[best]}, agrees with {format_estimate(worth.floors[best])} of the labels.",
        ]
    count = sum(len(seen.findings) for seen in populations.values())
    broken = [item for seen in populations.values() for item in seen.broken]
    lines.append(f"Of {count} checks on the tables as a whole, {len(broken)} do not hold." if broken else _all(count))
    remarks = [f"Look at {line}." for line in refs.remarks]
    lines += [f"{line[:1].upper()}{line[1:]}." for line in refs.growth]
    return [*lines, *remarks, *(f"Unlike the champion's data: {line}." for line in refs.drift)]


def _ceilings(noise: Mapping[str, Estimate]) -> str:
    single, held_out = (noise.get(name) for name in ("ceiling", "held_out_ceiling"))
    if single is None:
        return "How often a perfect judge would agree with one annotator is unknown, as no pair has three votes."
    shares = [f"with one annotator on {format_estimate(single)} of the pairs"]
    if held_out:
        shares.append(f"with the held-out labels, each the majority of its votes, on {format_estimate(held_out)}")
    return f"A perfect judge would agree {', and '.join(shares)}."


def _all(count: int) -> str:
    return f"All {count} checks on the tables as a whole hold."


def _fate(kind: str, counts: Counts) -> str:
    share = counts.quarantined / max(counts.records, 1)
    into = "votes" if kind == "preferences" else "the same of other rows"
    merged = f", {counts.merged:,} merged into {into}" if counts.merged else ""
    no_records = sum(counts.left_out.values()) - counts.withdrawn
    left = f"; {no_records:,} parts of rows or files are no records" if no_records else ""
    left += f"; {counts.withdrawn:,} were left out as their data were withdrawn" if counts.withdrawn else ""
    return (
        f"{kind.capitalize()}: {counts.rows:,} raw rows gave {counts.records:,} records, of which {counts.written:,} "
        f"are used{merged} and {counts.quarantined:,} ({share:.1%}) set aside{left}."
    )


def _snapshots(refs: DataRefs) -> Sheet:
    splits = ("train", "judge", "test")
    rows = [
        (ref.name, ref.digest[:12], ref.contract, *(f"{ref.splits.get(name, 0):,}" for name in splits))
        for ref in refs.tables
    ]
    return Sheet("snapshots", ("table", "digest", "contract", *splits), rows, splits)


def _rows(refs: DataRefs) -> Sheet:
    fates = ("raw rows", "records", "written", "merged", "quarantined")
    rows = []
    for kind, counts in refs.counts.items():
        numbers = (counts.rows, counts.records, counts.written, counts.merged, counts.quarantined)
        rows.append((kind, *(f"{number:,}" for number in numbers)))
    return Sheet("records = written + merged + quarantined", ("table", *fates), rows, fates)


def _aside(refs: DataRefs) -> Sheet:
    rows = []
    for kind, counts in refs.counts.items():
        for what, reasons, total in (
            ("quarantined", counts.by_rule, counts.records),
            ("left out", counts.left_out, None),
        ):
            for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
                named = reason if reason.startswith(WITHDRAWN_REASON) else f"{what}: {reason}"
                rows.append((kind, named, f"{count:,}", f"{count / total:.1%}" if total else ""))
    return Sheet("not used", ("table", "what", "count", "of records"), rows, ("count", "of records"))


def _aside_notes(refs: DataRefs) -> list[str]:
    if not any(counts.by_rule or counts.left_out for counts in refs.counts.values()):
        return ["Nothing was set aside."]
    return [
        "A record that breaks several rules is counted for each. All of them lie in quarantine.csv, in the folder of "
        "their table, with file, row, rule, mend and the record itself.",
    ]


def _examples(examples: Mapping[Kind, Sequence[Violation]]) -> Sheet:
    rows: list[Sequence[str]] = []
    for kind, violations in examples.items():
        for rule in dict.fromkeys(item.rule for item in violations):
            for item in [other for other in violations if other.rule == rule][:EXAMPLES_SHOWN]:
                rows.append((kind, rule, item.source, str(item.row or ""), item.field, item.reason, item.mend))
    columns = ("table", "rule", "file", "row", "field", "what is wrong", "mend")
    return Sheet(f"the first {EXAMPLES_SHOWN} rows that break each rule", columns, rows, ("row",))


def _label_sections(worth: LabelWorth) -> list[Section]:
    seen = [f"{line[0].upper()}{line[1:]}." for line in sentences(worth.effects)]
    tables = [effect_sheet(worth.effects)]
    offer = "Length cannot be balanced: among pairs of unequal length the same side is always chosen."
    if worth.balanced:
        offer = f"Below it, the same as a climb with reward_model.balance: {worth.balanced.how} would train on it."
        tables.append(effect_sheet(worth.balanced.effects)._replace(title=balance_title(worth.balanced)))
    return [
        Section("How noisy the labels are", [noise_note(worth)], [noise_sheet(worth)]),
        Section("What a reward model must beat", [sample(worth)], [floor_sheet(worth)]),
        Section("What predicts the label on the surface", [*seen, FEATURES_NOTE, offer], tables, _png(worth)),
    ]


def _png(worth: LabelWorth) -> str:
    picture = io.BytesIO()
    odds_figure(worth).savefig(picture, format="png", dpi=130)
    return base64.b64encode(picture.getvalue()).decode()


def _files(refs: DataRefs) -> Sheet:
    rows = []
    for kind, counts in refs.counts.items():
        sources = list(counts.sources.items())
        rows += [(kind, name, f"{count:,}") for name, count in sources[:FILES_SHOWN]]
        if len(sources) > FILES_SHOWN:
            rows.append((kind, f"and {len(sources) - FILES_SHOWN} more", ""))
    return Sheet("records used, by file", ("table", "file or data set", "records"), rows, ("records",))


def _lengths(profiles: Mapping[Kind, Profile]) -> Sheet:
    rows = [
        (kind, name.removesuffix("_words"), *(f"{number:,.0f}" for number in quantiles))
        for kind, profile in profiles.items()
        for name, quantiles in profile["quantiles"].items()
    ]
    ends = ("5 % have fewer than", "median", "5 % have more than")
    return Sheet("words", ("table", "text", *ends), rows, ends)


def _shares(profiles: Mapping[Kind, Profile]) -> Sheet:
    rows = []
    for kind, profile in profiles.items():
        for name, mean in profile["means"].items():
            share = proportion(round(mean * profile["rows"]), profile["rows"]) if name == "chosen_is_longer" else None
            interval = f"{share.lower:.3f} to {share.upper:.3f}" if share else ""
            rows.append((kind, SHARES[name], f"{mean:.3f}", interval))
    numbers = ("mean", "95 % interval")
    return Sheet("shares", ("table", "what", *numbers), rows, numbers)


_SUITES_NOTE = "By Great Expectations; its own pages lie in docs/, beside this one."


def _suites(populations: Mapping[str, Population]) -> Sheet:
    rows = [
        (name, item.reason, item.column, item.observed, item.expected, "holds" if item.holds else "broken")
        for name, population in populations.items()
        for item in population.findings
    ]
    columns = ("suite", "what would be wrong", "column", "observed", "expected", "")
    return Sheet("expectations", columns, rows)


def _steps(clock: Clock) -> Sheet:
    rows = [(name, f"{seconds:.2f}", f"{clock.peak_mib[name]:,.0f}") for name, seconds in clock.seconds.items()]
    numbers = ("seconds", "largest memory so far, MiB")
    return Sheet("steps", ("step", *numbers), rows, numbers)
