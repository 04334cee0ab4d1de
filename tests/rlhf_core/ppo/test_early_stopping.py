"""When training is to stop, and which state is then the result."""

import json

import numpy as np
import pytest

from rlhf_core.config.control import CollapseConfig, MonitorConfig
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.metrics.policy import Answers
from rlhf_core.ppo.early_stopping import STOPS, EarlyStopping

N = 60
CONFIG = PPOConfig(updates=20, evaluate_every=4, kl_budget_nats=5.0)
HARDNESS = np.random.default_rng(0).normal(0.0, 2.0, N)


def answers(seed: int, *, kl: float = 0.0, reward: float = 0.0, judge: float = 0.0, texts: int = N) -> Answers:
    rng = np.random.default_rng(seed)
    drawn = [" ".join(f"w{word}" for word in rng.integers(0, 200, 12)) for _ in range(texts)]
    return Answers(
        texts=[drawn[index % texts] for index in range(N)],
        tokens=np.full(N, 12.0),
        finished=[True] * N,
        kl=rng.normal(kl, 0.5, N),
        kl_k3=np.full(N, kl),
        reward=HARDNESS + reward + rng.normal(0.0, 0.3, N),
        judge=HARDNESS + judge + rng.normal(0.0, 0.3, N),
        disagreement=np.full(N, np.nan),
        surprisal=rng.gamma(16.0, 1.0, N),
    )


SFT = answers(1)


def watched(config: PPOConfig, *evaluations: Answers) -> EarlyStopping:
    """A watch that saw these, the SFT model first; none but the last may stop it."""
    early_stopping = EarlyStopping(config)
    early_stopping.add(0, SFT, SFT)
    for number, one in enumerate(evaluations, start=1):
        assert not early_stopping.stopped
        early_stopping.add(4 * number, SFT, one)
    return early_stopping


def stops(early_stopping: EarlyStopping) -> set[str]:
    """What ended training, by the metrics."""
    return {name for name, value in early_stopping.stops.items() if value}


RISING = (answers(2, kl=0.5, reward=0.5, judge=0.4), answers(3, kl=1.0, reward=1.0, judge=0.8))
TURNED = answers(4, kl=2.0, reward=1.6, judge=0.2)


def test_a_run_that_gains_goes_on_and_its_last_state_is_the_result() -> None:
    early_stopping = watched(CONFIG, *RISING)
    assert (early_stopping.stopped, early_stopping.result, early_stopping.outcome) == (False, 8, "")
    assert early_stopping.candidates == {8}
    assert set(early_stopping.stops.values()) == {0.0}


def test_a_judge_that_turns_while_the_proxy_rises_ends_training_at_its_best() -> None:
    early_stopping = watched(CONFIG, *RISING, TURNED)
    assert stops(early_stopping) == {"over_optimised"}
    assert early_stopping.result == 8
    assert early_stopping.outcome.startswith(
        "stopped after update 12 of 20: over-optimised, the judge's mean fell by 0."
    )
    assert early_stopping.outcome.endswith(
        "since update 8 while the reward model's rose by "
        f"{(TURNED.reward - RISING[1].reward).mean():.3g}; the result is the state after update 8"
    )
    assert early_stopping.estimates["over_optimised"].value == 1.0


def test_the_best_state_is_kept_beside_the_last_one_while_the_fall_is_not_yet_significant() -> None:
    early_stopping = watched(CONFIG, *RISING, answers(5, kl=1.5, reward=1.2, judge=0.75))
    assert not early_stopping.stopped
    assert early_stopping.candidates == {8, 12} and early_stopping.result == 12


@pytest.mark.parametrize(
    ("config", "last"),
    [
        (CONFIG.model_copy(update={"monitor": None}), TURNED),
        (CONFIG, answers(4, kl=2.0, reward=0.5, judge=0.2)),  # the proxy falls too: not what it means
        (CONFIG, answers(4, kl=2.0, reward=1.6, judge=0.7)),  # too little to be sure
    ],
    ids=["no monitor", "the proxy falls", "not significant"],
)
def test_otherwise_it_goes_on(config: PPOConfig, last: Answers) -> None:
    assert not watched(config, *RISING, last).stopped


def test_a_judge_that_stays_where_it_is_stops_hardly_any_run() -> None:
    stopped = 0
    config = CONFIG.model_copy(update={"collapse": None, "monitor": MonitorConfig(confidence=0.8)})
    for seed in range(40):
        flat = watched(config, answers(100 + seed, kl=0.5)).state
        rng = np.random.default_rng(seed)
        for number in (2, 3):  # as if they had been looked at
            flat["steps"].append(4 * number)
            for name in ("kl", "reward", "judge"):
                flat[name].append((HARDNESS + rng.normal(0.0, 0.3, N)).tolist())
            flat["entropy"].append(1.0)
        early_stopping = EarlyStopping(config, flat)
        early_stopping.add(16, SFT, answers(500 + seed, kl=0.5, reward=1.0))
        stopped += early_stopping.stopped
    assert stopped <= 4  # a fifth of the runs at most over all looks, and this is one of 5


@pytest.mark.parametrize(
    ("config", "last", "why"),
    [
        (CONFIG, answers(4, kl=1.0, texts=2), "distinct_2_ratio is at most"),
        (
            CONFIG.model_copy(update={"collapse": CollapseConfig(distinct_2_ratio=None)}),
            answers(4, kl=1.0, texts=2),
            "its answers collapsed: duplicate_share_gain is at least",
        ),
        (
            CONFIG.model_copy(update={"collapse": CollapseConfig(entropy_ratio=0.5)}),
            RISING[1]._replace(surprisal=np.full(N, 0.1)),
            "entropy_ratio is at most",
        ),
    ],
)
def test_a_collapse_ends_training_at_the_state_before_it(config: PPOConfig, last: Answers, why: str) -> None:
    early_stopping = watched(config, *RISING, last)
    assert stops(early_stopping) == {"collapsed"} == {name for name in STOPS if early_stopping.estimates[name].value}
    assert early_stopping.result == 8 and why in early_stopping.outcome
    assert early_stopping.estimates["collapsed"].value == 1.0


def test_an_sft_model_that_repeats_itself_is_no_collapse() -> None:
    dull = answers(9, texts=4)
    early_stopping = EarlyStopping(CONFIG)
    early_stopping.add(0, dull, dull)
    early_stopping.add(4, dull, answers(10, kl=0.2, texts=4))
    assert not early_stopping.stopped


def test_without_thresholds_nothing_is_a_collapse() -> None:
    assert not watched(CONFIG.model_copy(update={"collapse": None}), answers(4, texts=2)).stopped


def test_kl_beyond_the_budget_ends_training_at_the_state_inside() -> None:
    early_stopping = watched(CONFIG, *RISING, answers(4, kl=5.2, reward=2.0, judge=1.0))
    assert stops(early_stopping) == {"over_kl_budget"} and early_stopping.result == 8
    assert "beyond the budget of 5" in early_stopping.outcome


PATIENT = CONFIG.model_copy(update={"monitor": MonitorConfig(patience=2)})
FLAT = answers(7, kl=2.0, reward=1.4, judge=0.8)


def test_a_judge_that_stalls_while_kl_and_proxy_rise_ends_training_where_its_patience_began() -> None:
    early_stopping = watched(PATIENT, *RISING, FLAT, answers(8, kl=3.0, reward=1.8, judge=0.8))
    assert stops(early_stopping) == {"stalled"} and early_stopping.result == 8
    assert early_stopping.outcome.startswith(
        "stopped after update 16 of 20: the judge stalled, its mean rose by no more than"
    )
    assert "since update 8 while the reward model's rose by 0." in early_stopping.outcome
    assert early_stopping.outcome.endswith("nats; the result is the state after update 8")


@pytest.mark.parametrize(
    ("config", "last"),
    [
        (CONFIG, answers(8, kl=3.0, reward=1.8, judge=0.8)),  # nobody asked for patience
        (PATIENT, answers(8, kl=3.0, reward=1.8, judge=1.2)),  # the judge rises
        (PATIENT, answers(8, kl=1.0, reward=1.8, judge=0.8)),  # no further away than then
        (PATIENT, answers(8, kl=3.0, reward=0.8, judge=0.8)),  # the proxy does not rise either
    ],
    ids=["no patience", "the judge rises", "the KL stays", "the proxy falls"],
)
def test_otherwise_nothing_stalls(config: PPOConfig, last: Answers) -> None:
    assert not watched(config, *RISING, FLAT, last).stopped


def test_states_of_the_judges_patience_are_kept_until_it_is_over() -> None:
    assert watched(PATIENT, *RISING).candidates == {0, 4, 8}
    assert watched(PATIENT, *RISING, FLAT).candidates == {4, 8, 12}


def divided(seed: int, disagreement: float) -> Answers:
    spread = np.random.default_rng(seed).gamma(4.0, disagreement / 4.0, N)
    return answers(seed, kl=0.1 * seed, judge=0.1 * seed)._replace(disagreement=spread)


def test_members_that_disagree_more_than_about_sft_end_training_at_the_state_before() -> None:
    config = CONFIG.model_copy(update={"disagreement_limit": 0.1})
    early_stopping = EarlyStopping(config)
    sft = divided(1, 0.1)
    for step, level in ((0, 0.1), (4, 0.12), (8, 0.15)):
        metrics = early_stopping.add(step, sft, sft if step == 0 else divided(2 + step, level))
        assert not early_stopping.stopped
    assert metrics["reward_disagreement_gain"] == pytest.approx(
        (divided(10, 0.15).disagreement - sft.disagreement).mean()
    )
    early_stopping.add(12, sft, divided(14, 0.4))
    assert stops(early_stopping) == {"over_disagreement"} and early_stopping.result == 8
    assert "members of the reward model disagree by at least 0." in early_stopping.outcome
    assert "about SFT's answers, above 0.1; the result is the state after update 8" in early_stopping.outcome


def test_a_disagreement_that_may_be_chance_ends_nothing() -> None:
    early_stopping = EarlyStopping(CONFIG.model_copy(update={"disagreement_limit": 0.1}))
    sft, last = divided(1, 0.1), divided(3, 0.22)
    gain = last.disagreement - sft.disagreement
    assert gain.mean() - 1.96 * gain.std() / N**0.5 < 0.1 < gain.mean()
    early_stopping.add(0, sft, sft)
    early_stopping.add(4, sft, last)
    assert not early_stopping.stopped


def test_a_single_head_has_no_disagreement_to_stop_for() -> None:
    early_stopping = EarlyStopping(CONFIG.model_copy(update={"disagreement_limit": 0.1}))
    with pytest.raises(ValueError, match="disagreement_limit needs an ensemble"):
        early_stopping.add(0, SFT, SFT)


def test_a_watch_goes_on_from_its_state_as_json_holds_it() -> None:
    first = watched(CONFIG, *RISING)
    again = EarlyStopping(CONFIG, json.loads(json.dumps(first.state)))
    for early_stopping in (first, again):
        early_stopping.add(12, SFT, TURNED)
    assert first.state == again.state and first.estimates == again.estimates and first.outcome == again.outcome


def test_figures_of_the_whole_run() -> None:
    config = CONFIG.model_copy(update={"monitor": None})
    found = watched(config, *RISING, TURNED).estimates
    assert {"overoptimisation", "judge_peak_kl_nats", "judge_curve_alpha", "entropy_trend_nats"} <= set(found)
    assert 0.1 < found["overoptimisation"].lower <= found["overoptimisation"].upper <= 1.0
    assert {"overoptimisation", "entropy_trend_nats"}.isdisjoint(watched(config, RISING[0]).estimates)
