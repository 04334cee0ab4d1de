"""The year of the raters in small: no honest one is accused at 52 looks, a random one is found in three weeks."""

from benchmarks.quality.raters import Rater, graded, staff, year
from rlhf_core.embedded_world.annotators import AnnotatorConfig
from rlhf_core.metrics.raters import RANDOM


def test_no_honest_rater_is_accused_in_a_year_of_looks_and_who_is_none_is_found() -> None:
    raters = staff(6)
    told = graded(raters, year(raters, labels=25, votes=3, seed=1))
    assert told["wrongly_random"] == {} and told["wrongly_length"] == {}
    assert told["found_random"] is not None and told["found_length"] is not None


def test_a_random_rater_is_found_within_three_weeks_of_joining_by_200_labels_a_week() -> None:
    raters = {name: rater._replace(joins=0) for name, rater in staff(7).items() if name != "length"}
    raters["random"] = Rater(AnnotatorConfig(careless_share=1.0), joins=1)
    for seed in (1, 2):
        *_, last = year(raters, labels=200, votes=3, seed=seed, weeks=4)
        assert {name for name, verdicts in last.verdicts.items() if verdicts} == {"random"}
        assert last.verdicts["random"] == (RANDOM,)
