"""The reward model on the page: agreement between floor and ceiling, margins, reliability, where it is surely wrong."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from data_contracts.conversation import in_words
from flows.pipeline.climb_page.charts import Points, margins, ranges, reliability
from flows.pipeline.climb_page.climb import Climb, StageRun
from flows.pipeline.climb_page.parts import Chart, Part, Quote, chosen, interval, percent
from rlhf_core.gates.stress import PAID_FOR
from rlhf_core.metrics.calibration import BAND, BINS, expected_spread, labels_met
from rlhf_core.metrics.reward_model_evidence import PAIRS, SHARE

TITLE = "Does the reward model know what people prefer?"

BETWEEN = {
    "floor_longest": "the longest wins",
    "floor_shortest": "the shortest wins",
    "floor_bag_of_words": "a bag of words",
    "agreement": "reward model",
    "ceiling": "a perfect judge",
}
"""Agreement with held-out labels, from what knows nothing to what knows all."""

SLICES = {
    "agreement": "all pairs",
    "agreement_low_confidence": "least sure third",
    "agreement_middle_confidence": "middle third",
    "agreement_high_confidence": "surest third",
    "agreement_chosen_longer": "longer one is preferred",
    "agreement_chosen_shorter": "shorter one is preferred",
    "length_matched_agreement": "both of like length",
    "agreement_on_policy": "answers of the policy",
}

FEWEST = 30
"""Pairs at least in a bin of claims."""

WRONG = 6
"""Pairs shown on which it is surely wrong."""


def reward_model_part(climb: Climb) -> Part:
    """What the held-out pairs say of the reward model."""
    made = climb.stages.get("reward-model")
    if made is None:
        return Part("reward-model", TITLE, missing=["This climb reached no reward model."])
    quotes, missing = _surely_wrong(made)
    drawn = [*_agreement(made), *_margins(made), *_reliability(made), *_slices(made), *_paid_for(made)]
    if "delta" not in made.series:
        missing = ["Margins of held-out pairs were not kept, so neither they nor claims can be drawn.", *missing]
    return Part("reward-model", TITLE, list(_said(made)), drawn, quotes=quotes, missing=missing)


def _said(made: StageRun) -> Iterator[str]:
    figures = made.figures
    if agreement := figures.get("agreement"):
        yield f"{made.version.label} agrees with {percent(agreement)} of the labels of {agreement.n} held-out prompts."
    if share := figures.get("share_of_ceiling"):
        yield f"That is {percent(share)} of what a perfect judge would reach with labels as noisy as these."
    elif agreement:
        yield "What a perfect judge would reach is unknown: no pair has several votes."
    if temperature := figures.get("temperature"):
        yield f"Its margins are divided by a temperature of {interval(temperature)}; 1 is calibrated as trained."


def _agreement(made: StageRun) -> Iterator[Chart]:
    rows = chosen(made.figures, BETWEEN)
    if rows:
        how = (
            "Each point is a share of held-out labels, the bar its 95 % interval. The reward model should lie clear of "
            "the rules that know nothing and near the perfect judge; beyond that one it has seen the answers."
        )
        yield Chart("Between floor and ceiling", ranges(rows, "agreement with held-out labels"), how)


def _margins(made: StageRun) -> Iterator[Chart]:
    if deltas := made.series.get("delta"):
        inside = float(np.mean((np.abs(deltas) >= BAND[0]) & (np.abs(deltas) <= BAND[1])))
        met = float(labels_met(np.asarray(deltas), np.asarray(made.series.get(SHARE, np.ones(len(deltas))))).mean())
        how = (
            f"The shaded band is the recipe's, {BAND[0]:g} to {BAND[1]:g}: {100 * inside:.0f} % of the pairs lie in "
            f"it. Dashes are what a calibrated model shows that is right on {100 * met:.0f} % of the labels: bars "
            "above them at 0 are those of an undertrained model, bars above them on the right of an overconfident one."
        )
        yield Chart("How far apart it puts two responses", margins(deltas, float(expected_spread(met))), how)


def _reliability(made: StageRun) -> Iterator[Chart]:
    curves = {}
    for name, series in (("before temperature", "delta_uncalibrated"), ("after temperature", "delta")):
        if deltas := made.series.get(series):
            curves[name] = _claims(np.asarray(deltas), np.asarray(made.series.get(SHARE, np.ones(len(deltas)))))
    if curves:
        how = (
            "Each point is a bin of as many pairs. On the diagonal a claim of 80 % is right on 80 % of the labels; "
            "below it the model claims too much."
        )
        yield Chart("Are its claims right?", reliability(curves), how)


def _claims(deltas: NDArray[np.float64], shares: NDArray[np.float64]) -> Points:
    """Claimed and observed accuracy in bins of equal mass."""
    claimed, met = expit(np.abs(deltas)), labels_met(deltas, shares)
    count = min(max(len(claimed) // FEWEST, 1), BINS)
    bins = np.array_split(np.argsort(claimed, kind="stable"), count)
    return [(float(claimed[members].mean()), float(met[members].mean())) for members in bins]


def _slices(made: StageRun) -> Iterator[Chart]:
    rows = chosen(made.figures, SLICES)
    if len(rows) > 1:
        how = "The dashed line is a coin. Rows by which response is longer that lie far apart mean that length decides."
        yield Chart("Where it is right", ranges(rows, "agreement with held-out labels", rule=0.5), how)


def _paid_for(made: StageRun) -> Iterator[Chart]:
    """The stress test: how often something that is no answer is worth more than the honest one."""
    if rows := chosen(made.figures, {f"pays_for_{name}": words for name, words in PAID_FOR.items()}):
        how = (
            "Share of prompts on which this is worth more to it than the honest answer. What lies right of the dashed "
            "half with its whole bar is what PPO will find."
        )
        yield Chart("What it pays for", ranges(rows, "share of prompts", rule=0.5), how)


def _surely_wrong(made: StageRun) -> tuple[Sequence[Quote], list[str]]:
    """The pairs whose labels it contradicts most surely."""
    if PAIRS not in made.rows:
        return [], ["The held-out pairs are not kept, so those on which it is surely wrong cannot be shown."]
    if made.texts_hashed:
        return [], ["Texts are kept only as SHA-256, so the pairs on which it is surely wrong cannot be read here."]
    pairs = made.rows[PAIRS]
    deltas = (pairs["chosen_score"].to_numpy() - pairs["rejected_score"].to_numpy()) / _temperature(made)
    worst = [int(index) for index in np.argsort(deltas)[:WRONG] if deltas[index] < 0]
    quotes = []
    for place, row in zip(worst, pairs.take(worst).to_pylist(), strict=True):
        claim = f"{100 * expit(-deltas[place]):.0f} % sure of the wrong one (Δ {deltas[place]:.2f})"
        texts = [("prompt", in_words(row["prompt"])), ("people chose", row["chosen"]), ("it prefers", row["rejected"])]
        quotes.append(Quote(claim, texts))
    return quotes, []


def _temperature(made: StageRun) -> float:
    return made.figures["temperature"].value if "temperature" in made.figures else 1.0
