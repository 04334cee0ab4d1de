"""Training of the policy on the page: what it gained for which drift, where it was stopped, and whether it learned."""

from collections.abc import Iterator, Mapping

import numpy as np

from flows.pipeline.climb_page.charts import Points, lines, ranges, shares
from flows.pipeline.climb_page.climb import Climb, StageRun
from flows.pipeline.climb_page.parts import Chart, Part, chosen, interval

TITLE = "What did training do to the policy?"

DISTANCE = "√KL to the SFT model, nats per response"

BY_UPDATE = (
    (
        "KL to the SFT model",
        "nats per response",
        {"sampled": "kl_to_sft_nats", "held out": "eval_kl_to_sft_nats"},
        "How far the policy has gone from its SFT model. It should level off inside its budget.",
    ),
    (
        "Entropy",
        "nats per token",
        {"sampled": "entropy_nats", "held out": "eval_entropy_nats"},
        "How open its choice of words is. A fall towards 0 is collapse.",
    ),
    (
        "Length",
        "tokens per response",
        {"sampled": "response_tokens", "held out": "eval_response_tokens"},
        "Most reward hacking is length: a steady rise deserves a look at the answers.",
    ),
    (
        "Clipped steps",
        "share of tokens",
        {"clipped": "clipfrac"},
        "Tokens whose step PPO cut off. Up to a fifth is common; beyond a third the steps are too large.",
    ),
    (
        "Fit of the value model",
        "explained variance",
        {"explained": "explained_variance"},
        "1 foresees every return, 0 is a constant guess; below 0 the value model misleads.",
    ),
    (
        "Diversity",
        "ratio or share",
        {"distinct word pairs": "eval_distinct_2_ratio", "repeated answers": "eval_duplicate_share"},
        "Distinct word pairs over those of SFT, and answers that repeat another one. A fall with a rise is collapse.",
    ),
)
"""Small charts over the updates: title, unit, curves by name, how to read it."""

TIMES = {"sampling": "rollout_seconds", "scoring": "scoring_seconds", "updates": "update_seconds"}

END = {
    "judge_reward_gain": "judge gain",
    "reward_gain": "reward gain",
    "best_of_n_judge_gain": "judge gain of best-of-n",
    "judge_gain_over_best_of_n": "gain over best-of-n",
}


def policy_part(climb: Climb) -> Part:
    """What training did, by its curves and by what was measured at its end."""
    made = climb.stages.get("policy")
    if made is None:
        return Part("policy", TITLE, missing=["This climb reached no policy."])
    drawn = [*_drift(made), *_ends(made), *_by_update(made), *_times(made)]
    drawn_titles = {chart.title for chart in drawn}
    missing = [f"{title} was not logged." for title, *_ in BY_UPDATE if title not in drawn_titles]
    if not set(TIMES.values()) & set(made.curves):
        missing.append("Wall time by part was not logged.")
    return Part("policy", TITLE, list(_said(climb, made)), drawn, missing=missing)


def _said(climb: Climb, made: StageRun) -> Iterator[str]:
    yield (
        f"Training {climb.ended}."
        if climb.ended
        else "Training went to its last update, and its last state is the result."
    )
    if kl := made.figures.get("kl_to_sft_nats"):
        yield f"The result lies {interval(kl)} nats from its SFT model on held-out prompts."
    if lost := made.figures.get("overoptimisation"):
        yield f"Of the judge's largest fitted gain it has lost {interval(lost)} again (0 is before the peak)."


def _drift(made: StageRun) -> Iterator[Chart]:
    """Reward and judge over the distance, each less what it was before training."""
    series = made.series
    if not all(series.get(name) for name in ("eval_kl", "eval_reward", "eval_judge")):
        return
    distance = np.sqrt(np.maximum(series["eval_kl"], 0.0)).tolist()
    curves = {
        name: [(at, value - series[key][0]) for at, value in zip(distance, series[key], strict=True)]
        for name, key in (("reward model, maximised", "eval_reward"), ("judge, only measures", "eval_judge"))
    }
    lower, upper = (series.get(f"eval_judge_gain_{end}", []) for end in ("lower", "upper"))
    bounds = list(zip(distance, lower, upper, strict=True)) if lower and upper else ()
    stop = float(np.sqrt(max(made.figures["kl_to_sft_nats"].value, 0.0))) if "kl_to_sft_nats" in made.figures else None
    how = (
        "Watched prompts, from the SFT model on the left. Where the reward still rises and the judge does not, the "
        "policy exploits its reward model. The dashed upright is where the result was taken; the shade is the judge's "
        "95 % interval."
    )
    drawn = lines(curves, DISTANCE, "gain over the start, logits", bounds=bounds, stop=stop, level=0.0)
    yield Chart("Gain for drift", drawn, how)


def _ends(made: StageRun) -> Iterator[Chart]:
    if rows := chosen(made.figures, END):
        how = "On prompts that decided nothing in training. A whole bar right of the dashed 0 is a gain beyond noise."
        yield Chart("At the end", ranges(rows, "logits over the SFT model", rule=0.0), how)


def _by_update(made: StageRun) -> Iterator[Chart]:
    for title, unit, names, how in BY_UPDATE:
        curves = _curves(made, names)
        if curves:
            yield Chart(title, lines(curves, "update", unit), how)


def _curves(made: StageRun, names: Mapping[str, str]) -> dict[str, Points]:
    return {name: made.curves[metric] for name, metric in names.items() if made.curves.get(metric)}


def _times(made: StageRun) -> Iterator[Chart]:
    seconds = {
        part: sum(value for _, value in made.curves[metric]) for part, metric in TIMES.items() if metric in made.curves
    }
    if seconds:
        how = "Wall time of all updates: sampling answers, asking the frozen models and the values, taking steps."
        yield Chart("Where the time went", shares(seconds), how)
