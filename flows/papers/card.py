"""The model card of a version in the format of the Hugging Face hub, filled from what is recorded."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from yaml import YAMLError

from flows.config.errors import InputError
from flows.lineage.story import facts, when
from flows.papers.contributors import rater_lines
from flows.papers.dossier import DatasetDossier, Dossier
from flows.papers.limits import limits
from flows.registry.model_card import KEY_FIGURES, figure_table, verdict_table
from flows.report import Sheet, as_markdown, format_estimate
from rlhf_core.metrics.estimates import Estimate

TASKS = {"reward-model": "text-classification", "judge": "text-classification"}
"""What the hub calls the use of a model, by stage; of the others that is to write text."""

WRITES = "text-generation"

MADE_BY = ("rlhf-ladder", "rlhf")
"""Tags of every card."""

NOISE = {
    "raw_agreement": "two votes on a pair agree",
    "krippendorff_alpha": "Krippendorff's alpha",
    "flip_rate": "votes against the majority",
    "held_out_ceiling": "ceiling of agreement with held-out labels",
}
"""What is told of the votes on pairs, by the names of figures."""


def model_card(dossier: Dossier, words: Path | None = None) -> ModelCard:
    """Fill the card of a version.

    Args:
        dossier: what is recorded.
        words: Markdown file of a person, with or without YAML above it, which wins over what is recorded.

    Raises:
        InputError: if that file cannot be read.
    """
    said = None if words is None else _words(words)
    own = {} if said is None else {name: value for name, value in vars(said.data).items() if value is not None}
    data = ModelCardData(**{**_data(dossier), **own})
    text = "" if said is None else said.text.strip()
    sections = [_heading(dossier), text, *_sections(dossier)]
    return ModelCard("\n\n".join([f"---\n{data.to_yaml()}\n---", *filter(None, sections)]) + "\n")


def dataset_card(each: DatasetDossier) -> str:
    """The card of a table: source, licence, counts, quarantine, withdrawn rows, raters, what its labels are worth."""
    return f"# {_plain(each.use.name)}\n\n{_dataset(each)}\n"


def words_of(words: Path | None) -> str:
    """What a person wrote, without the YAML above it; empty where nobody did.

    Raises:
        InputError: if the file cannot be read.
    """
    return "" if words is None else str(_words(words).text).strip()


def _words(path: Path) -> ModelCard:
    try:
        return ModelCard(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"field 'model_card.words': {path} cannot be read ({error})") from None
    except (ValueError, YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"field 'model_card.words': {path}: what stands above the text is no card ({reason})"
        ) from None


def _data(dossier: Dossier) -> dict[str, Any]:
    """What the hub reads of the card."""
    subject = dossier.subject
    task = TASKS.get(subject.stage, WRITES)
    base = subject.climb.get("base", {})
    sets = [source["dataset"] for each in dossier.datasets for source in each.sources if "dataset" in source]
    fields = {
        "model_name": subject.version.name,
        "library_name": "transformers",
        "pipeline_tag": task,
        "tags": [*MADE_BY, subject.stage],
        "base_model": base.get("model"),
        "datasets": list(dict.fromkeys(sets)),
        "license": subject.version.licence,
        "eval_results": list(_results(dossier, task)),
    }
    return {name: value for name, value in fields.items() if value}


def _results(dossier: Dossier, task: str) -> Iterator[EvalResult]:
    """Key figures as the hub's index has them, with their intervals among the arguments."""
    subject = dossier.subject
    uses = (
        [] if subject.training is None else [use for name, use in subject.training.uses.items() if name == "training"]
    )
    table = uses[0] if uses else None
    for name in KEY_FIGURES.get(subject.stage, ()):
        if (figure := subject.figures.get(name)) is not None:
            yield EvalResult(
                task_type=task,
                dataset_type="held-out rows",
                dataset_name="unknown" if table is None else table.name,
                dataset_split="test",
                dataset_revision=None if table is None else table.digest,
                metric_type=name,
                metric_value=figure.value,
                metric_args=_interval(figure),
            )


def _interval(figure: Estimate) -> dict[str, float | int | str | None]:
    ends = figure.as_json()
    return {"interval": "95 %", "lower": ends["lower"], "upper": ends["upper"], "samples": figure.n}


def _heading(dossier: Dossier) -> str:
    version = dossier.subject.version
    lines = [line for line in version.description.splitlines() if line]
    aliases = "".join(f" @{alias}" for alias in version.aliases)
    return f"# {version.label}{aliases}\n\n{_plain(lines[0]) if lines else ''}"


def _sections(dossier: Dossier) -> Iterator[str]:
    subject = dossier.subject
    yield "## Limits\n\n" + "\n".join(f"- {_plain(line)}" for line in limits(dossier))
    if subject.figures:
        figures = figure_table(subject.stage, subject.figures)
        yield f"## What was measured\n\nOn held-out rows that nothing was trained on.\n\n{figures}"
    if subject.verdicts:
        yield f"## What gates said\n\n{verdict_table(subject.verdicts)}"
    if dossier.datasets:
        yield "## Data\n\n" + "\n\n".join(_dataset(each) for each in dossier.datasets)
    yield f"## What it was made from\n\n{as_markdown(_parents(dossier))}"
    yield f"## How it was made\n\n{as_markdown(_making(dossier))}"


def _dataset(each: DatasetDossier) -> str:
    use, counts = each.use, each.use.counts
    lines = [
        f"**{_plain(use.name)}** `{use.digest}`",
        f"- used by {_plain(', '.join(each.used_by))}",
        f"- {use.rows:,} rows that met contract {use.contract}, from {_plain(', '.join(use.sources)) or 'unknown'}",
        f"- licence: {_plain(each.licences)}",
    ]
    if counts is not None:
        rules = ", ".join(f"{_plain(rule)} {count:,}" for rule, count in counts.by_rule.items())
        aside = f"{counts.quarantined:,} were set aside" + (f" ({rules})" if rules else "")
        lines.append(f"- of {counts.records:,} records {aside}, {counts.merged:,} were merged into others")
    lines += [f"- {_plain(line)}" for line in (*each.withdrawn, *rater_lines(each.raters))]
    if each.annotator:
        lines.append(f"- compared by {_plain(each.annotator)}")
    noise = {} if each.worth is None else each.worth.noise
    lines += [f"- {words}: {format_estimate(noise[name])}" for name, words in NOISE.items() if name in noise]
    return "\n".join([lines[0], "", *lines[1:]])


def _parents(dossier: Dossier) -> Sheet:
    rows = [
        (each.version.label, each.stage, each.version.digest, each.version.gates.get("status", "not judged"))
        for each in dossier.versions
    ]
    return Sheet("", ("version", "stage", "digest of its files", "gates"), rows)


def _making(dossier: Dossier) -> Sheet:
    subject = dossier.subject
    told = [("registered", when(subject.version.created)), *facts(subject.version, subject.training)]
    return Sheet("", ("what", "as recorded"), [(name, _plain(text)) for name, text in told if name != "gates"])


def _plain(text: str) -> str:
    """Text of data or people inside Markdown: no mark-up of theirs is read as such."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{sign}" if sign in "[]`*|" else sign for sign in escaped)
