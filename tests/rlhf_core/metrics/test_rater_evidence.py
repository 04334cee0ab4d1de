"""Evidence against raters: by hand, by simulation of the most careless honest ones, and what must not count twice."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from rlhf_core.metrics.rater_evidence import (
    HONEST,
    RaterVotes,
    at_random,
    honesty_evidence,
    length_evidence,
    needed,
    without,
)


def votes(rows: list[tuple[str, int, int, int]], longer: int = 0) -> RaterVotes:
    """Votes of rows with rater, pair, group and side; of an empty name nobody is known."""
    names = sorted({row[0] for row in rows} - {""})
    codes = [names.index(row[0]) if row[0] else -1 for row in rows]
    columns = np.array([row[1:] for row in rows], dtype=np.int64).T
    return RaterVotes(names, np.array(codes), *columns, np.full(len(rows), longer))


def simulated(
    careless: dict[str, float], pairs: int, *, seed: int, each: int = 3, per_group: int = 1, spread: float = 2.0
) -> RaterVotes:
    """Raters with a share of votes by a coin, on pairs whose gap is normal."""
    rng = np.random.default_rng(seed)
    names = sorted(careless)
    rows: list[tuple[str, int, int, int]] = []
    for pair in range(pairs):
        preferred = float(expit(rng.normal(0, spread)))
        for name in rng.choice(names, each, replace=False):
            share = careless[str(name)]
            chance = (1 - share) * preferred + share / 2
            rows.append((str(name), pair, pair // per_group, 1 if rng.random() < chance else -1))
    return votes(rows)


def test_a_bet_by_hand() -> None:
    """Of ann's two others bo and cy agree on 3 of 4 pairs, so a is 1/2; three votes with both, one against both."""
    both = [(0, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1, 1), (3, 1, 1, -1)]
    rows = [
        (name, pair, pair, side) for pair, *sides in both for name, side in zip(("ann", "bo", "cy"), sides, strict=True)
    ]
    a = (1 - 0.75) / (2 * 0.75 - 1)
    chances = [(a + same) / (2 * a + 2) for same in (2, 2, 2, 1)]
    expected = sum(math.log(0.5 / (0.5 + (1 - HONEST) * (chance - 0.5))) for chance in chances)
    assert honesty_evidence(votes(rows))[0] == pytest.approx(expected, rel=1e-9)


def test_bets_on_the_pairs_of_a_group_are_averaged_and_staked_twice_at_most() -> None:
    """Of ann's two others both agree always, so a is 0 and a vote against them wins 0.5 / (0.5 - (1 - HONEST) / 2)."""
    once = [("ann", 1, 7, -1), ("bo", 1, 7, 1), ("cy", 1, 7, 1)]
    bet = 0.5 / (0.5 - (1 - HONEST) / 2)
    for copies, stake in ((1, 1), (2, 2), (5, 2)):
        rows = [(name, pair + copy, group, side) for copy in range(copies) for name, pair, group, side in once]
        assert honesty_evidence(votes(rows))[0] == pytest.approx(math.log(1 + stake * (bet - 1)), rel=1e-9)
    with_one = [(name, 2, 7, 1) for name in ("ann", "bo", "cy")]
    mean = (bet + 0.5 / (0.5 + (1 - HONEST) / 2)) / 2
    assert honesty_evidence(votes(once + with_one))[0] == pytest.approx(math.log(1 + 2 * (mean - 1)), rel=1e-9)


def test_the_most_careless_of_honest_raters_bring_a_capital_of_one_at_most_on_average() -> None:
    """Also where the pairs of a prompt are one pair asked again and again: what goes together there counts once."""
    for per_group in (1, 2, 5):
        careless = {"worst": HONEST, **{f"honest {index}": 0.0 for index in range(5)}}
        capital = [
            math.exp(honesty_evidence(simulated(careless, 30, seed=seed, per_group=per_group))[-1])
            for seed in range(300)
        ]
        error = float(np.std(capital)) / math.sqrt(len(capital))
        assert np.mean(capital) < 1 + 3 * error


def test_nobody_is_accused_where_nobody_knows_better() -> None:
    coins = simulated({name: 1.0 for name in "abcdef"}, 500, seed=1)
    assert at_random(coins) == {}
    alone = votes([("a", pair, pair, 1) for pair in range(50)])
    assert honesty_evidence(alone).tolist() == [0.0]


def beside(team: RaterVotes, others: RaterVotes) -> RaterVotes:
    """Votes of people who share no pair with others."""
    return RaterVotes(
        [*team.names, *others.names],
        np.concatenate([team.raters, others.raters + len(team.names)]),
        np.concatenate([team.pairs, others.pairs + 5000]),
        np.concatenate([team.groups, others.groups + 5000]),
        *(np.concatenate(columns) for columns in zip(team[4:], others[4:], strict=True)),
    )


OTHERS = simulated({f"rater {index}": 0.0 for index in range(6)}, 400, seed=4)


def test_whoever_always_works_with_a_random_one_is_not_accused_for_it() -> None:
    both = beside(simulated({"coin": 1.0, "ann": 0.0, "bo": 0.0}, 1500, seed=3), OTHERS)
    shown = at_random(both)
    assert list(shown) == ["coin"] and shown["coin"] > math.log(needed(both))


def test_of_two_who_share_pairs_with_nobody_else_neither_is_accused() -> None:
    assert at_random(beside(simulated({"coin": 1.0, "ann": 0.0}, 1500, seed=3, each=2), OTHERS)) == {}


def test_votes_without_a_name_are_others_and_have_no_verdict() -> None:
    named = simulated({"coin": 1.0, "b": 0.0, "c": 0.0}, 400, seed=2)
    codes = np.where(named.raters == named.names.index("coin"), 0, -1)
    assert list(at_random(RaterVotes(["coin"], codes, *named[2:]))) == ["coin"]


def test_a_rater_with_ties_alone_and_one_whose_votes_are_gone_have_no_evidence() -> None:
    some = simulated({"a": 0.0, "b": 0.0, "c": 0.0}, 100, seed=5)
    tied = some._replace(sides=np.where(some.raters == 0, 0, some.sides))
    assert honesty_evidence(tied)[0] == 0.0
    assert honesty_evidence(without(some, ["a"]))[0] == 0.0


def lengths(excess: float, pairs: int, *, seed: int) -> RaterVotes:
    """Everybody prefers the longer response by a chance of a half, but for `long`, who does so by more."""
    rng = np.random.default_rng(seed)
    rows: list[Any] = []
    for pair in range(pairs):
        for name in ("ann", "bo", "long"):
            chance = 0.5 + excess * (name == "long")
            rows.append((name, pair, pair, 1 if rng.random() < chance else -1))
    return votes(rows, longer=1)


def test_who_likes_length_more_than_others_is_seen_and_nobody_else() -> None:
    evidence = length_evidence(lengths(0.4, 500, seed=1))
    assert evidence[2] > math.log(needed(lengths(0.4, 1, seed=1))) > max(evidence[0], evidence[1])
    assert length_evidence(lengths(0.0, 500, seed=1)).max() < math.log(20)
