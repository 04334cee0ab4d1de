"""Figures of a stage, drawn from its series without a display."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlhf_core.metrics.calibration import labels_met
from rlhf_core.metrics.estimates import share
from rlhf_core.metrics.over_optimisation import predicted

Series = dict[str, list[float]]

BAND = (0.5, 4.0)  # where the recipe wants most |delta|, in logits

RELIABILITY_BINS = 10

FIGURE_INCHES = (6.4, 4.0)


def figures_of(series: Mapping[str, Sequence[float]]) -> dict[str, Figure]:
    """Every figure that the series of a stage allow, by file name.

    Args:
        series: numbers by name, as a `StageResult` carries them.
    """
    return {
        name: draw(*(series[part] for part in parts))
        for name, (draw, parts) in _FIGURES.items()
        if all(series.get(part) for part in parts)
    }


def delta_histogram(deltas: Sequence[float]) -> Figure:
    """Distribution of |delta| on held-out pairs, with the recipe's band shaded."""
    figure, magnitudes = _figure(), np.abs(deltas)
    axes = figure.add_subplot(xlabel="|delta| = |r(chosen) - r(rejected)|, calibrated logits", ylabel="held-out pairs")
    axes.hist(magnitudes, bins=40, color="#4477aa")
    inside = float(np.mean((magnitudes >= BAND[0]) & (magnitudes <= BAND[1])))
    axes.axvspan(*BAND, color="#ccbb44", alpha=0.25, label=f"band [{BAND[0]}, {BAND[1]}]: {inside:.0%} of pairs")
    axes.axvline(
        float(np.median(magnitudes)), color="black", linestyle="--", label=f"median {np.median(magnitudes):.2f}"
    )
    axes.legend()
    return figure


def reliability_diagram(deltas: Sequence[float], shares: Sequence[float]) -> Figure:
    """Stated confidence sigma(|delta|) against the share of the labels that agree, with its interval.

    Args:
        deltas: margins of pairs, calibrated logits.
        shares: of the labels for the chosen response of each, by which its claims are judged.
    """
    values = np.asarray(deltas, dtype=np.float64)
    confidence, agreed = 1.0 / (1.0 + np.exp(-np.abs(values))), labels_met(values, shares)
    figure = _figure()
    axes = figure.add_subplot(
        xlabel="stated confidence sigma(|delta|)", ylabel="share agreed", xlim=(0.5, 1), ylim=(0, 1)
    )
    axes.plot([0.5, 1.0], [0.5, 1.0], color="grey", linestyle="--", label="calibrated")
    bins = np.minimum(((confidence - 0.5) * 2 * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    for index in np.unique(bins):
        members = bins == index
        value, *ends, _ = share(agreed[members])
        lower, upper = np.clip(ends, 0.0, 1.0)  # a single pair has none
        errors = [[value - lower], [upper - value]]
        axes.errorbar([confidence[members].mean()], [value], yerr=errors, fmt="o", color="#4477aa", capsize=3)
    axes.legend(loc="lower right")
    return figure


def reward_against_drift(kl: Sequence[float], reward: Sequence[float], judge: Sequence[float]) -> Figure:
    """Proxy and judge reward over sqrt(KL), the axes of Gao et al. (2023): where they part, the proxy is exploited."""
    distance = np.sqrt(np.maximum(kl, 0.0))
    figure = _figure()
    axes = figure.add_subplot(xlabel="sqrt(KL to SFT), held-out prompts, KL in nats per response", ylabel="mean reward")
    axes.plot(distance, reward, marker="o", color="#4477aa", label="reward model (trained on)")
    axes.plot(distance, judge, marker="s", color="#ee6677", label="judge (only measures)")
    axes.legend()
    return figure


def judge_curve(
    kl: Sequence[float], gain: Sequence[float], lower: Sequence[float], upper: Sequence[float], curve: Sequence[float]
) -> Figure:
    """The judge's gain over SFT against sqrt(KL), with 95 % intervals, and the fitted curve of Gao et al. (2023)."""
    distance = np.sqrt(np.maximum(kl, 0.0))
    figure = _figure()
    axes = figure.add_subplot(
        xlabel="sqrt(KL to SFT), held-out prompts, KL in nats per response", ylabel="judge's gain"
    )
    errors = [np.subtract(gain, lower), np.subtract(upper, gain)]
    axes.errorbar(distance, gain, yerr=errors, fmt="s", color="#ee6677", capsize=3, label="judge, over SFT")
    places = np.linspace(0.0, float(distance.max()), 100)
    label = f"d ({curve[0]:.2f} - {curve[1]:.2f} log d)"
    axes.plot(places, predicted(places, curve[0], curve[1]), color="black", linewidth=1, label=label)
    axes.axhline(0.0, color="grey", linewidth=0.8)
    axes.legend()
    return figure


def diversity_by_update(
    steps: Sequence[float],
    distinct: Sequence[float],
    entropy: Sequence[float],
    duplicates: Sequence[float],
    bleu: Sequence[float],
) -> Figure:
    """Signs of mode collapse on held-out prompts over the updates."""
    figure = _figure()
    axes = figure.add_subplot(xlabel="update", ylabel="share or ratio")
    lines = {
        "distinct word pairs over SFT's": distinct,
        "entropy per token over SFT's": entropy,
        "answers that repeat another": duplicates,
        "self-BLEU": bleu,
    }
    for (label, values), colour in zip(lines.items(), ("#4477aa", "#228833", "#ee6677", "#ccbb44"), strict=True):
        axes.plot(steps, values, marker="o", color=colour, label=label)
    axes.legend()
    return figure


def drift_per_update(kl: Sequence[float]) -> Figure:
    """KL to the SFT model over the updates of PPO."""
    figure = _figure()
    axes = figure.add_subplot(xlabel="update", ylabel="KL to SFT, nats per response")
    axes.plot(range(1, len(kl) + 1), kl, color="#4477aa")
    axes.axhline(0.0, color="grey", linewidth=0.8)
    return figure


def _figure() -> Figure:
    figure = Figure(figsize=FIGURE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


_FIGURES: dict[str, tuple[Callable[..., Figure], tuple[str, ...]]] = {
    "delta_histogram": (delta_histogram, ("delta",)),
    "reliability": (reliability_diagram, ("delta", "share_chosen")),
    "reward_against_drift": (reward_against_drift, ("eval_kl", "eval_reward", "eval_judge")),
    "judge_curve": (
        judge_curve,
        ("eval_kl", "eval_judge_gain", "eval_judge_gain_lower", "eval_judge_gain_upper", "judge_curve"),
    ),
    "diversity_by_update": (
        diversity_by_update,
        ("eval_step", "eval_distinct_2_ratio", "eval_entropy_ratio", "eval_duplicate_share", "eval_self_bleu"),
    ),
    "drift_per_update": (drift_per_update, ("kl_to_sft_nats",)),
}
