"""The summary of a climb: versions, figures, verdicts, answers, and what to type next."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from flows.references import DataRefs, StageRecord
from flows.registry import Registry
from flows.report.answers import Comparison
from rlhf_core.evaluation.estimates import Estimate
from rlhf_core.gates import Verdict

WIDTH = 120
KEY_FIGURES = {
    "sft": ("held_out_loss", "base_held_out_loss", "eos_rate", "base_eos_rate", "regurgitation_rate"),
    "reward-model": (
        "agreement",
        "agreement_above_floor",
        "share_of_ceiling",
        "abs_delta_median",
        "share_in_band",
        "ece",
    ),
    "judge": ("agreement", "agreement_above_floor", "ece"),
    "policy": ("kl_to_sft_nats", "judge_reward_gain", "judge_win_rate", "eos_rate", "length_ratio", "duplicate_share"),
}
COLOURS = {"pass": "green", "fail": "red", "abstain": "yellow"}


class Rung(NamedTuple):
    """A stage as the summary shows it."""

    record: StageRecord
    reused: bool
    verdicts: Sequence[Verdict] = ()


@dataclass(frozen=True)
class Summary:
    """Everything that the summary of a climb tells.

    Attributes:
        arguments: how the configuration is named on a command line.
        run_id: the climb's run in MLflow.
        outcome: one sentence: what was trained, or what stopped the climb.
        alias: the alias that was set, None if none was.
    """

    project: str
    arguments: str
    run_id: str
    data: DataRefs | None
    rungs: Sequence[Rung]
    answers: Comparison | None
    outcome: str
    alias: str | None
    seconds: float


def publish_summary(summary: Summary, registry: Registry, run_id: str) -> None:
    """Show the summary in the terminal and keep it as text and HTML in the ladder's run."""
    view = render(summary)
    record = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False, force_terminal=True)
    for console in (Console(highlight=False), record):
        console.print(view)
        console.print("Next:", *(f"  {escape(line)}" for line in _next(summary)), sep="\n", soft_wrap=True)
    registry.client.log_text(run_id, record.export_html(clear=False), "summary.html")
    registry.client.log_text(run_id, record.export_text(), "summary.txt")
    if summary.answers is not None:
        registry.log_estimates(run_id, summary.answers.gold, file="gold.json")


def render(summary: Summary) -> Group:
    """Lay the summary out for a terminal."""
    parts: list[RenderableType] = [_stages(summary), _verdicts(summary.rungs)]
    if summary.answers is not None:
        parts += [_gold(summary.answers), *_answers(summary.answers)]
    parts.append(Panel(f"{escape(summary.outcome)}\n{_alias(summary)}", title="outcome", title_align="left"))
    return Group(*parts)


def format_estimate(estimate: Estimate) -> str:
    """A figure with its 95 % interval; an exact one without."""
    if estimate.lower == estimate.upper:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3f} [{estimate.lower:.3f}, {estimate.upper:.3f}]"


def _stages(summary: Summary) -> Table:
    table = Table(title=f"{summary.project}: {summary.seconds:.0f} s", title_justify="left", expand=True)
    for column in ("stage", "version", "made", "seconds", "key figures [95 % interval]"):
        table.add_column(column, overflow="fold")
    if summary.data is not None:
        rows = "\n".join(f"{table.name} {table.digest[:12]}" for table in summary.data.tables)
        figures = "\n".join(f"{ref.name}: {ref.rows} rows {_splits(ref.splits)}" for ref in summary.data.tables)
        made = "made" if summary.data.ladder_run == summary.run_id else "reused"
        table.add_row("ingest", rows, made, f"{summary.data.seconds:.1f}", figures)
    for rung in summary.rungs:
        record = rung.record
        names = KEY_FIGURES.get(record.stage, tuple(record.estimates))
        shown = [f"{name} {format_estimate(record.estimates[name])}" for name in names if name in record.estimates]
        versions = "\n".join(ref.label for ref in record.models.values())
        table.add_row(
            record.stage, versions, "reused" if rung.reused else "trained", f"{record.seconds:.1f}", "\n".join(shown)
        )
    return table


def _splits(splits: dict[str, int]) -> str:
    return ", ".join(f"{name} {rows}" for name, rows in splits.items())


def _verdicts(rungs: Sequence[Rung]) -> Table:
    table = Table(title="gates", title_justify="left", expand=True)
    for column in ("stage", "gate", "verdict", "why"):
        table.add_column(column, overflow="fold")
    for rung in rungs:
        for verdict in rung.verdicts:
            colour = COLOURS[verdict.status]
            status = f"[{colour}]{verdict.status}[/{colour}]"
            table.add_row(rung.record.stage, verdict.gate, status, escape(verdict.explanation))
    return table


def _gold(answers: Comparison) -> Table:
    table = Table(title="gold reward on held-out prompts", title_justify="left")
    table.add_column("figure")
    table.add_column("value [95 % interval]")
    for name, estimate in answers.gold.items():
        table.add_row(name, format_estimate(estimate))
    return table


def _answers(answers: Comparison) -> list[RenderableType]:
    """One table for each prompt, with the prompt above it."""
    tables: list[RenderableType] = []
    for prompt, replies in answers.prompts:
        table = Table(title=f"held-out prompt: {escape(prompt)}", title_justify="left", expand=True)
        table.add_column("stage", no_wrap=True)
        table.add_column("gold", no_wrap=True, justify="right")
        table.add_column("answer", overflow="fold", ratio=1)
        for answer in replies:
            table.add_row(answer.stage, f"{answer.gold:+.2f}", escape(answer.text))
        tables.append(table)
    return tables


def _alias(summary: Summary) -> str:
    if summary.alias is None:
        return "no alias was set"
    return f"alias '{summary.alias}' set on these versions"


def _next(summary: Summary) -> list[str]:
    refs = {rung.record.stage: rung.record.model for rung in summary.rungs}
    lines = [f"rlhf ui {summary.arguments}"]
    speaker = refs.get("policy") or refs.get("sft")
    if speaker is not None:
        lines.append(f"rlhf generate {speaker.label} 'your prompt' --config {summary.arguments}")
    if "reward-model" in refs:
        label = refs["reward-model"].label
        lines.append(f"rlhf score {label} --prompt 'a prompt' --response 'an answer' --config {summary.arguments}")
    return lines
