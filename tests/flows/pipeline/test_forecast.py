"""What is said before a climb of what it will train, and what that took before."""

from flows.config.compute import ComputeConfig
from flows.pipeline.forecast import Expected, in_words

MADE, KNOWN, NEW = Expected("sft", True, 40.0), Expected("judge", False, 90.0), Expected("policy", False, None)
LONG = Expected("reward-model", False, 3510.0)


def test_what_is_trained_is_told_apart_from_what_is_reused_with_times_of_the_former() -> None:
    assert in_words([MADE, LONG, KNOWN], ComputeConfig(price_per_hour=3.0)) == (
        "to train: reward-model, judge; reused: sft; last time reward-model 58 min, judge 90 s: "
        "60 min in all, a cost of 3.00"
    )
    assert (
        in_words([KNOWN], ComputeConfig(price_per_hour=4.0)) == "to train: judge; last time judge 90 s, a cost of 0.10"
    )
    assert in_words([MADE], ComputeConfig(price_per_hour=3.0)) == "to train: nothing; reused: sft"


def test_a_time_that_nobody_knows_is_not_made_up() -> None:
    assert in_words([NEW], ComputeConfig()) == (
        "to train: policy; how long policy will take is not known, as none was made here before"
    )


def test_a_climb_that_is_longer_than_it_may_be_is_told_so() -> None:
    warned = "more than compute.max_hours or max_cost gives"
    assert warned in in_words([LONG, KNOWN], ComputeConfig(max_hours=0.9))
    assert warned not in in_words([LONG, KNOWN], ComputeConfig(max_hours=1.1))
    assert warned in in_words([LONG, KNOWN], ComputeConfig(max_cost=2.9, price_per_hour=3.0))
