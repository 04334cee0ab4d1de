"""Results on RewardBench as tables, as JSON, and pair by pair."""

import json
from collections.abc import Iterable

from flows.inference.reward_bench import BenchResult
from flows.registry.learned_prompts import SeenRows
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
    lines = [f"{'subset':{width}}  pairs  accuracy              nll"]
    for name, estimate in figures.subsets.items():
        lines.append(f"{name:{width}}  {estimate.n:5}  {_interval(estimate)}  {figures.subset_nll[name].value:.3f}")
    lines.append(f"{'all':{width}}  {figures.accuracy.n:5}  {_interval(figures.accuracy)}")
    if figures.sections:
        lines += ["", f"{'section':{width}}  pairs  accuracy"]
        lines += [
            f"{name:{width}}  {estimate.n:5}  {_interval(estimate)}" for name, estimate in figures.sections.items()
        ]
    if figures.section_mean:
        lines.append(f"{'mean of sections':{width}}  {figures.section_mean.n:5}  {_interval(figures.section_mean)}")
    lines.append("")
    for name, estimate in figures.calibration.items():
        shown = _interval(estimate) if estimate.lower < estimate.upper else f"{estimate.value:.3f}"
        lines.append(f"{name:{width}}  {shown:21} {_MEANINGS[name]}")
    notes = [(figures.ties, "score the same on both sides, which counts as a miss")]
    notes.append((judged.cut, "are longer than the model can read, and were cut"))
    lines += [f"{count} of {figures.accuracy.n} pairs {what}" for count, what in notes if count]
    lines += [_left_out(judged.left_out)] if judged.left_out is None or judged.left_out.rows else []
    return "\n".join([*lines, ""])


def as_json(judged: BenchResult) -> str:
    """Everything as one object; each estimate with value, bounds and n."""
    figures = judged.figures
    document = {
        "accuracy": figures.accuracy._asdict(),
        "subsets": {
            name: {"accuracy": accuracy._asdict(), "nll": figures.subset_nll[name]._asdict()}
            for name, accuracy in figures.subsets.items()
        },
        "sections": _each(figures.sections.items()),
        "section_mean": figures.section_mean and figures.section_mean._asdict(),
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


def _each(estimates: Iterable[tuple[str, Estimate]]) -> dict[str, dict[str, float]]:
    return {name: estimate._asdict() for name, estimate in estimates}


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.lower:.3f}, {estimate.upper:.3f}]"
