import numpy as np
import pytest
from scipy import integrate, stats

from rlhf_core.gates.defaults import DEFAULT_REWARD_MODEL_GATES
from rlhf_core.gates.gate import judge
from rlhf_core.metrics.estimates import mean
from rlhf_core.metrics.label_noise import agreement_ceiling, ceilings
from rlhf_core.metrics.reward_model import share_of_ceiling
from tests.rlhf_core.metrics.votes import ceiling_bounds

SINGLE = [1]


def simulate(spread: float, pairs: int, annotators: int, seed: int) -> tuple[list[int], list[int], float]:
    """Votes of annotators who prefer the first with probability sigma(delta), delta ~ N(0, spread^2), and the truth."""
    rng = np.random.default_rng(seed)
    first = rng.binomial(annotators, 1 / (1 + np.exp(-rng.normal(0, spread, pairs))))
    chosen = np.maximum(first, annotators - first)
    truth, _ = integrate.quad(lambda d: stats.norm.pdf(d, 0, spread) / (1 + np.exp(-abs(d))), -12 * spread, 12 * spread)
    return chosen.tolist(), (annotators - chosen).tolist(), truth


def test_finds_the_known_ceiling_of_the_embedded_world() -> None:
    chosen, rejected, truth = simulate(1.9, 20_000, 5, seed=0)
    ceiling = agreement_ceiling(chosen, rejected, judged_votes=SINGLE)
    assert truth == pytest.approx(0.77, abs=0.01)
    assert ceiling is not None
    assert ceiling.value == pytest.approx(truth, abs=0.01)
    assert ceiling.n == 20_000


@pytest.mark.parametrize("annotators", [3, 5, 7])
@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_is_close_for_other_spreads_and_numbers_of_annotators(spread: float, annotators: int) -> None:
    chosen, rejected, truth = simulate(spread, 20_000, annotators, seed=1)
    ceiling = agreement_ceiling(chosen, rejected, judged_votes=SINGLE)
    assert ceiling is not None
    assert ceiling.value == pytest.approx(truth, abs=0.015)


def test_majority_share_would_overstate_it() -> None:
    chosen, _, truth = simulate(1.9, 20_000, 5, seed=0)
    assert np.mean(chosen) / 5 > truth + 0.02


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        chosen, rejected, truth = simulate(1.9, 400, 5, seed)
        ceiling = agreement_ceiling(chosen, rejected, judged_votes=SINGLE)
        assert ceiling is not None
        assert ceiling.lower < ceiling.value < ceiling.upper
        covered += ceiling.lower <= truth <= ceiling.upper
    assert 0.90 <= covered / 200 <= 0.99


def test_pairs_that_come_together_widen_the_interval_so_that_it_holds_the_truth() -> None:
    """All twelve pairs of a prompt are as clear as one another."""
    prompts, runs = np.repeat(np.arange(60), 12), 40
    _, _, truth = simulate(1.9, 1, 5, seed=0)
    held = {"together": 0, "apart": 0}
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        first = rng.binomial(5, 1 / (1 + np.exp(-rng.normal(0, 1.9, 60)[prompts])))
        for name, groups in (("together", prompts), ("apart", None)):
            ceiling = agreement_ceiling(first.tolist(), (5 - first).tolist(), groups=groups, judged_votes=SINGLE)
            assert ceiling is not None and ceiling.n == (60 if name == "together" else 720)
            held[name] += ceiling.lower <= truth <= ceiling.upper
    assert held["together"] >= 0.9 * runs > 0.8 * runs > held["apart"], held


def test_copies_add_no_certainty_to_the_ceiling_and_one_prompt_has_no_interval() -> None:
    chosen, rejected, _ = simulate(1.9, 200, 5, seed=4)
    once = agreement_ceiling(chosen, rejected, judged_votes=SINGLE)
    copied = agreement_ceiling(chosen * 3, rejected * 3, groups=[*range(200)] * 3, judged_votes=SINGLE)
    assert once is not None and copied == pytest.approx(once, abs=1e-5)
    alone = agreement_ceiling(chosen, rejected, groups=["how"] * 200)
    assert alone is not None and not alone.has_interval and alone.n == 1


def test_which_response_is_called_chosen_does_not_matter() -> None:
    forwards = agreement_ceiling([3, 2, 3, 2], [0, 1, 0, 1])
    backwards = agreement_ceiling([0, 2, 3, 1], [3, 1, 0, 2])
    assert forwards == pytest.approx(backwards)


def test_unanimous_votes_reach_one_and_coin_flips_one_half() -> None:
    unanimous = agreement_ceiling([5] * 100, [0] * 100)
    coins = agreement_ceiling([2] * 500 + [3] * 500, [2] * 500 + [3] * 500, judged_votes=SINGLE)
    assert unanimous is not None and unanimous.value > 0.99 and unanimous.lower < unanimous.value
    assert coins is not None and coins.value < 0.52


def test_is_unknown_without_repeated_votes() -> None:
    assert agreement_ceiling([1, 1, 2], [0, 0, 0]) is None
    assert agreement_ceiling([], []) is None


def test_refuses_impossible_counts() -> None:
    with pytest.raises(ValueError, match="negative"):
        agreement_ceiling([3], [-1])
    with pytest.raises(ValueError, match="shorter"):
        agreement_ceiling([3, 3], [1])


def test_the_ceiling_lies_between_the_bounds_that_agreement_of_two_sets() -> None:
    # 3 to 0: all three pairs of annotators agree; 2 to 1: one of three does
    assert ceiling_bounds([3, 2], [0, 1]).agreement == pytest.approx((1 + 1 / 3) / 2)
    chosen, rejected, truth = simulate(1.9, 20_000, 5, seed=2)
    bounds, ceiling = ceiling_bounds(chosen, rejected), agreement_ceiling(chosen, rejected, judged_votes=SINGLE)
    assert bounds.ceiling_from < truth < bounds.ceiling_to
    assert ceiling is not None and bounds.ceiling_from < ceiling.value < bounds.ceiling_to


def truth_of_majorities(spread: float, votes: int) -> float:
    """How often the majority of votes names the likelier response, if it names one; p = sigma(N(0, spread^2))."""
    sizes = spread * np.abs(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000))
    right, wrong = (stats.binom.sf(votes // 2, votes, 1 / (1 + np.exp(-side))) for side in (sizes, -sizes))
    return float(right.sum() / (right.sum() + wrong.sum()))


@pytest.mark.parametrize("votes", [1, 3, 4, 5, 7])
def test_the_ceiling_of_majorities_is_that_of_binomial_sums(votes: int) -> None:
    chosen, rejected, truth = simulate(1.5, 20_000, 5, seed=3)
    ceiling = agreement_ceiling(chosen, rejected, judged_votes=[votes])
    assert ceiling is not None
    assert ceiling.value == pytest.approx(truth_of_majorities(1.5, votes), abs=0.015)
    assert ceiling.lower < ceiling.value < ceiling.upper
    assert votes != 1 or truth_of_majorities(1.5, 1) == pytest.approx(truth, abs=1e-4)


def test_a_tie_of_four_votes_is_no_label() -> None:
    # the fit is Beta(1, 1), as below, so p is uniform
    ceiling = agreement_ceiling([3] * 5000 + [2] * 5000, [0] * 5000 + [1] * 5000, judged_votes=[4])
    right, _ = integrate.quad(lambda p: stats.binom.sf(2, 4, p), 0.5, 1.0)
    wrong, _ = integrate.quad(lambda p: stats.binom.sf(2, 4, p), 0.0, 0.5)
    assert ceiling is not None and ceiling.value == pytest.approx(right / (right + wrong), abs=1e-4)


def test_uniform_preferences_by_hand() -> None:
    # 2 to 1 and 3 to 0 are equally frequent where p is uniform, so that the fit is Beta(1, 1)
    ceiling = agreement_ceiling([3] * 5000 + [2] * 5000, [0] * 5000 + [1] * 5000, judged_votes=[1, 3])
    # one vote: E max(p, 1 - p) = 3/4; three: 2 E[p^3 + 3 p^2 (1 - p); p > 1/2] = 13/16
    assert ceiling is not None and ceiling.value == pytest.approx((3 / 4 + 13 / 16) / 2, abs=1e-4)


def test_votes_that_count_differently_are_as_many_as_they_decide_like() -> None:
    # p is uniform: one vote is right with 3/4, the majority of three with 13/16, as above
    fitted = ([3] * 5000 + [2] * 5000, [0] * 5000 + [1] * 5000)

    def ceiling_of(*weights: int) -> float:
        found = agreement_ceiling(*fitted, judged_votes=[weights])
        assert found is not None
        return found.value

    assert ceiling_of(3) == pytest.approx(3 / 4, abs=1e-4)  # one person, whatever the vote counts
    assert ceiling_of(3, 1, 1) == pytest.approx(3 / 4, abs=1e-4)  # the first decides alone
    assert ceiling_of(2, 2, 2) == ceiling_of(3, 2, 2) == pytest.approx(13 / 16, abs=1e-4)  # any two decide
    # 2, 1 and 1: the first with another, or all three against nobody; the first against both is a tie
    right, _ = integrate.quad(lambda p: p**3 + 2 * p**2 * (1 - p), 0.5, 1.0)
    wrong, _ = integrate.quad(lambda p: p**3 + 2 * p**2 * (1 - p), 0.0, 0.5)
    assert ceiling_of(2, 1, 1) == pytest.approx(right / (right + wrong), abs=1e-4)
    assert ceiling_of(1, 1, 1) == agreement_ceiling(*fitted, judged_votes=[3])[0]  # type: ignore[index]


def test_ties_that_were_left_out_are_not_taken_for_agreement() -> None:
    # where p is uniform, 0, 1, 2, 3 and 4 of four votes for the first are equally frequent; without ties 3 and 4 stay
    for pairs in (
        ([4] * 4000 + [3] * 4000, [0] * 4000 + [1] * 4000),
        ([4] * 4 + [3] * 4 + [2] * 2, [0] * 4 + [1] * 4 + [2] * 2),
    ):
        ceiling = agreement_ceiling(*pairs, judged_votes=SINGLE)
        assert ceiling is not None and ceiling.value == pytest.approx(3 / 4, abs=1e-4)


def test_a_judge_is_right_about_half_of_the_labels_that_chance_decided() -> None:
    found = ceilings([3] * 5000 + [2] * 5000, [0] * 5000 + [1] * 5000, [0, 1])  # p is uniform
    assert found["held_out_ceiling"].value == pytest.approx((1 / 2 + 3 / 4) / 2, abs=1e-4)


def test_labels_are_majorities_of_the_votes_of_their_pair_unless_others_are_judged() -> None:
    chosen, rejected = [3, 2, 5, 1, 4, 2, 1], [0, 1, 0, 0, 1, 1, 1]  # of 3, 3, 5, 1, 5, 3 and 2 votes
    own = agreement_ceiling(chosen, rejected)
    assert own == pytest.approx(agreement_ceiling(chosen, rejected, judged_votes=[1, 2, 3, 3, 3, 5, 5]))
    assert own != agreement_ceiling(chosen, rejected, judged_votes=[5])
    found = ceilings(chosen, rejected, [3, 3])
    assert found["ceiling"].value < found["held_out_ceiling"].value
    assert set(ceilings(chosen, rejected, [])) == {"ceiling"}


@pytest.mark.parametrize("votes", [1, 3, 5])
def test_good_reward_models_are_not_better_than_perfect_and_weak_ones_are_not_near_it(votes: int) -> None:
    gates = [gate for gate in DEFAULT_REWARD_MODEL_GATES if gate.metric == "share_of_ceiling"]
    statuses = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        deltas = rng.normal(0.0, 1.5, 2000)
        first = rng.binomial(votes, 1 / (1 + np.exp(-deltas)))
        repeated = first if votes > 1 else rng.binomial(5, 1 / (1 + np.exp(-rng.normal(0.0, 1.5, 400))))
        total = votes if votes > 1 else 5
        ceiling = agreement_ceiling(repeated.tolist(), (total - repeated).tolist(), judged_votes=[votes])
        assert ceiling is not None
        for noise in (0.8, 3.5):
            scores = deltas + rng.normal(0.0, noise, 2000)
            share = share_of_ceiling(mean((scores > 0) == (first > votes / 2)), ceiling)
            statuses.append((noise, *(found.status for found in judge(gates, {"share_of_ceiling": share}))))
    assert set(statuses) == {(0.8, "pass", "pass"), (3.5, "fail", "pass")}
