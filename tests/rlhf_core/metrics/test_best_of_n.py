"""Best-of-n by brute force: every choice counted, every distribution written out, chance simulated."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rlhf_core.metrics.best_of_n import affordable_n, best_of, best_of_n_kl, compare_best_of_n
from rlhf_core.metrics.policy import Answers

SIZES = st.integers(1, 7)


def kl_written_out(chances: NDArray[np.float64], n: int) -> float:
    """KL of the best of n to what it is chosen from, where answer i of chance p_i is ranked above all before it."""
    below = np.cumsum(chances)
    best = below**n - np.append(0.0, below[:-1]) ** n
    kept = best > 0
    return float(np.sum(best[kept] * np.log(best[kept] / chances[kept])))


@pytest.mark.parametrize("n", [1, 2, 5, 16, 64])
def test_the_kl_is_that_of_choosing_among_many_rare_answers(n: int) -> None:
    assert best_of_n_kl(n) == pytest.approx(kl_written_out(np.full(1_000_000, 1e-6), n), abs=1e-4)


@pytest.mark.parametrize("n", [2, 5, 16])
def test_the_kl_is_the_mean_log_ratio_of_simulated_choices(n: int) -> None:
    best = np.random.default_rng(1).random((200_000, n)).max(axis=1)  # among uniform ranks; its density is n u^(n-1)
    ratios = np.log(n * best ** (n - 1))
    assert abs(ratios.mean() - best_of_n_kl(n)) < 4 * ratios.std() / math.sqrt(len(ratios))


@given(weights=st.lists(st.integers(1, 50), min_size=1, max_size=8), n=st.integers(1, 40))
def test_the_kl_is_never_less_than_that_of_any_answers_however_often_they_repeat(weights: list[int], n: int) -> None:
    chances = np.array(weights) / sum(weights)
    assert kl_written_out(chances, n) <= best_of_n_kl(n) + 1e-9


@given(kl=st.floats(-2.0, 6.0), most=st.integers(1, 60))
def test_the_chosen_n_is_the_largest_that_costs_no_more(kl: float, most: int) -> None:
    n = affordable_n(kl, most)
    assert 1 <= n <= most
    assert n == 1 or best_of_n_kl(n) <= kl
    assert n == most or best_of_n_kl(n + 1) > kl


def test_two_nats_pay_for_nineteen_answers() -> None:
    assert affordable_n(2.0, 100) == 19  # log 19 - 18/19 = 1.997, log 20 - 19/20 = 2.046
    assert affordable_n(2.0, 8) == 8
    assert affordable_n(0.1, 8) == affordable_n(-0.1, 8) == 1


@given(data=st.data(), count=SIZES)
def test_the_worth_of_the_best_is_the_mean_over_every_choice(data: st.DataObject, count: int) -> None:
    n = data.draw(st.integers(1, count))
    ranking = np.array([data.draw(st.permutations(range(count))) for _ in range(3)], dtype=float)
    values = np.array(data.draw(st.lists(st.lists(st.integers(-5, 5), min_size=count, max_size=count), min_size=3,
                                         max_size=3)), dtype=float)  # fmt: skip
    expected = [
        np.mean([worth[max(choice, key=lambda place: ranks[place])] for choice in combinations(range(count), n)])
        for ranks, worth in zip(ranking, values, strict=True)
    ]
    assert best_of(n, ranking, values) == pytest.approx(expected)


def test_the_best_of_one_is_any_and_the_best_of_all_is_the_best() -> None:
    ranking, values = [[0.3, -1.0, 2.0]], [[10.0, 20.0, 60.0]]
    assert best_of(1, ranking, values) == pytest.approx([30.0])
    assert best_of(2, ranking, values) == pytest.approx([(60.0 * 2 + 10.0) / 3])
    assert best_of(3, ranking, values) == pytest.approx([60.0])


@pytest.mark.parametrize("n", [0, 4])
def test_more_than_all_samples_and_none_at_all_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"the best of {n} cannot be told from 3 samples"):
        best_of(n, [[0.0, 1.0, 2.0]], [[0.0, 1.0, 2.0]])


def answers(reward: NDArray[np.float64], judge: NDArray[np.float64], kl: float = 0.0) -> Answers:
    count = len(reward)
    nats = np.full(count, kl)
    return Answers(["text"] * count, np.ones(count), [True] * count, nats, nats, reward, judge, reward, nats)


def drawn(count: int, draws: int, seed: int = 0) -> list[Answers]:
    """Answers of an SFT model whose judge sees half of what its reward model sees."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        reward = rng.normal(size=count)
        found.append(answers(reward, 0.5 * reward + rng.normal(size=count)))
    return found


def test_a_policy_is_held_against_the_best_at_its_own_kl() -> None:
    draws = drawn(400, 32)
    policy = answers(np.zeros(400), draws[0].judge + 0.4, kl=2.0)
    found = compare_best_of_n(policy, draws)
    assert found["best_of_n"][::3] == (19, 400)
    assert found["best_of_n_kl_nats"].value == pytest.approx(math.log(19) - 18 / 19)
    expected = np.random.default_rng(1).normal(size=(100_000, 19)).max(axis=1).mean()  # 1.84 standard deviations
    reward, judge = found["best_of_n_reward_gain"], found["best_of_n_judge_gain"]
    assert reward.lower < expected < reward.upper
    assert judge.lower < expected / 2 < judge.upper
    assert found["judge_gain_over_best_of_n"].value == pytest.approx(0.4 - judge.value)
    assert found["judge_gain_over_best_of_n"].upper < 0


def test_a_policy_that_has_not_moved_is_held_against_one_answer() -> None:
    draws = drawn(300, 8)
    found = compare_best_of_n(draws[0], draws)
    assert found["best_of_n"].value == 1 and found["best_of_n_kl_nats"].value == 0.0
    gain, wins = found["judge_gain_over_best_of_n"], found["judge_win_rate_over_best_of_n"]
    assert gain.lower < 0 < gain.upper
    assert wins.lower < 0.5 < wins.upper


def test_wins_are_counted_against_every_choice_and_ties_are_half() -> None:
    draws = [answers(np.array([score]), np.array([worth])) for score, worth in ((0.0, 5.0), (1.0, 1.0), (2.0, 3.0))]
    policy = answers(np.zeros(1), np.array([3.0]), kl=0.3)
    found = compare_best_of_n(policy, draws)
    assert found["best_of_n"].value == 2  # the best of two is the third in 2 of 3 choices, else the second
    assert found["judge_win_rate_over_best_of_n"].value == pytest.approx((0.5 * 2 + 1.0) / 3)
    assert found["judge_gain_over_best_of_n"].value == pytest.approx(3.0 - (3.0 * 2 + 1.0) / 3)
