"""Default gates against the champion: a version must not be worse than the one that it would replace."""

from collections.abc import Mapping, Sequence

from rlhf_core.gates.gate import Gate
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.paired import Paired

OVER_CHAMPION = "_over_champion"
"""Ends the name of a figure that compares a version with the champion on the same rows, such as
`judge_win_rate_over_champion`."""

NO_CHAMPION, IS_CHAMPION = "there is no champion to replace", "this is the champion"
"""Why there is no such figure."""

NOTHING = Estimate(0.0, -float("inf"), float("inf"), 0)
"""A figure that nothing could be measured for: too few samples for any gate."""


def asked_of_champion(gates: Sequence[Gate]) -> list[str]:
    """The figures of a comparison with the champion that gates ask for."""
    return [gate.metric for gate in gates if gate.metric.endswith(OVER_CHAMPION)]


def over_champion(figures: Mapping[str, Paired], asked: Sequence[str]) -> dict[str, Estimate]:
    """The figures of a comparison as gates name them; without any, each that is asked has no sample, so gates abstain.

    Args:
        figures: of the comparison, by name.
        asked: as `asked_of_champion` gives them.
    """
    if not figures:
        return dict.fromkeys(asked, NOTHING)
    return {f"{name}{OVER_CHAMPION}": paired.between for name, paired in figures.items()}


SFT_CHAMPION_GATES = (
    Gate(
        name="not-worse-than-champion",
        metric=f"loss_nats{OVER_CHAMPION}",
        direction="below",
        threshold=0.05,
        when_missing="pass",
        difference=0.05,
        failure="less likely demonstrations than the champion's",
        reason="Not worse than what runs today by more than .05 nats a token, on the same held-out demonstrations.",
    ),
)

REWARD_MODEL_CHAMPION_GATES = (
    Gate(
        name="not-worse-than-champion",
        metric=f"agreement{OVER_CHAMPION}",
        direction="above",
        threshold=-0.05,
        min_samples=200,
        when_missing="pass",
        difference=0.05,
        failure="agrees less than the champion",
        reason="Not worse than what runs today by more than 5 points, on the same held-out pairs, of which neither has "
        "learned.",
    ),
    Gate(
        name="not-worse-on-champion-policy",
        metric=f"agreement_on_champion_policy{OVER_CHAMPION}",
        direction="above",
        threshold=0.0,
        min_samples=50,
        when_missing="pass",
        in_doubt="pass",
        failure="significantly worse than the champion on the answers that users see today",
        reason="A gain on old pairs must not hide that it knows the answers of the champion policy less well. Measured "
        "where answers of that to 50 held-out prompts are labelled.",
    ),
)

POLICY_CHAMPION_GATES = (
    Gate(
        name="not-worse-than-champion",
        metric=f"judge_win_rate{OVER_CHAMPION}",
        direction="above",
        threshold=0.4,
        when_missing="pass",
        difference=0.1,
        failure="loses to the champion",
        reason="Not worse than what runs today by more than one prompt in ten: better than SFT is not enough. In "
        "simulations equals pass in .81 of cases with 200 prompts, in .92 with 256.",
    ),
    Gate(
        name="not-worse-at-like-length",
        metric=f"judge_score_at_like_length{OVER_CHAMPION}",
        direction="above",
        threshold=0.0,
        when_missing="pass",
        in_doubt="pass",
        failure="significantly worse than the champion where both answers are of one length",
        reason="A win by length alone is none: judges like long answers.",
    ),
    Gate(
        name="not-worse-in-any-slice",
        metric=f"worst_slice_judge_win_rate{OVER_CHAMPION}",
        direction="above",
        threshold=0.5,
        min_samples=50,
        when_missing="pass",
        in_doubt="pass",
        failure="significantly loses to the champion on a part of the prompts",
        reason="A gain on most prompts must not hide that one source, length or topic got worse. The interval allows "
        "for as many slices as are looked at.",
    ),
)
