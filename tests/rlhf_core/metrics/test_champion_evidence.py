"""Figures of a version beside its champion, by hand, from the rows that are kept of their comparison."""

import numpy as np
import pytest

from rlhf_core.data.records import Demonstration, Pair, Response
from rlhf_core.gates.champion import NOTHING, asked_of_champion, over_champion
from rlhf_core.gates.defaults import DEFAULT_POLICY_GATES
from rlhf_core.gates.gate import judge
from rlhf_core.metrics.champion_evidence import (
    champion_answers_rows,
    policy_over_champion,
    policy_rows,
    reward_model_over_champion,
    reward_model_rows,
    sft_over_champion,
    sft_rows,
)

PROMPTS = ("a", "b", "c", "d")


def test_margins_of_both_give_agreement_and_likelihood_challenger_less_champion() -> None:
    pairs = [Pair(prompt, "good", "bad") for prompt in PROMPTS]
    deltas = [np.array([1.0, 2.0, 3.0, -1.0]), np.array([1.0, -2.0, -3.0, -1.0])]
    found = reward_model_over_champion(reward_model_rows(pairs, deltas, np.array([True, True, False, False])))
    agreement, nll = found.figures["agreement"], found.figures["nll_nats"]
    assert agreement.challenger is not None and agreement.champion is not None
    assert (agreement.challenger.value, agreement.champion.value, agreement.between.value) == (0.75, 0.25, 0.5)
    by_hand = [np.log1p(np.exp(-delta)) for delta in (1.0, 2.0, -2.0)]
    assert nll.between.value == pytest.approx((by_hand[1] - by_hand[2]) / 2) and nll.between.n == 2
    assert found.note.startswith("nll on 2 of these pairs")


def test_labelled_answers_of_the_champion_policy_are_a_figure_of_their_own_from_fifty_prompts_on() -> None:
    pairs = [Pair(f"prompt {number // 2}", "good", f"bad {number}") for number in range(100)]
    ours, theirs = np.tile([1.0, -1.0], 50), np.tile([-1.0, -1.0], 50)
    seen = reward_model_rows(pairs[:4], [np.ones(4), np.ones(4)], np.full(4, True))
    found = reward_model_over_champion(seen | champion_answers_rows(pairs, [ours, theirs])).figures
    figure = found["agreement_on_champion_policy"]
    assert figure.challenger is not None and figure.champion is not None
    assert (figure.challenger.value, figure.champion.value, figure.between.value) == (0.5, 0.0, 0.5)
    assert figure.between.n == 50 and found["agreement"].between.value == 0.0
    few = champion_answers_rows(pairs[:98], [ours[:98], theirs[:98]])
    assert "agreement_on_champion_policy" not in reward_model_over_champion(seen | few).figures


def test_losses_and_ends_of_sft_models() -> None:
    shown = [Demonstration(prompt, "answer") for prompt in PROMPTS]
    answers = [[Response("yes", ends) for ends in both] for both in ((True, True), (True, False))]
    found = sft_over_champion(sft_rows(shown, [np.full(4, 2.0), np.full(4, 2.5)], PROMPTS[:2], answers)).figures
    assert found["loss_nats"].between.value == -0.5 and found["eos_rate"].between.value == 0.5


def test_scores_of_answers_give_wins_and_gains_by_each_scorer() -> None:
    answers = [[Response(text, True) for text in ("one two", "one", "one", "one")] for _ in "12"]
    judge_scores = [np.array([1.0, 1.0, 0.0, 5.0]), np.array([0.0, 1.0, 1.0, 0.0])]
    scores = {"judge": judge_scores, "reward": judge_scores[::-1]}
    found = policy_over_champion(policy_rows(PROMPTS, ["file"] * 4, answers, scores))
    assert found.figures["judge_win_rate"].between.value == 0.625 and found.note == ""
    assert found.figures["judge_score"].between.value == 1.25 == -found.figures["reward_score"].between.value
    assert found.figures["judge_score_at_like_length"].between.value == pytest.approx(1.25)  # all of like length


def test_gates_abstain_where_a_champion_could_not_be_compared() -> None:
    asked = asked_of_champion(DEFAULT_POLICY_GATES)
    assert len(asked) == 3 and over_champion({}, asked) == dict.fromkeys(asked, NOTHING)
    gates = [gate for gate in DEFAULT_POLICY_GATES if gate.metric in asked]
    assert {verdict.status for verdict in judge(gates, over_champion({}, asked))} == {"abstain"}
