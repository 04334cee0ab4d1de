"""The summary of a climb: versions, figures, verdicts, answers, and what to type next."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from data_contracts.conversation import in_words
from flows.pipeline.outside_measures import KEPT, OutsideView
from flows.promotion.comparison import Comparison
from flows.promotion.tables import comparison_table
from flows.registry.client import Registry
from flows.registry.model_card import KEY_FIGURES
from flows.registry.names import ANSWERING
from flows.registry.references import DataRefs, Round, StageOutcome, StageRecord
from flows.report import Terminal, format_detectable, format_estimate
from rlhf_core.gates.gate import Verdict, chance_of_stop
from rlhf_core.metrics.estimates import Estimate

WIDTH = 120

SHOWN = 3
"""Held-out prompts whose answers the terminal shows; what the run keeps has more."""

ROUND_FIGURES = (
    "agreement_on_policy",
    "last_agreement_on_policy",
    "agreement_on_policy_gain",
    "kl_to_sft_nats",
    "judge_reward_gain",
)
"""Figures of a round: three of its reward model, which the first has not, and two of its policy."""

COLOURS = {"fail": "red", "abstain": "yellow"}


@dataclass(frozen=True)
class Summary:
    """Everything that the summary of a climb tells.

    Attributes:
        arguments: how the configuration is named on a command line.
        run_id: the climb's run in MLflow.
        verdicts: of the gates, by what they judged: the data, or a stage.
        comparisons: of versions with the champions that they would replace, by stage.
        outcome: one sentence: what was trained, or what stopped the climb.
        alias: the alias that was set, None if none was.
        no_alias: why none was.
        made: how each stage came to what it is, in a word such as trained or reused.
        rounds: all rounds so far and this one, where the ladder is climbed in rounds.
    """

    project: str
    arguments: str
    run_id: str
    data: DataRefs | None
    stages: Sequence[StageOutcome]
    verdicts: Mapping[str, Sequence[Verdict]]
    comparisons: Mapping[str, Comparison]
    answers: OutsideView | None
    outcome: str
    alias: str | None
    no_alias: str
    seconds: float
    made: Mapping[str, str]
    rounds: Sequence[Round] = ()


def publish_summary(summary: Summary, registry: Registry, run_id: str) -> None:
    """Show the summary in the terminal and keep it as text and HTML in the ladder's run."""
    record = Terminal(record=True, width=WIDTH, file=io.StringIO(), highlight=False, force_terminal=True)
    for console, prompts in ((Terminal(highlight=False), SHOWN), (record, KEPT)):
        console.print(render(summary, prompts=prompts))
        console.print("Next:", *(f"  {escape(line)}" for line in _next(summary)), sep="\n", soft_wrap=True)
    registry.client.log_text(run_id, record.export_html(clear=False), "summary.html")
    registry.client.log_text(run_id, record.export_text(), "summary.txt")
    if summary.answers is not None:
        kept = {"gold.json": summary.answers.gold, "outside_measures.json": summary.answers.measures}
        for file, figures in kept.items():
            if figures:
                registry.log_estimates(run_id, figures, file=file)


def render(summary: Summary, *, prompts: int = SHOWN) -> Group:
    """Lay the summary out for a terminal, with the answers to so many held-out prompts."""
    parts: list[RenderableType] = [_stages(summary), _figures(summary)] if summary.stages or summary.data else []
    if summary.data is not None:
        parts += [f"\n{escape(line)}" for line in summary.data.growth]
    if summary.verdicts:
        parts += [_verdicts(summary.verdicts), _luck(summary.verdicts)]
    parts += map(comparison_table, summary.comparisons.values())
    if summary.answers is not None:
        parts += [*_outside(summary.answers), *_answers(summary.answers, prompts)]
    else:
        parts += _samples(summary, prompts)
    if len(summary.rounds) > 1:
        parts.append(_rounds(summary.rounds))
    parts.append(Panel(f"{escape(summary.outcome)}\n{_alias(summary)}", title="outcome", title_align="left"))
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=f"\n{title}" if title else None, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=0
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _stages(summary: Summary) -> Table:
    table = _table(f"{summary.project}: {summary.seconds:.0f} s", "stage", "version", "made", "seconds")
    if summary.data is not None:
        made = "made" if summary.data.ladder_run == summary.run_id else "reused"
        rows = [f"{ref.name} {ref.digest[:12]}: {ref.rows} rows, {_splits(ref.splits)}" for ref in summary.data.tables]
        table.add_row("ingest", "\n".join(rows), made, f"{summary.data.seconds:.1f}")
    for outcome in summary.stages:
        versions = "\n".join(ref.label for ref in outcome.record.models.values())
        made = summary.made[outcome.record.stage]
        table.add_row(outcome.record.stage, versions, made, f"{outcome.record.seconds:.1f}")
    return table


def _splits(splits: dict[str, int]) -> str:
    return ", ".join(f"{name} {rows}" for name, rows in splits.items() if rows)


def _figures(summary: Summary) -> Table:
    table = _table("key figures", "stage", "figure", "value [95 % interval]", "n")
    all_measured: list[DataRefs | StageRecord] = [outcome.record for outcome in summary.stages]
    if summary.data is not None:
        all_measured.insert(0, summary.data)
    for measured in all_measured:
        estimates = measured.estimates
        names = [name for name in KEY_FIGURES.get(measured.stage, tuple(estimates)) if name in estimates]
        for index, name in enumerate(names):
            stage = "" if index else measured.stage
            table.add_row(stage, name, format_estimate(estimates[name]), str(estimates[name].n))
    return table


def _verdicts(verdicts: Mapping[str, Sequence[Verdict]]) -> Table:
    """What a person must read first: each gate that did not pass, then a line for the others of each stage."""
    table = _table("gates", "stage", "gate", "verdict", "why", "detectable")
    for judged, group in verdicts.items():
        for verdict in (verdict for verdict in group if verdict.status != "pass"):
            status = f"[{COLOURS[verdict.status]}]{verdict.status}[/]"
            table.add_row(judged, verdict.gate, status, escape(verdict.explanation), format_detectable(verdict))
    for judged, group in verdicts.items():
        passed = [verdict for verdict in group if verdict.status == "pass"]
        measured = [verdict.gate for verdict in passed if verdict.value is not None]
        allowed = [verdict.gate for verdict in passed if verdict.value is None]
        for names, known in ((measured, ""), (allowed, "not measured, which these allow: ")):
            if names:
                table.add_row(judged, f"{len(names)} of {len(group)}", "[green]pass[/]", known + ", ".join(names), "")
    return table


def _luck(verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    chance = chance_of_stop([verdict for group in verdicts.values() for verdict in group])
    return (
        f"if all figures are what was measured, another sample stops the climb by luck in at most {chance:.1%} of cases"
    )


def _rounds(rounds: Sequence[Round]) -> Table:
    """What each round learned from and came to; agreement is on answers of the policy of the round before."""
    figures = {"reward-model": ROUND_FIGURES[:3], "policy": ROUND_FIGURES[3:]}
    table = _table("rounds [95 % interval]", "round", "fresh pairs", "reward model", "policy", *ROUND_FIGURES)
    for number, data, stages, _ in rounds:
        fresh = data.fresh[-1] if data.fresh else None
        pairs = f"{fresh.dataset.rows} of {fresh.of.policy.label} by {fresh.dataset.annotator}" if fresh else ""
        made = [stages[stage].record if stage in stages else None for stage in figures]
        estimates = [
            record.estimates.get(name) if record else None
            for record, names in zip(made, figures.values(), strict=True)
            for name in names
        ]
        labels = [record.model.label if record else "" for record in made]
        table.add_row(str(number), pairs, *labels, *(format_estimate(cell) if cell else "" for cell in estimates))
    return table


def _outside(answers: OutsideView) -> Iterator[RenderableType]:
    """Figures named `<stage>_<figure>`, a column for each stage; parts of the gold reward without interval."""
    if answers.gold:
        yield _by_stage("gold reward on held-out prompts [95 % interval], its parts indented", answers.gold, digits=2)
    if answers.measures:
        count = next(iter(answers.measures.values())).n
        title = f"outside measures on {count} held-out prompts [95 % interval], gains and wins over the column before"
        yield _by_stage(title, answers.measures, digits=3)
    yield from map(Text, answers.failures)


def _by_stage(title: str, figures: Mapping[str, Estimate], *, digits: int) -> Table:
    table = _table(title, "figure", *ANSWERING)
    for figure in dict.fromkeys(name.partition("_")[2] for name in figures):
        estimates = (figures.get(f"{stage}_{figure}") for stage in ANSWERING)
        cells = ("" if cell is None else _cell(figure, cell, digits) for cell in estimates)
        table.add_row(figure.replace("gold_", "  "), *cells)
    return table


def _cell(figure: str, estimate: Estimate, digits: int) -> str:
    return f"{estimate.value:.2f}" if figure.startswith("gold_") else format_estimate(estimate, digits=digits)


def _answers(answers: OutsideView, prompts: int) -> list[RenderableType]:
    """One table for each prompt, with the prompt above it."""
    tables: list[RenderableType] = []
    for prompt, replies in answers.prompts[:prompts]:
        table = _table("", "stage", *replies[0].scores, "answer")
        for answer in replies:
            table.add_row(answer.stage, *(f"{score:+.2f}" for score in answer.scores.values()), escape(answer.text))
        tables += [Text(f"\nheld-out prompt: {in_words(prompt)}", style="italic"), table]
    return tables


def _samples(summary: Summary, prompts: int) -> list[RenderableType]:
    """What the SFT model and the policy said while the policy was measured, where nobody else measures answers."""
    tables: list[RenderableType] = []
    for record in (outcome.record for outcome in summary.stages if outcome.record.stage == "policy"):
        for sample in record.samples[:prompts]:
            table = _table("", "stage", "answer")
            for stage in (name for name in ANSWERING if name in sample):
                table.add_row(stage, escape(sample[stage]))
            tables += [Text(f"\nheld-out prompt: {in_words(sample['prompt'])}", style="italic"), table]
    return tables


def _alias(summary: Summary) -> str:
    if summary.alias is None:
        return f"no alias was set: {escape(summary.no_alias)}"
    return f"alias '{summary.alias}' set on these versions"


def _next(summary: Summary) -> list[str]:
    refs = {outcome.record.stage: outcome.record.model for outcome in summary.stages}
    lines = [f"rlhf report --config {summary.arguments}", f"rlhf ui {summary.arguments}"]
    speaker = refs.get("policy") or refs.get("sft")
    if speaker is not None:
        lines.append(f"rlhf generate {speaker.label} 'your prompt' --config {summary.arguments}")
    if "reward-model" in refs:
        label = refs["reward-model"].label
        lines.append(f"rlhf score {label} --prompt 'a prompt' --response 'an answer' --config {summary.arguments}")
    if summary.alias is not None and "policy" in refs:
        lines.append(f"rlhf promote {refs['policy'].name} --config {summary.arguments}")
    return lines
