"""Report of the label audit: one page in plain words, and one figure."""

from collections.abc import Mapping

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from flows.report import Sheet, as_markdown, estimate_sheet, format_estimate
from rlhf_core.metrics.annotator_agreement import KAPPA
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_quality import Balanced, LabelWorth
from rlhf_core.metrics.surface_features import Effect

NOISE = {
    "raw_agreement": "two annotators of a pair say the same",
    "krippendorff_alpha": "Krippendorff's alpha, 0 is chance",
    "flip_rate": "an annotator names the worse response",
    "ceiling": "a perfect judge agrees with one annotator, difficulty differing by pair",
    "held_out_ceiling": "a perfect judge agrees with the held-out labels, each the majority of its votes",
    "best_against_one": "a perfect judge agrees with one annotator, all pairs being equally hard: an upper bound",
    "best_against_three": "a perfect judge agrees with the majority of three: an upper bound",
}

FLOORS = {
    "longest": "prefer the longer response",
    "shortest": "prefer the shorter response",
    "bag_of_words": "a bag of words that never sees the prompt",
}

FEATURES_NOTE = "Of twenty features that mean nothing, one seems to."

_INTERVALS = "Intervals are 95 %, over groups."


def page(worth: LabelWorth) -> str:
    """The whole report as Markdown; aggregates only, no rows."""
    parts = [
        f"# What the labels are worth\n\n{sample(worth)}",
        f"## Noise\n\n{noise_note(worth)}\n\n{as_markdown(noise_sheet(worth))}",
        f"## Floors\n\nWhat a reward model must beat.\n\n{as_markdown(floor_sheet(worth))}",
        f"## Surface features\n\n{FEATURES_NOTE}\n\n{_surface(worth.effects)}",
    ]
    if after := worth.balanced:
        parts.append(f"### {balance_title(after)}\n\n{_surface(after.effects)}")
    return "\n\n".join(parts) + "\n"


def in_short(worth: LabelWorth) -> list[str]:
    """The page in a few lines for a terminal."""
    best = max(worth.floors, key=lambda name: worth.floors[name].value)
    ceiling = worth.noise.get("ceiling")
    bound = f"one annotator on {format_estimate(ceiling)}" if ceiling else "unknown, as no pair has enough votes"
    after = worth.balanced
    return [
        f"labels: a perfect judge agrees with {bound}; {FLOORS[best]}: {format_estimate(worth.floors[best])}",
        *(f"labels: {line}" for line in sentences(worth.effects)),
        *([f"labels after balance {after.how}: {line}" for line in sentences(after.effects)] if after else []),
    ]


def odds_figure(worth: LabelWorth) -> Figure:
    """Odds ratios of all features with the others equal, before and after balancing."""
    names = [name for name in worth.effects][::-1]
    figure = Figure(figsize=(6.4, 1.2 + 0.36 * max(len(names), 3)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="odds of being preferred with more of it, all else equal", xscale="log")
    series = [("as labelled", worth.effects, "#4477aa", 0.12)]
    if worth.balanced:
        series.append((f"after balance {worth.balanced.how}", worth.balanced.effects, "#ee6677", -0.12))
    for label, effects, colour, shift in series:
        positions = [index for index, name in enumerate(names) if name in effects]
        ratios = [effects[names[index]].others_equal for index in positions]
        errors = [[item.value - item.lower for item in ratios], [item.upper - item.value for item in ratios]]
        heights = [index + shift for index in positions]
        axes.errorbar(
            [item.value for item in ratios], heights, xerr=errors, fmt="o", color=colour, capsize=3, label=label
        )
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(ticks := [0.25, 0.5, 1.0, 2.0, 4.0], [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.legend()
    return figure


def sample(worth: LabelWorth) -> str:
    """Which pairs the figures are of."""
    if worth.pairs == worth.total:
        return f"Of all {worth.total} training pairs. {_INTERVALS}"
    return f"Of {worth.pairs} of {worth.total} training pairs, drawn by a hash of their texts. {_INTERVALS}"


def noise_note(worth: LabelWorth) -> str:
    """What to think of the figures on noise."""
    if not worth.noise:
        return (
            "Unknown: no pair has two votes, so nobody can say how often annotators agree, or how good a judge can be."
        )
    return "Of all rows with several votes. Files that were cleaned of disagreement look better than their annotators."


def noise_sheet(worth: LabelWorth) -> Sheet:
    """Agreement of the annotators; what the data cannot say is unknown."""
    kappas = {name: f"Cohen's {name}" for name in worth.noise if name.startswith(KAPPA)}
    titles = NOISE | (kappas or {KAPPA: "Cohen's kappa, for which votes must carry names"})
    return estimate_sheet("How far annotators agree", titles, worth.noise, counted="groups")


def floor_sheet(worth: LabelWorth) -> Sheet:
    """How often trivial rules name the preferred response."""
    return estimate_sheet("Trivial rules that agree with the labels", FLOORS, worth.floors, counted="groups")


def effect_sheet(effects: Mapping[str, Effect]) -> Sheet:
    """Odds ratios of all features that differ in enough pairs."""
    rows = [
        (
            name,
            f"{effect.more:.0f}",
            f"{effect.fewer:.0f}",
            *(f"{ratio.value:.2f} [{ratio.lower:.2f}, {ratio.upper:.2f}]" for ratio in effect[2:]),
        )
        for name, effect in effects.items()
    ]
    columns = ("feature", "chosen has more", "rejected has more", "odds ratio alone", "all else equal")
    return Sheet("Odds of being preferred with more of a feature", columns, rows, columns[1:])


def balance_title(after: Balanced) -> str:
    """What was balanced, as a heading."""
    return f"After balance {after.how}: {after.pairs} pairs, the largest weight {after.largest_weight:.2f} (mean 1)"


def sentences(effects: Mapping[str, Effect]) -> list[str]:
    """What predicts the label, the strongest first."""
    telling = [(name, effect) for name, effect in effects.items() if not _holds_one(effect.others_equal)]
    telling.sort(key=lambda item: -max(item[1].others_equal.value, 1 / item[1].others_equal.value))
    lines = [
        f"more {name} than the other: odds of being preferred {format_estimate(effect.others_equal, digits=2)}"
        for name, effect in telling
    ]
    return lines or ["no surface feature is seen to predict which response is preferred"]


def _surface(effects: Mapping[str, Effect]) -> str:
    plain = "\n".join(f"- {line[0].upper()}{line[1:]}." for line in sentences(effects))
    return f"{plain}\n\n{as_markdown(effect_sheet(effects))}"


def _holds_one(ratio: Estimate) -> bool:
    return ratio.lower <= 1.0 <= ratio.upper
