"""The description of a registered version: what a reviewer decides from, in the Markdown that MLflow's page shows."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from data_contracts.conversation import in_words
from flows.config.pretrained import TAKEN
from flows.registry.client import Registry
from flows.registry.differences import differences
from flows.registry.names import (
    CARD_TAG,
    IMPORTED_TAG,
    LICENCE_TAG,
    PARENT_PREFIX,
    STATEMENT,
    TEMPLATE_DAY_TAG,
    TRAINED_BY_TAG,
)
from flows.registry.references import DatasetRef, ModelRef, StageOutcome, StageRecord
from flows.registry.tags import describe, imported
from flows.report import format_detectable, format_estimate
from rlhf_core.gates.gate import Verdict
from rlhf_core.metrics.estimates import Estimate

END = "<!-- What stands above is written anew by each climb; what is written below this line is kept. -->"

LIMIT = 5000  # of MLflow's databases

TEXT_SHOWN = 240

WIDTH = 76  # of a code block on the page of a version

DIFFERENCES_SHOWN = 12

NO_FIGURES: Mapping[str, Estimate] = {}


def describe_versions(record: StageRecord, verdicts: Sequence[Verdict], registry: Registry) -> None:
    """Write the descriptions of a stage's versions; notes of people below them stay.

    Args:
        record: the finished stage.
        verdicts: what its gates say, none where it has no gates.
        registry: where the versions are.
    """
    for artifact, ref in record.models.items():
        first = describe(record.what.get(artifact, artifact), record.parents, record.datasets)
        version = registry.client.get_model_version(ref.name, ref.version)
        notes = _notes(version.description or "", first)
        sections = [
            "\n".join([first, "", _links(record, registry)]),
            *_imported(version.tags),
            *_card(version.tags),
            *_template(version.tags.get(TEMPLATE_DAY_TAG)),
            *_sections(record, verdicts, ref, registry),
        ]
        text = _fitting(sections, LIMIT - len(END) - len(notes) - 4)
        registry.client.update_model_version(ref.name, ref.version, f"{text}\n\n{END}\n{notes}")


def describe_unjudged(
    stages: Mapping[str, StageOutcome], verdicts: Mapping[str, Sequence[Verdict]], registry: Registry
) -> None:
    """Describe the versions of stages without gates; the base by its answers beside those of the SFT model."""
    for stage, outcome in stages.items():
        if verdicts.get(stage):
            continue
        samples = outcome.record.samples
        if stage == "base" and "sft" in stages:
            beside = stages["sft"].record.samples
            samples = [{name: sample[name] for name in ("prompt", "base")} for sample in beside]
        describe_versions(outcome.record.model_copy(update={"samples": samples}), [], registry)


def _sections(record: StageRecord, verdicts: Sequence[Verdict], ref: ModelRef, registry: Registry) -> Iterator[str]:
    champion = registry.champion(ref.name)
    if champion is not None and champion.version == ref.version:
        champion = None
    beside = registry.estimates(champion.run_id) if champion else {}
    if record.outcome:
        yield f"**Outcome** {record.outcome}."
    if verdicts:
        yield verdict_table(verdicts)
    if record.estimates:
        yield figure_table(record.stage, record.estimates, champion, beside)
    if record.datasets:
        yield _data(record.datasets)
    if champion is not None:
        changes = differences(registry.client, ref, champion)
        more = [f"- and {len(changes) - DIFFERENCES_SHOWN} more"] if len(changes) > DIFFERENCES_SHOWN else []
        lines = [f"- {line}" for line in changes[:DIFFERENCES_SHOWN]] or ["- nothing that went into it"]
        yield "\n".join([f"**Not as in the champion, {champion.label}**\n", *lines, *more])
    if record.samples:
        yield "\n".join(["**Samples, held out**\n", *map(_sample, record.samples)])


def _imported(tags: Mapping[str, str]) -> list[str]:
    """Where a policy that was trained elsewhere was taken from, and what is known of it."""
    if TRAINED_BY_TAG not in tags:
        return []
    said = imported(tags[TRAINED_BY_TAG], known=f"{PARENT_PREFIX}{TAKEN}" in tags)
    return [f"**Taken from** {tags[IMPORTED_TAG]}: {said}."]


def _card(tags: Mapping[str, str]) -> list[str]:
    """What the model card says with which a model was taken."""
    if not tags.keys() & {CARD_TAG, LICENCE_TAG}:
        return []
    return [f"**Taken with its model card** {tags.get(CARD_TAG, '')}, licence {tags.get(LICENCE_TAG, 'not stated')}."]


def _template(day: str | None) -> list[str]:
    """What the chat template is told where it asks for the time."""
    return [] if day is None else [f"**Chat template** pinned to {day}: it asks for the date, and is told this one."]


def _links(record: StageRecord, registry: Registry) -> str:
    """Where the report of the climb and the run of the stage are, from MLflow's page of the version."""
    runs = f"#/experiments/{registry.experiment_id}/runs"
    report = f"[report of the climb]({runs}/{record.ladder_run}/artifacts/report.html)"
    made = f"[run with curves, data and upstream models]({runs}/{record.run_id})"
    stated = f"[signed statement]({runs}/{record.run_id}/artifacts/{STATEMENT})"
    return f"{report} · {made} · {stated} · {record.seconds:.0f} s"


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """What gates said, in Markdown."""
    passed = sum(verdict.status == "pass" for verdict in verdicts)
    rows = [
        f"| {verdict.gate} | {verdict.status} | {verdict.explanation} | {format_detectable(verdict)} |"
        for verdict in verdicts
    ]
    heading = f"**Gates: {passed} of {len(verdicts)} passed**\n"
    return "\n".join([heading, "| gate | verdict | why | detectable |", "|---|---|---|---|", *rows])


def figure_table(
    stage: str,
    estimates: Mapping[str, Estimate],
    champion: ModelRef | None = None,
    beside: Mapping[str, Estimate] = NO_FIGURES,
) -> str:
    """The key figures of a stage in Markdown, beside those of a champion where there is one."""
    names = [name for name in KEY_FIGURES.get(stage, ()) if name in estimates]
    head = ["figure", "value [95 % interval]", "n", *([f"champion, version {champion.version}"] if champion else [])]
    rows = [
        [
            name,
            format_estimate(estimates[name]),
            str(estimates[name].n),
            *([format_estimate(beside[name]) if name in beside else "not measured"] if champion else []),
        ]
        for name in names
    ]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(["**Key figures**\n", *lines])


def _data(datasets: Mapping[str, DatasetRef]) -> str:
    rows = [
        f"| {use} | {ref.name} {ref.digest[:12]} | {', '.join(f'{split} {n}' for split, n in ref.splits.items() if n)} "
        f"| {ref.contract} | {len(ref.sources)} |"
        for use, ref in datasets.items()
    ]
    head = ["| use | data | rows by split | contract | sources |", "|---|---|---|---|---|"]
    return "\n".join(["**Data**\n", *head, *rows])


def _sample(sample: Mapping[str, str]) -> str:
    """A sample as a code block, in which no text of a model or a person is read as Markdown."""
    lines = [
        textwrap.fill(
            f"{name}: {textwrap.shorten(in_words(text), TEXT_SHOWN, placeholder=' ...')}", WIDTH, subsequent_indent="  "
        )
        for name, text in sample.items()
    ]
    return "\n".join(["", *(f"    {line}" for text in lines for line in text.splitlines())])


def _notes(existing: str, registered: str) -> str:
    """What people wrote: all below the line that ends a description, or all of it where there is no such line."""
    _, end, notes = f"{existing}\n".partition(f"\n{END}\n")
    if end:
        return notes.strip("\n")
    return "" if existing == registered else existing


def _fitting(sections: Sequence[str], limit: int) -> str:
    """As many sections, from the first, as the limit allows."""
    lengths = accumulate(len(section) + 2 for section in sections)
    return "\n\n".join(section for section, end in zip(sections, lengths, strict=True) if end <= limit)


KEY_FIGURES: dict[str, tuple[str, ...]] = {
    "base": (),
    "sft": ("held_out_loss", "base_held_out_loss", "eos_rate", "base_eos_rate", "regurgitation_rate"),
    "reward-model": (
        "agreement",
        "agreement_above_floor",
        "share_of_ceiling",
        "abs_delta_median",
        "share_in_band",
        "ece",
        "parameter_ratio",
        "agreement_on_policy",
        "last_agreement_on_policy",
        "agreement_on_policy_gain",
        "judge_agreement_on_policy",
    ),
    "judge": ("agreement", "agreement_above_floor", "ece"),
    "policy": (
        "kl_to_sft_nats",
        "best_of_n_kl_nats",
        "judge_reward_gain",
        "best_of_n_judge_gain",
        "judge_gain_over_best_of_n",
        "judge_win_rate",
        "overoptimisation",
        "eos_rate",
        "length_ratio",
        "duplicate_share",
        "entropy_ratio",
    ),
}
