"""What the climb cost, and what people would have cost in place of the reward model."""

from flows.pipeline.climb_page.climb import Climb, StageRun
from flows.pipeline.climb_page.data import uses
from flows.pipeline.climb_page.parts import Part
from flows.report import Sheet

TITLE = "What did it cost, and what did it save?"

SECONDS_EACH = (30, 120)
"""What a person takes to compare two responses, at least and at most, after the recipe."""

WAGE = 15.0
"""Of an annotator for an hour, an assumption, in the currency of `compute.price_per_hour`."""


def economics_part(climb: Climb) -> Part:
    """Passes of the reward model as comparisons of people, time and price of the machine, labels that were used."""
    sentences, missing = [], []
    passes = scored(climb)
    if passes:
        hours = [passes * seconds / 3600 for seconds in SECONDS_EACH]
        sentences.append(
            f"The reward model scored about {passes:,} answers in place of a person. At {SECONDS_EACH[0]} to "
            f"{SECONDS_EACH[1]} s for a comparison that is {hours[0]:,.0f} to {hours[1]:,.0f} hours of people, "
            f"{hours[0] * WAGE:,.0f} to {hours[1] * WAGE:,.0f} at a wage of {WAGE:g} an hour (assumed)."
        )
    else:
        missing.append("How many answers the reward model scored in training was not logged.")
    pairs = [use for use in uses(climb).values() if use.name.startswith("preferences")]
    if pairs:
        sentences.append(f"It learned from {sum(use.rows for use in pairs):,} labelled pairs, held-out ones included.")
    if "price_per_hour" not in climb.settings.get("compute", {}) or climb.settings["compute"]["price_per_hour"] is None:
        missing.append("The machine has no price: set `compute.price_per_hour` to see what stages cost.")
    return Part("economics", TITLE, sentences, sheets=[_stages(climb)], missing=missing)


def scored(climb: Climb) -> int:
    """Answers that the reward model scored while the policy trained, by rollouts and evaluations."""
    made = climb.stages.get("policy")
    if made is None:
        return 0
    settings = climb.settings.get("policy", {})
    rollouts = len(made.curves.get("reward_score", ())) * int(settings.get("rollout_size", 0))
    judged = made.figures["judge_win_rate"].n if "judge_win_rate" in made.figures else 0
    watched = min(int(settings.get("evaluation_prompts", 0)), judged)  # as many as those that judge, or one more
    return rollouts + len(made.curves.get("eval_reward_score", ())) * watched


def _stages(climb: Climb) -> Sheet:
    rows = [_stage(climb, stage, made) for stage, made in climb.stages.items()]
    seconds = [made.training.seconds for made in climb.stages.values() if made.training and made.training.seconds]
    if rows:
        rows.append(("together", "", "", f"{sum(seconds):,.0f}", ""))
    return Sheet("Stages", ("stage", "version", "how", "seconds", "cost"), rows, ("seconds", "cost"))


def _stage(climb: Climb, stage: str, made: StageRun) -> tuple[str, ...]:
    training = made.training
    if training is None:
        return stage, made.version.label, "its run is gone", "", ""
    how = "trained here" if training.ladder_run == climb.run_id else "reused"
    seconds = "unknown" if training.seconds is None else f"{training.seconds:,.0f}"
    return stage, made.version.label, how, seconds, "unknown" if training.cost is None else f"{training.cost:.4f}"
