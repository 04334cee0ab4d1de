"""The cover of a bundle: one page of HTML that tells in two minutes what a version is and what speaks for it."""

from collections.abc import Iterator

from flows.lineage.story import SHORT, facts, when
from flows.papers.card import NOISE
from flows.papers.contributors import rater_lines
from flows.papers.dossier import DatasetDossier, Dossier, VersionDossier
from flows.papers.limits import limits
from flows.registry.model_card import KEY_FIGURES
from flows.report import Sheet, format_estimate, templates

LOOKS = {"pass": "good", "fail": "bad", "abstain": "open"}

WORDS = {"pass": "passed", "fail": "failed", "abstain": "abstained"}

SOURCES_NAMED = 4


def cover_page(dossier: Dossier, words: str = "") -> str:
    """The page: self-contained, without scripts; what people and data say stays text.

    Args:
        dossier: what is recorded.
        words: what a person says of the model, in Markdown, shown as they wrote it.
    """
    subject = dossier.subject
    page = templates("flows.papers").get_template("cover.html")
    return page.render(
        version=subject.version,
        what=next((line for line in subject.version.description.splitlines() if line), ""),
        registered=when(subject.version.created),
        verdict=_verdict(subject),
        colour=_colour(subject),
        words=words,
        limits=limits(dossier),
        figures=_figures(subject),
        gates=subject.verdicts,
        tables=_tables(dossier),
        labels=list(_labels(dossier)),
        versions=_versions(dossier),
        making=[fact for fact in facts(subject.version, subject.training) if fact[0] != "gates"],
    )


def _verdict(subject: VersionDossier) -> str:
    """What gates said together, in a sentence."""
    if not subject.verdicts:
        return "No gate has judged this version."
    counts = {
        word: sum(verdict.status == status for verdict in subject.verdicts)
        for status, word in WORDS.items()
        if any(verdict.status == status for verdict in subject.verdicts)
    }
    said = ", ".join(f"{count} {word}" for word, count in counts.items())
    return f"Gates: {said}."


def _colour(subject: VersionDossier) -> str:
    """The colour of that sentence, by the worst of them."""
    statuses = {verdict.status for verdict in subject.verdicts}
    return next((LOOKS[status] for status in ("fail", "abstain", "pass") if status in statuses), "open")


def _figures(subject: VersionDossier) -> Sheet:
    names = [name for name in KEY_FIGURES.get(subject.stage, ()) if name in subject.figures]
    rows = [(name, format_estimate(subject.figures[name]), f"{subject.figures[name].n:,}") for name in names]
    return Sheet("", ("figure", "value [95 % interval]", "samples"), rows, ("samples",))


def _tables(dossier: Dossier) -> Sheet:
    columns = ("table", "rows", "from", "licence", "set aside", "digest")
    return Sheet("", columns, [_table(each) for each in dossier.datasets], ("rows", "set aside"))


def _table(each: DatasetDossier) -> tuple[str, ...]:
    use, counts, sources = each.use, each.use.counts, each.use.sources
    more = f" and {len(sources) - SOURCES_NAMED} more" if len(sources) > SOURCES_NAMED else ""
    rules = ", ".join(f"{rule} {count:,}" for rule, count in counts.by_rule.items()) if counts else ""
    aside = "unknown" if counts is None else f"{counts.quarantined:,} of {counts.records:,}"
    named = ", ".join(sources[:SOURCES_NAMED]) + more
    return use.name, f"{use.rows:,}", named, each.licences, f"{aside} {rules}".strip(), use.digest[:SHORT]


def _labels(dossier: Dossier) -> Iterator[str]:
    """What was withdrawn of the rows, and what is known of who labelled the pairs and how far they agree."""
    for each in dossier.datasets:
        if each.annotator:
            yield f"{each.use.name} {each.use.digest[:SHORT]} was compared by {each.annotator}."
        yield from (f"{each.use.name} {each.use.digest[:SHORT]}: {line}." for line in each.withdrawn)
        if told := list(rater_lines(each.raters)):
            yield f"Of {each.use.name}: {'; '.join(told)}."
        noise = {} if each.worth is None else each.worth.noise
        told = [f"{words} {format_estimate(noise[name])}" for name, words in NOISE.items() if name in noise]
        if told:
            yield f"Votes on {each.use.name}: {'; '.join(told)}."


def _versions(dossier: Dossier) -> Sheet:
    rows = [
        (each.version.label, each.stage, each.version.gates.get("status", "not judged"), each.version.digest[:SHORT])
        for each in reversed(dossier.versions)
    ]
    return Sheet("", ("version", "stage", "gates", "digest"), rows)
