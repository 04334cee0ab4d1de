"""Gold audit: what answers are truly worth, in total and by component, for people who read a run."""

from collections.abc import Mapping, Sequence

from rlhf_core.data.records import Response
from rlhf_core.embedded_world.gold import gold_components, gold_reward
from rlhf_core.metrics.estimates import Estimate, mean, proportion
from rlhf_core.metrics.win_rate import win_rate


def audit(prompts: Sequence[str], answers: Mapping[str, Sequence[Response]]) -> dict[str, Estimate]:
    """Judge answers of several models to the same prompts by the truth.

    Args:
        prompts: prompts of the help desk.
        answers: responses of each model, by its name, in the order of the prompts.

    Returns:
        For each model `<name>_gold`, `<name>_right` (share of right answers), `<name>_gold_<component>`; for each model
        after the first `<name>_win_rate` over the one before it. Rewards are in logits of an annotator's choice.
    """
    figures: dict[str, Estimate] = {}
    golds: list[list[float]] = []
    for name, responses in answers.items():
        rows = list(zip(prompts, responses, strict=True))
        components = [gold_components(prompt, *response) for prompt, response in rows]
        golds.append([gold_reward(prompt, *response) for prompt, response in rows])
        figures[f"{name}_gold"] = mean(golds[-1])
        figures[f"{name}_right"] = proportion(sum(row["right"] > 0 for row in components), len(components))
        for component in components[0]:
            figures[f"{name}_gold_{component}"] = mean([row[component] for row in components])
        if len(golds) > 1:
            figures[f"{name}_win_rate"] = win_rate(golds[-1], golds[-2])
    return figures
