"""Results on RewardBench as tables, as JSON, and pair by pair."""

import json
from collections.abc import Iterable

from flows.inference.reward_bench import BenchResult
from flows.registry.learned_prompts import SeenRows
from flows.report import format_estimate
from rlhf_core.metrics.estimates import Estimate

_MEANINGS = {
    "ece": "distance of claimed from observed accuracy",
    "nll": "nats per pair; 0.693 is a coin's",
    "temperature": "stored with the model; 1 where none is",
    "fitted_temperature": "what these pairs want it to be; above the stored one: the model is too sure here",
}


def as_text(judged: BenchResult) -> str:
    """Tables for a terminal."""
    figures = judged.figures
    width = max(len(name) for name in ("mean of sections", *figures.subsets, *figures.calibration))
    lines = [f"{'subset':{width}}  prompts  accuracy              nll"]
    for name, estimate in figures.subsets.items():
        lines.append(f"{_row(name, estimate, width)}  {figures.subset_nll[name].value:.3f}")
    lines.append(_row("all", figures.accuracy, width))
    if figures.sections:
        lines += ["", f"{'section':{width}}  prompts  accuracy"]
        lines += [_row(name, estimate, width) for name, estimate in figures.sections.items()]
    if figures.section_mean:
        lines.append(_row("mean of sections", figures.section_mean, width))
    lines.append("")
    for name, estimate in figures.calibration.items():
        shown = format_estimate(estimate) if estimate.lower < estimate.upper else f"{estimate.value:.3f}"
        lines.append(f"{name:{width}}  {shown:21} {_MEANINGS[name]}")
    notes = [(figures.ties, "score the same on both sides, which counts as a miss")]
    notes.append((judged.cut, "are longer than the model can read, and were cut"))
    lines += [f"{count} of {figures.pairs} pairs {what}" for count, what in notes if count]
    lines += [_left_out(judged.left_out)] if judged.left_out is None or judged.left_out.rows else []
    return "\n".join([*lines, ""])


def as_json(judged: BenchResult) -> str:
    """Everything as one object; each estimate with value, bounds and n, its prompts."""
    figures = judged.figures
    document = {
        "accuracy": figures.accuracy.as_json(),
        "pairs": figures.pairs,
        "subsets": {
            name: {"accuracy": accuracy.as_json(), "nll": figures.subset_nll[name].as_json()}
            for name, accuracy in figures.subsets.items()
        },
        "sections": _each(figures.sections.items()),
        "section_mean": figures.section_mean and figures.section_mean.as_json(),
        "calibration": _each(figures.calibration.items()),
        "ties": figures.ties,
        "cut": judged.cut,
        "left_out": judged.left_out and judged.left_out.rows,
    }
    return json.dumps(document, indent=2) + "\n"


def as_lines(judged: BenchResult) -> str:
    """Raw scores of every pair as JSON Lines, under the names that RewardBench gives them."""
    raw = ((judged.temperature * side).tolist() for side in (judged.chosen, judged.rejected))
    rows = (
        {"subset": pair.subset, "scores_chosen": first, "scores_rejected": second, "results": int(first > second)}
        for pair, first, second in zip(judged.pairs, *raw, strict=True)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def _left_out(left_out: SeenRows | None) -> str:
    if left_out is None:
        return "what a model without a version was trained on is not known: pairs that it has seen count"
    return left_out.sentence("pairs")


def _each(estimates: Iterable[tuple[str, Estimate]]) -> dict[str, dict[str, float | None]]:
    return {name: estimate.as_json() for name, estimate in estimates}


def _row(name: str, estimate: Estimate, width: int) -> str:
    return f"{name:{width}}  {estimate.n:7}  {format_estimate(estimate)}"
