"""Figures of outside measures: what answers of several models to the same prompts are worth, each beside the last."""

from collections.abc import Mapping

from numpy.typing import ArrayLike

from rlhf_core.metrics.estimates import Estimate, mean
from rlhf_core.metrics.win_rate import paired_gain, win_rate


def compare_models(scores: Mapping[str, Mapping[str, ArrayLike]]) -> dict[str, Estimate]:
    """Compare models by every measure; a constant added to a measure changes its means and nothing else.

    Args:
        scores: of each measure, by name, what it says of the answers of each model, by its name in the order in which
            they were made, each of shape ``[N]`` for the same N prompts in the same order.

    Returns:
        `<model>_<measure>`, the mean in the unit of the measure; for each model after the first also
        `<model>_<measure>_gain` and `<model>_<measure>_win_rate` over the one before it, paired by prompt, ties
        counting half. n counts the prompts.
    """
    figures: dict[str, Estimate] = {}
    for measure, by_model in scores.items():
        before: ArrayLike | None = None
        for model, values in by_model.items():
            figures[f"{model}_{measure}"] = mean(values)
            if before is not None:
                figures[f"{model}_{measure}_gain"] = paired_gain(values, before)
                figures[f"{model}_{measure}_win_rate"] = win_rate(values, before)
            before = values
    return figures
