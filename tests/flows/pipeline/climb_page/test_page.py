"""What the page of a climb says, of climbs whose every number is known."""

import html as entities
import json
import re
from typing import Any

import pyarrow as pa
import pytest

from flows.config.gates import GatesConfig
from flows.pipeline.climb_page.answers import marked, side_by_side
from flows.pipeline.climb_page.decision import SAID, decide, gates
from flows.pipeline.climb_page.drawing import draw
from flows.pipeline.climb_page.economics import economics_part, scored
from flows.pipeline.climb_page.failure_table import lights
from flows.pipeline.climb_page.next_steps import MORE_ROWS, MOST, TOO_FAR, tries
from flows.pipeline.climb_page.parts import interval
from flows.pipeline.climb_page.policy import policy_part
from flows.pipeline.climb_page.reward_model import reward_model_part
from flows.pipeline.climb_page.versus import decide_between
from flows.promotion.comparison import Comparison
from flows.registry.statements import UNSIGNED
from rlhf_core.gates.gate import judge
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.paired import Paired
from tests.climbs import PLANTED, WINS, answers, climb, gate, good_climb, page, stage_run, verdicts

LOSES = Estimate(0.3, 0.2, 0.4, 120)
EVEN = Estimate(0.5, 0.4, 0.6, 120)


def stored(text: str) -> Any:
    found = re.search(r'<script id="stored" type="application/json">(.*?)</script>', text, flags=re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def said(text: str) -> str:
    """What a reader sees of the page before any script ran."""
    shown = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(entities.unescape(re.sub(r"<[^>]+>", " ", shown)).split())


# The decision


def test_a_policy_that_wins_is_promoted_in_the_first_words_with_how_often() -> None:
    decision = decide(good_climb())
    assert decision.tone == "good"
    assert (
        decision.headline
        == "Promote desk-policy/1: better than its SFT model on 75 % [60, 85] of the prompts; 1 of 1 gates passed."
    )
    assert "There was no champion to compare it with." in decision.reasons


@pytest.mark.parametrize(
    ("wins", "tone", "words"),
    [(LOSES, "bad", "Do not promote desk-policy/1"), (EVEN, "open", "Nothing shows desk-policy/1 better")],
)
def test_a_policy_that_no_gate_blocks_and_that_is_no_better_is_not_promoted(
    wins: Estimate, tone: str, words: str
) -> None:
    figures = {"judge_win_rate": wins}
    policy = stage_run("policy", figures=figures)
    decision = decide(climb(stages={"policy": policy}, judged=verdicts([gate("any", "judge_win_rate", 0.0)], figures)))
    assert decision.tone == tone and decision.headline.startswith(words)


@pytest.mark.parametrize(
    ("over", "tone", "words"),
    [
        (WINS, "good", "Promote desk-policy/1: better than the champion on 75 % [60, 85] of the prompts"),
        (EVEN, "open", "Nothing shows desk-policy/1 better than the champion"),
        (
            LOSES,
            "bad",
            "Do not promote desk-policy/1: it wins against the champion on 30 % [20, 40] of the prompts only",
        ),
    ],
)
def test_where_a_champion_was_compared_it_decides(over: Estimate, tone: str, words: str) -> None:
    figures = {"judge_win_rate": WINS, "judge_win_rate_over_champion": over}
    judged = verdicts([gate("not-worse-than-champion", "judge_win_rate_over_champion", 0.1)], figures)
    paired = Paired(challenger=None, champion=None, between=over)
    like = paired.model_copy(update={"between": Estimate(0.25, 0.1, 0.4, 120)})
    figures_of_both = {"judge_win_rate": paired, "judge_score_at_like_length": like}
    compared = Comparison(figures=figures_of_both, on="120 prompts", notes=("a note",))
    made = good_climb(judged=judged, comparisons={"policy": compared})
    decision = decide(made)
    assert decision.tone == tone and decision.headline.startswith(words)
    assert any(reason.startswith("Against the champion, not-worse-than-champion:") for reason in decision.reasons)
    like_length = "Where both answers are of one length it gains 0.250 [0.100, 0.400] logits over the champion."
    assert like_length in decision.reasons and "120 prompts." in said(page(made)) and "a note." in said(page(made))


def test_what_to_do_next_follows_from_the_decision() -> None:
    good = good_climb()
    assert decide(good).steps == ["`rlhf promote desk-policy/1`; `rlhf rollback desk-policy` takes that back."]
    assert "What next? rlhf promote desk-policy/1 ; rlhf rollback desk-policy takes that back." in said(page(good))
    (nothing,) = decide(good._replace(champions={"policy": stage_run("policy")})).steps
    assert nothing.startswith("Nothing: it is the champion.")
    (unclear,) = decide(good_climb(stages={"policy": stage_run("policy", figures={"judge_win_rate": EVEN})})).steps
    assert unclear.startswith("Read the answers that got worse")
    cut_off = climb(stages={}, judged={})
    assert decide(cut_off).steps == ["`rlhf run` again goes on from what is kept."]
    cut_off.run.info.status = "RUNNING"
    assert decide(cut_off).steps == []


def test_what_ended_training_before_its_time_is_among_the_reasons_and_has_its_own_advice() -> None:
    stopped = good_climb(judged=verdicts([gate("judge-wins", "judge_win_rate", 0.9)], {"judge_win_rate": WINS}))
    why = "stopped after update 4 of 16: the budget; the result is the state after update "
    for state, steps in (("0", [TOO_FAR, *decide(stopped).steps]), ("2", decide(stopped).steps)):
        stopped.run.data.tags["rlhf.outcome"] = f"stopped by gate judge-wins. policy {why}{state}. {UNSIGNED}"
        assert decide(stopped).reasons[1] == f"Its training {why}{state}." and decide(stopped).steps == steps
        assert f"Training {why}{state}." in said(page(stopped))


@pytest.mark.parametrize("stage", ["data", "sft", "reward_model", "policy"])
def test_there_is_something_to_try_against_every_default_gate_and_it_is_said_once(stage: str) -> None:
    asked = getattr(GatesConfig(), stage)
    blocking = [verdict.model_copy(update={"status": "fail"}) for verdict in judge(asked, {})]
    assert all(tries([verdict]) for verdict in blocking)
    assert len(set(tries(blocking))) == len(tries(blocking)) <= MOST
    lacking = [verdict.model_copy(update={"status": "abstain", "n": 17}) for verdict in blocking]
    assert tries(lacking) == [MORE_ROWS] and tries([*lacking, *judge(asked, {})])[0] == MORE_ROWS


def test_of_many_gates_that_block_some_are_told_and_the_others_counted() -> None:
    asked = [gate(f"gate {number}", "gone", 0) for number in range(SAID + 2)]
    reasons = decide(good_climb(judged=verdicts(asked, {}))).reasons
    assert reasons[SAID - 1].startswith(f"gate {SAID - 1}: ") and reasons[SAID] == "2 more gates block, below."


def test_answers_that_got_worse_are_counted_and_told_by_part() -> None:
    told = said(page(good_climb()))
    assert "Against its SFT model 2 of 4 answers got better by the judge, 1 worse, 1 even." in told
    scores = {f"{'long ' * (9 * (index % 3))}prompt {index}": (0.0, 1.0 - index % 3, 0.0) for index in range(60)}
    policy = stage_run("policy", rows={"answers": answers(scores)})
    (chart,) = side_by_side(climb(stages={"policy": policy}, judged={})).charts
    assert chart.title == "Where it loses, where it wins" and "its SFT model" in chart.how
    drawn = draw([chart.specification])[chart.specification]
    places = [drawn.index(f"{part} prompts (20)") for part in ("long", "middling", "short")]
    assert places == sorted(places)  # of long prompts none wins, of middling ones none loses, of short ones all win


def test_what_went_into_it_and_not_into_the_champion_stands_beside_their_figures() -> None:
    changed = {"policy": ["policy.updates: 20, there 6", "parent.judge: desk-judge/2, there desk-judge/1"]}
    champion = stage_run("policy", 2, figures={"judge_win_rate": EVEN})
    told = said(page(good_climb(champions={"policy": champion})._replace(changed=changed)))
    assert "here and in the champion policy policy.updates 20, there 6 policy parent.judge desk-judge/2" in told


def test_power_and_luck_stand_beside_the_gates() -> None:
    # the judged end lies .15 below the value: 1.96 of its errors; power of .8 takes 2.8 of them, so .15 * 2.8 / 1.96
    ((), (shown,)) = gates(good_climb())
    assert shown.power == "120 prompts show a distance of 0.21 from there in 80 of 100 cases."
    assert "stops this climb by luck in at most" in said(page(good_climb()))


def test_a_stopped_climb_names_the_gates_first_and_shows_them_first() -> None:
    figures = {"agreement": EVEN, "ece": Estimate(0.01, 0.0, 0.02, 120)}
    asked = [
        gate("calibrated", "ece", 0.06, direction="below"),
        gate("agrees", "agreement", 0.5),
        gate("known", "gone", 0),
    ]
    judged = {"reward-model": verdicts(asked, figures)["policy"]}
    stopped = climb(stages={"reward-model": stage_run("reward-model", figures=figures)}, judged=judged)
    decision = decide(stopped)
    assert decision.headline == "Stopped by agrees, known, which judged the reward model: do not promote."
    unclear, passed = gates(stopped)
    assert [shown.verdict.gate for shown in unclear] == ["agrees", "known"] and [
        shown.verdict.gate for shown in passed
    ] == ["calibrated"]
    shown = said(page(stopped))
    assert (
        shown.index("Stopped by agrees")
        < shown.index("lower bound 0.4 is not above 0.5")
        < shown.index("1 gates passed")
    )


def test_an_abstention_that_may_pass_is_told_and_does_not_stop() -> None:
    judged = verdicts([gate("judge-wins", "judge_win_rate", 0.5), gate("known", "gone", 0.0)], {"judge_win_rate": WINS})
    decision = decide(good_climb(judged=judged, gates={"abstain_blocks": False}))
    assert decision.tone == "good" and decision.headline.endswith("1 of 2 gates passed.")
    assert "known abstained: gone: was not measured." in decision.reasons


def test_a_climb_that_was_cut_off_says_so() -> None:
    cut_off = climb(stages={}, judged={})
    cut_off.run.data.tags["rlhf.outcome"] = "interrupted by KeyboardInterrupt: "
    assert decide(cut_off).headline.startswith("Nothing to promote: interrupted by KeyboardInterrupt")
    assert "<svg" not in page(cut_off)


# Gates


def test_a_bullet_lies_where_its_numbers_are() -> None:
    # value .75 in [.6, .85] above .5: from .5 to .85 with 15 % of .35 as room, so .4475 to .9025, which is .455 wide
    ((), (shown,)) = gates(good_climb())
    assert shown.bullet is not None
    assert shown.bullet[:4] == pytest.approx((66.48, 11.54, 33.52, 88.46), abs=0.01)
    assert shown.bullet.good == pytest.approx((11.54, 88.46), abs=0.01)
    assert (shown.said, shown.asked) == ("0.750 [0.600, 0.850]", "judge win rate above 0.5")


def test_a_gate_below_a_threshold_passes_to_its_left_and_an_unmeasured_one_has_no_bullet() -> None:
    asked = [gate("kl-budget", "kl", 2.0, direction="below"), gate("known", "gone", 0.0)]
    (unmeasured,), (below,) = gates(good_climb(judged=verdicts(asked, {"kl": Estimate(1.0, 0.5, 1.5, 120)})))
    assert unmeasured.bullet is None and unmeasured.said == "not measured"
    assert below.bullet is not None and below.bullet.good == (0.0, below.bullet.threshold)


def test_numbers_of_a_figure_have_the_same_decimals() -> None:
    assert interval(Estimate(0.836, 0.7205, 0.9396, 256)) == "0.836 [0.721, 0.940]"
    assert interval(Estimate(1.5919, 1.4023, 1.762, 256)) == "1.59 [1.40, 1.76]"
    assert interval(Estimate(-0.006, -0.02, 0.00583, 256)) == "-0.0060 [-0.0200, 0.0058]"
    assert interval(Estimate(32.0, 32.0, 32.0, 1)) == "32"


# Answers


def test_the_numbers_of_the_page_are_those_that_are_kept() -> None:
    kept = stored(page(good_climb()))
    assert kept["figures"] == {"policy": {"judge_win_rate": {"value": 0.75, "lower": 0.6, "upper": 0.85, "n": 120}}}
    assert kept["verdicts"]["policy"][0]["lower"] == 0.6
    gains = {row["prompt"]: (row["judge_gain"], row["reward_gain"], row["disagree"]) for row in kept["answers"]}
    assert gains == {
        "good": (2.0, 1.5, 0.0),
        "bad": (-1.5, 2.0, 3.5),
        "even": (0.0, 0.0, 0.0),
        PLANTED: (0.25, -0.5, 0.75),
    }
    sft, policy = kept["answers"][0]["answers"]
    assert (sft["by"], sft["judge"], sft["pieces"]) == ("sft", 1.0, [["the model says good", False]])
    assert (policy["by"], policy["judge"], policy["reward"]) == ("policy", 3.0, 2.5)
    assert policy["pieces"] == [["the", False], [" policy", True], [" says good", False]]


def test_a_planted_script_stays_text() -> None:
    text = page(good_climb())
    assert text.count("<script") == 2 and text.count("</script>") == 2 and "<img" not in text
    assert stored(text)["answers"][3]["prompt"] == PLANTED


def test_planted_texts_outside_the_answers_stay_text_too() -> None:
    pairs = pa.table(
        {"prompt": [PLANTED], "chosen": [PLANTED], "rejected": ["b"], "chosen_score": [0.0], "rejected_score": [2.0]}
    )
    made = stage_run("reward-model", rows={"pairs": pairs})
    text = page(climb(stages={"reward-model": made}, judged={}))
    assert text.count("<script") == 2 and "<img" not in text and "88 % sure of the wrong one" in text


def test_words_that_another_text_lacks_are_marked_and_the_text_is_whole() -> None:
    pieces = marked("a b c", "a x c\n d ")
    assert "".join(text for text, _ in pieces) == "a x c\n d "
    assert [text.split() for text, differs in pieces if differs] == [["x"], ["d"]]


def test_a_champion_stands_beside_with_scores_of_the_same_judge_only() -> None:
    policy = stage_run("policy", 2, rows={"answers": answers()}, parents={"judge": "desk-judge/1"})
    rows = {"answers": answers(by="the champion")}
    for label, score in (("desk-judge/1", 3.0), ("desk-judge/2", None)):
        champion = stage_run("policy", 1, rows=rows, parents={"judge": label})
        sides = side_by_side(climb(stages={"policy": policy}, judged={}, champions={"policy": champion}))
        third = sides.rows[0]["answers"][2]
        assert (third["by"], third["judge"]) == ("champion", score)
        assert "desk-policy/1" in sides.note


def test_answers_that_were_given_beside_the_policy_show_where_it_lost_to_them() -> None:
    beside = pa.table(
        {
            "answered_by": ["challenger", "champion"],
            "prompt": [answers()["prompt"][0].as_py()] * 2,
            "response": ["ours", "theirs"],
            "judge_score": [9.0, 2.5],
        }
    )
    policy = stage_run("policy", 2, rows={"answers": answers()})
    of = climb(stages={"policy": policy}, judged={})._replace(beside=beside, rival="desk-policy/1")
    row = side_by_side(of).rows[0]
    ours, theirs = row["answers"][1], row["answers"][2]
    assert ("".join(text for text, _ in theirs["pieces"]), theirs["judge"]) == ("theirs", 2.5)
    assert row["beside"] == pytest.approx(ours["judge"] - 2.5)
    assert 'value="beside_loss">largest loss against desk-policy/1' in page(of)
    assert 'value="beside_loss"' not in page(good_climb())


@pytest.mark.parametrize(
    ("stage", "figure", "between", "tone", "words"),
    [
        ("policy", "judge_win_rate", WINS, "good", "a is better than b: judge win rate"),
        ("policy", "judge_win_rate", LOSES, "bad", "a is worse than b: judge win rate"),
        ("policy", "judge_win_rate", EVEN, "open", "Nothing shows a better or worse than b"),
        ("reward-model", "agreement", Estimate(0.03, 0.01, 0.05, 90), "good", "a is better than b: agreement"),
        ("sft", "loss_nats", Estimate(0.03, 0.01, 0.05, 90), "bad", "a is worse than b: loss nats"),
        ("sft", "loss_nats", Estimate(-0.03, -0.05, -0.01, 90), "good", "a is better than b: loss nats"),
        ("value", "loss_nats", WINS, "open", "a and b could not be compared"),
    ],
)
def test_of_two_versions_the_better_one_is_named_where_noise_allows(
    stage: str, figure: str, between: Estimate, tone: str, words: str
) -> None:
    paired = Paired(challenger=None, champion=None, between=between)
    decision = decide_between("a", "b", stage, Comparison(figures={figure: paired}, on="9 rows"))
    assert decision.tone == tone and decision.headline.startswith(words)


def test_a_page_without_a_champion_says_so() -> None:
    assert "There is no champion policy to compare desk-policy/1 with." in said(page(good_climb()))


def test_texts_that_are_kept_as_hashes_are_said_to_be_so() -> None:
    hashed = answers().replace_schema_metadata({"texts": "hashed"})
    text = page(climb(stages={"policy": stage_run("policy", rows={"answers": hashed})}, judged={}))
    assert "kept only as SHA-256" in said(text) and stored(text)["answers"] == []


def test_of_many_prompts_the_telling_ones_are_kept() -> None:
    scores = {f"prompt {index}": (0.0, float(index - 300), 0.0) for index in range(600)}
    policy = stage_run("policy", rows={"answers": answers(scores)})
    sides = side_by_side(climb(stages={"policy": policy}, judged={}))
    gains = [row["judge_gain"] for row in sides.rows]
    assert (sides.of, len(gains), min(gains), max(gains)) == (600, 240, -300.0, 299.0)
    assert "240 of 600" in sides.note


# The other parts


def test_what_was_not_measured_is_said_and_not_drawn() -> None:
    bare = climb(stages={"policy": stage_run("policy"), "reward-model": stage_run("reward-model")}, judged={})
    text = page(bare)
    assert "<svg" not in text
    for sentence in (
        "Margins of held-out pairs were not kept",
        "The held-out pairs are not kept",
        "Clipped steps was not logged.",
        "Wall time by part was not logged.",
        "What the labels are worth was not kept.",
        "How many answers the reward model scored in training was not logged.",
    ):
        assert sentence in said(text)


def test_curves_and_margins_are_drawn_with_how_to_read_them() -> None:
    series = {"delta": [0.1, 1.0, 2.0, 5.0], "delta_uncalibrated": [0.2, 2.0, 4.0, 10.0]}
    made = stage_run("reward-model", series=series, figures={"agreement": WINS, "pays_for_echo": WINS})
    drawn = {chart.title: chart for chart in reward_model_part(climb(stages={"reward-model": made}, judged={})).charts}
    apart = drawn["How far apart it puts two responses"]
    assert "50 % of the pairs lie in it" in apart.how  # 1 and 2 of four
    assert "right on 100 % of the labels" in apart.how
    assert "the prompt, said back" in drawn["What it pays for"].specification
    pictures = draw(chart.specification for chart in drawn.values())
    assert all(pictures[chart.specification].startswith("<svg") and chart.how for chart in drawn.values())
    curves = {"kl_to_sft_nats": [(1, 0.0), (2, 1.0)], "rollout_seconds": [(1, 2.0), (2, 3.0)]}
    policy = policy_part(climb(stages={"policy": stage_run("policy", curves=curves)}, judged={}))
    titles = [chart.title for chart in policy.charts]
    assert titles == ["KL to the SFT model", "Where the time went"]
    assert "sampling 5 s" in policy.charts[1].specification and "Entropy was not logged." in policy.missing


def test_passes_of_the_reward_model_are_hours_of_people() -> None:
    # 3 updates of 8 answers and 2 evaluations of 5 are 34; 34 times 30 s are 17 minutes, 120 s are 68
    curves = {"reward_score": [(1, 0.0)] * 3, "eval_reward_score": [(0, 0.0)] * 2}
    policy = stage_run("policy", curves=curves, figures={"judge_win_rate": WINS})
    settings = {"policy": {"rollout_size": 8, "evaluation_prompts": 5}}
    made = climb(stages={"policy": policy}, judged={}, **settings)
    assert scored(made) == 34
    thousand = climb(stages={"policy": policy}, judged={}, policy={"rollout_size": 1198, "evaluation_prompts": 3})
    assert scored(thousand) == 3600
    sentence = economics_part(thousand).sentences[0]
    assert "30 to 120 hours of people" in sentence and "450 to 1,800 at a wage of 15" in sentence


def test_lights_of_the_failure_table_follow_the_verdicts() -> None:
    figures = {
        "kl_to_sft_nats": WINS,
        "length_ratio": WINS,
        "distinct_2_ratio": WINS,
        "collapsed": Estimate(1.0, 1.0, 1.0, 1),
    }
    asked = [
        gate("kl-budget", "kl_to_sft_nats", 0.1, direction="below"),
        gate("not-longer", "length_ratio", 1.75, direction="below"),
        gate("diverse-words", "distinct_2_ratio", 0.5),
    ]
    policy = stage_run("policy", figures=figures)
    rows = lights(climb(stages={"policy": policy}, judged=verdicts(asked, figures)))
    assert [row.light for row in rows] == ["bad", "bad", "good", "unknown", "warn"]
    assert rows[3].measured == "not measured" and "it ended training (collapsed)" in rows[4].measured
