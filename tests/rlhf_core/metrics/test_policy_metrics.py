"""Figures of drift, diversity and preference, by hand, and a policy against its SFT model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.gates.defaults import DEFAULT_POLICY_GATES
from rlhf_core.gates.gate import blocked, judge
from rlhf_core.metrics.drift import distinct_n, duplicate_share, eos_rate, length_ratio, regurgitation_rate
from rlhf_core.metrics.policy import Answers, compare_policies
from rlhf_core.metrics.win_rate import paired_gain, win_rate

TEXTS = st.lists(st.text("ab ", min_size=1, max_size=12), min_size=1, max_size=8)
REWARDS = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)


def test_the_rate_of_ends_is_the_share_of_finished_answers() -> None:
    assert eos_rate([True, True, False, True])[::3] == (0.75, 4)


@pytest.mark.parametrize(
    ("prompt", "response", "rate"),
    [
        ("one two three four five six", "well , one two three four five six", 1.0),
        ("one two three four five six", "one two three four five , six", 0.0),
        ("one two three four five six seven", "two three four five six seven", 1.0),
        ("one two three", "one two three", 0.0),
        ("one two three four five six", "", 0.0),
    ],
)
def test_six_words_of_the_prompt_in_a_row_are_regurgitation(prompt: str, response: str, rate: float) -> None:
    assert regurgitation_rate([prompt], [response]).value == rate


def test_an_answer_is_compared_with_its_own_prompt_only() -> None:
    first, second = "one two three four five six", "a b c d e f"
    assert regurgitation_rate([first, first, second], [second] * 3)[::3] == pytest.approx((1 / 3, 3))


def test_the_ratio_of_lengths_is_that_of_the_means() -> None:
    found = length_ratio([10, 30, 20, 20], [5, 15, 10, 20])
    assert found.value == pytest.approx(1.6)
    assert found.lower < 1.6 < found.upper
    assert found.n == 4


def test_answers_twice_as_long_each_have_a_certain_ratio() -> None:
    lengths = np.random.default_rng(0).integers(5, 50, 100)
    assert length_ratio(2 * lengths, lengths) == pytest.approx((2.0, 2.0, 2.0, 100))


def test_distinct_pairs_of_words_by_hand() -> None:
    assert distinct_n(["a b a b", "a b"], 2) == pytest.approx(2 / 4)  # ab ba ab, ab
    assert distinct_n(["a b a b", "a b"], 1) == pytest.approx(2 / 6)
    assert distinct_n(["a", ""], 2) == 0.0


def test_words_of_two_answers_make_no_pair() -> None:
    assert distinct_n(["a b", "c d"], 2) == 1.0


def test_duplicates_by_hand() -> None:
    assert duplicate_share(["a", "b", "a", "a"]) == 0.5
    assert duplicate_share(["a", "b"]) == 0.0


@given(texts=TEXTS, n=st.integers(1, 3))
def test_saying_everything_twice_halves_diversity(texts: list[str], n: int) -> None:
    assert distinct_n(texts * 2, n) == pytest.approx(distinct_n(texts, n) / 2)
    assert 1 - duplicate_share(texts * 2) == pytest.approx((1 - duplicate_share(texts)) / 2)


def test_ties_are_half_a_win() -> None:
    found = win_rate([3.0, 1.0, 2.0, 0.0], [1.0, 1.0, 3.0, -1.0])
    assert found.value == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert found.n == 4


@given(rewards=REWARDS, seed=st.integers(0, 100))
def test_what_one_wins_the_other_loses(rewards: list[float], seed: int) -> None:
    other = np.random.default_rng(seed).permutation(rewards)
    first, second = win_rate(rewards, other), win_rate(other, rewards)
    assert first.value + second.value == pytest.approx(1.0)
    assert paired_gain(rewards, other).value == pytest.approx(-paired_gain(other, rewards).value)
    assert first.n == 1 or 0.0 <= first.lower <= first.value <= first.upper <= 1.0


def test_only_the_order_of_rewards_decides_who_wins() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=50), rng.normal(size=50)
    assert win_rate(np.exp(first), np.exp(second)) == win_rate(first, second)


def test_a_gain_is_paired_so_that_hard_prompts_do_not_blur_it() -> None:
    rng = np.random.default_rng(2)
    hardness, gain = rng.normal(0.0, 10.0, 200), rng.normal(0.5, 0.1, 200)
    found = paired_gain(hardness + gain, hardness)
    assert found.value == pytest.approx(gain.mean())
    assert found.upper - found.lower < 0.05


def answers(
    seed: int,
    *,
    gain: float = 0.0,
    length: int = 20,
    finished: float = 1.0,
    kl: float = 0.0,
    words: int = 200,
    texts: int = 10_000,
) -> Answers:
    """Answers of random words to 200 prompts; the rewards of all policies share the hardness of the prompts."""
    rng, hardness = np.random.default_rng(seed), np.random.default_rng(0).normal(0.0, 2.0, 200)
    quality = np.random.default_rng(1000 + seed).normal(0.0, 1.0, 200)  # of these answers, which both models see
    drawn = [" ".join(f"w{word}" for word in rng.integers(0, words, length)) for _ in range(min(texts, 200))]
    return Answers(
        texts=[drawn[index % len(drawn)] for index in range(200)],
        tokens=rng.integers(length - 5, length + 6, 200).astype(np.float64),
        finished=(rng.random(200) < finished).tolist(),
        kl=rng.normal(kl, 1.0, 200),
        kl_k3=np.abs(rng.normal(kl, 1.0, 200)),
        reward=hardness + gain + quality + rng.normal(0.0, 0.5, 200),
        judge=hardness + gain + quality + rng.normal(0.0, 0.5, 200),
        disagreement=np.full(200, np.nan),
        surprisal=rng.gamma(4.0, 5.0, 200),
    )


SFT = answers(1)


def stopped_by(policy: Answers) -> dict[str, str]:
    found = blocked(judge(DEFAULT_POLICY_GATES, compare_policies(SFT, policy)))
    return {verdict.gate: verdict.explanation for verdict in found}


def test_a_better_policy_passes_every_gate() -> None:
    assert stopped_by(answers(2, gain=1.0, kl=4.0)) == {}


@pytest.mark.parametrize(
    ("policy", "gates"),
    [
        (answers(3, gain=1.0, kl=9.0), {"kl-budget"}),
        (answers(4), {"judge-gain", "judge-wins"}),
        (answers(5, gain=-1.0), {"judge-gain", "judge-wins"}),
        (answers(6, gain=1.0, finished=0.5), {"ends"}),
        (answers(7, gain=1.0, length=40), {"not-longer"}),
        (answers(8, gain=1.0, length=6), {"not-shorter"}),
        (answers(9, gain=1.0, words=25), {"diverse-words"}),
        (answers(10, gain=1.0, texts=100), {"diverse-answers"}),
        (answers(11, gain=1.0, texts=5), {"diverse-words", "diverse-answers"}),
    ],
)
def test_a_bad_policy_is_stopped_for_what_is_bad(policy: Answers, gates: set[str]) -> None:
    assert set(stopped_by(policy)) == gates


def test_every_figure_of_a_policy_that_does_not_differ_says_so() -> None:
    found = compare_policies(SFT, SFT)
    for name in ("reward_gain", "judge_reward_gain"):
        assert found[name][:3] == (0.0, 0.0, 0.0)
    assert found["judge_win_rate"].value == 0.5
    assert found["length_ratio"][:3] == found["distinct_2_ratio"][:3] == (1.0, 1.0, 1.0)
    assert {one.n for name, one in found.items() if not name.endswith("self_bleu")} == {200}


def test_reward_and_judge_are_not_mixed_up() -> None:
    policy = answers(12, gain=1.0)._replace(judge=SFT.judge - 1.0)
    found = compare_policies(SFT, policy)
    assert found["reward_gain"].value > 0.5
    assert found["judge_reward_gain"].value == pytest.approx(-1.0)
    assert found["judge_win_rate"].value == 0.0


def test_kl_is_the_mean_over_answers() -> None:
    policy = answers(13, kl=3.0)
    found = compare_policies(SFT, policy)
    assert found["kl_to_sft_nats"].value == pytest.approx(policy.kl.mean())
    assert found["kl_to_sft_nats_k3"].value == pytest.approx(policy.kl_k3.mean())


def test_each_term_is_told_with_its_gain_over_sft() -> None:
    said = np.random.default_rng(4).normal(0.0, 3.0, 200)
    found = compare_policies(SFT._replace(terms={"brevity": said}), SFT._replace(terms={"brevity": said + 2.0}))
    assert found["reward_brevity"].value == pytest.approx(said.mean() + 2.0)
    assert found["reward_brevity"].n == 200 and found["reward_brevity"].lower < found["reward_brevity"].upper
    assert found["reward_brevity_gain"][:3] == pytest.approx((2.0, 2.0, 2.0))


def test_every_default_gate_finds_its_figure() -> None:
    measured = {gate.metric for gate in DEFAULT_POLICY_GATES if gate.when_missing == "abstain"}
    assert measured <= set(compare_policies(SFT, SFT)) and len(measured) > 5


def test_disagreement_is_paired_and_of_ensembles_only() -> None:
    sft, policy = (
        answers(seed)._replace(disagreement=np.linspace(0.0, 1.0, 200) + shift) for seed, shift in ((1, 0.0), (2, 0.25))
    )
    found = compare_policies(sft, policy)
    assert found["reward_disagreement"].value == pytest.approx(0.75)
    assert found["sft_reward_disagreement"].value == pytest.approx(0.5)
    assert found["reward_disagreement_gain"] == pytest.approx((0.25, 0.25, 0.25, 200))
    assert not [name for name in compare_policies(SFT, answers(2)) if "disagreement" in name]


def test_reward_model_and_judge_are_compared_by_the_gains_that_they_see_and_offsets_of_prompts_do_not_count() -> None:
    policy = answers(14, gain=1.0)
    found = compare_policies(SFT, policy)["judge_correlation"]
    gains = policy.reward - SFT.reward, policy.judge - SFT.judge
    assert found.value == pytest.approx(np.corrcoef(*gains)[0, 1])
    assert found.lower < found.value < found.upper
    offsets = np.random.default_rng(6).normal(0.0, 10.0, 200)
    sft, moved = (one._replace(reward=one.reward + offsets) for one in (SFT, policy))
    assert compare_policies(sft, moved)["judge_correlation"].value == pytest.approx(found.value)
    wrong_sign = compare_policies(SFT._replace(reward=-SFT.reward), policy._replace(reward=-policy.reward))
    assert wrong_sign["judge_correlation"].value == pytest.approx(-found.value)
