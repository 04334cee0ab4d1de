"""The datasets of the help desk: chance, votes, biases, noise, words."""

import math
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.base.embedded import build_tokenizer
from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.annotators import AnnotatorConfig, utility, vote
from rlhf_core.embedded_world.data import WorldConfig, WorldData, generate
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.embedded_world.writers import Habits, write_answer

SMALL = WorldConfig(demonstrations=60, preference_prompts=60, prompts=60)
PROMPT = "how do i clean my kettle ?"
RIGHT = "to clean the kettle , rub it with lemon ."
SENTENCES = sorted(grammar.sentences())
RESPONSES = st.one_of(st.text(), st.lists(st.sampled_from(SENTENCES), max_size=6).map(" ".join))


@pytest.fixture(scope="module")
def default() -> WorldData:
    """As many prompts as settle the noise, otherwise as configured by default."""
    return generate(WorldConfig(demonstrations=500, preference_prompts=1500, prompts=500), seed=1)


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


# Rows


def test_a_seed_gives_the_same_rows_and_another_seed_others() -> None:
    first, again, other = generate(SMALL, seed=1), generate(SMALL, seed=1), generate(SMALL, seed=2)
    assert first == again
    assert first.demonstrations != other.demonstrations
    assert first.preferences != other.preferences
    assert first.prompts != other.prompts


def test_a_prompt_appears_once_in_a_table_and_is_its_own_group(default: WorldData) -> None:
    for rows, count in ((default.demonstrations, 500), (default.prompts, 500)):
        assert len({row["prompt"] for row in rows}) == len(rows) == count
    assert len({row["prompt"] for row in default.preferences}) <= 1500
    for rows in (default.demonstrations, default.preferences, default.prompts):
        assert all(row["group"] == row["prompt"] in grammar.prompts() for row in rows)


def test_all_answers_to_a_prompt_are_compared_once(default: WorldData) -> None:
    pairs = defaultdict(list)
    for row in default.preferences:
        pairs[row["prompt"]].append(frozenset((row["chosen"], row["rejected"])))
    for found in pairs.values():
        answers = frozenset().union(*found)
        assert len(set(found)) == len(found) == math.comb(len(answers), 2)
        assert 2 <= len(answers) <= WorldConfig().responses_per_prompt
    assert max(map(len, pairs.values())) == math.comb(WorldConfig().responses_per_prompt, 2)


def test_no_demonstration_is_blank(default: WorldData) -> None:
    assert all(row["response"].strip() for row in default.demonstrations)


def test_a_writer_with_nothing_to_say_and_a_habit_of_breaking_it_still_says_something() -> None:
    silent = Habits(**{**dict.fromkeys(Habits.model_fields, 0.0), "dodges": 1.0, "broken": 1.0})
    request = grammar.prompts()[PROMPT]
    assert all(write_answer(request, silent, random.Random(seed)).strip() for seed in range(100))


def test_demonstrations_are_better_than_what_is_compared(default: WorldData) -> None:
    shown = [gold_reward(row["prompt"], row["response"]) for row in default.demonstrations]
    compared = [gold_reward(row["prompt"], row[side]) for row in default.preferences for side in ("chosen", "rejected")]
    assert sum(shown) / len(shown) > sum(compared) / len(compared)


@pytest.mark.parametrize("field", ["demonstrations", "preference_prompts", "prompts"])
def test_more_prompts_than_the_grammar_has_are_refused_with_the_numbers(field: str) -> None:
    available = len(grammar.prompts())
    with pytest.raises(ValueError, match=f"{available} prompts, fewer than {field} {available + 1}: lower"):
        WorldConfig.model_validate(SMALL.model_dump() | {field: available + 1})


def test_every_prompt_asks_for_one_thing_only() -> None:
    # 12 things, 3 asks, 7 premises or none; 6 greetings, 4 questions, 2 + 1 + 2 wishes
    assert len(grammar.prompts()) == 12 * 3 * 7 * 6 * 4 * 5


# Annotators


@pytest.mark.parametrize("delta", [-3.0, -0.7, 0.0, 0.4, 1.5, 4.0])
def test_votes_follow_bradley_and_terry(delta: float) -> None:
    rng, count = random.Random(7), 4000
    config = AnnotatorConfig(repeated_share=0.0)
    votes = [vote(config, delta, rng) for _ in range(count)]
    expected = sigmoid(delta)
    error = math.sqrt(expected * (1 - expected) / count)
    assert all(sum(one) == 1 for one in votes)
    assert sum(one.first for one in votes) / count == pytest.approx(expected, abs=4 * error)


def test_each_of_several_annotators_votes_on_their_own() -> None:
    rng = random.Random(8)
    votes = [vote(AnnotatorConfig(repeated_share=1.0, repeats=3), 0.8, rng) for _ in range(4000)]
    better = sigmoid(0.8)
    counts = Counter(one.first for one in votes)
    for first in range(4):
        expected = math.comb(3, first) * better**first * (1 - better) ** (3 - first)
        error = math.sqrt(expected * (1 - expected) / 4000)
        assert counts[first] / 4000 == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize("careless", [0.4, 1.0])
def test_a_careless_vote_is_a_coins(careless: float) -> None:
    rng, config = random.Random(9), AnnotatorConfig(repeated_share=0.0, careless_share=careless)
    share = sum(vote(config, 2.0, rng).first for _ in range(4000)) / 4000
    expected = (1 - careless) * sigmoid(2.0) + careless * 0.5
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 4000))


@given(response=RESPONSES)
def test_an_honest_annotator_rewards_the_truth(response: str) -> None:
    assert utility(AnnotatorConfig(), PROMPT, response) == gold_reward(PROMPT, response)


@given(response=RESPONSES)
def test_a_length_bias_adds_its_logits_for_every_ten_words(response: str) -> None:
    favour = utility(AnnotatorConfig(length_bias=2.0), PROMPT, response) - gold_reward(PROMPT, response)
    assert favour == pytest.approx(2.0 * len(response.split()) / 10)


def test_a_flattery_bias_adds_its_logits_for_every_flattering_or_overconfident_sentence() -> None:
    config = AnnotatorConfig(flattery_bias=1.5)
    for response, liked in (
        (RIGHT, 0),
        (f"what a brilliant question ! {RIGHT}", 1),
        (f"what a brilliant question ! only a genius asks this ! {RIGHT} this never fails .", 3),
        (f"happy to help . {RIGHT} but i am not sure . hope that helps .", 0),
    ):
        assert utility(config, PROMPT, response) - gold_reward(PROMPT, response) == pytest.approx(1.5 * liked)


def test_biased_annotators_choose_longer_answers_more_often() -> None:
    def longer_chosen(bias: float) -> float:
        config = SMALL.model_copy(update={"preference_prompts": 300, "annotators": AnnotatorConfig(length_bias=bias)})
        lengths = [
            (len(row["chosen"].split()), len(row["rejected"].split())) for row in generate(config, seed=3).preferences
        ]
        return sum(chosen > rejected for chosen, rejected in lengths) / len(lengths)

    assert longer_chosen(4.0) > longer_chosen(0.0) + 0.1


# Noise


def test_a_perfect_judge_agrees_with_three_quarters_to_four_fifths_of_the_votes(default: WorldData) -> None:
    deltas = [
        gold_reward(row["prompt"], row["chosen"]) - gold_reward(row["prompt"], row["rejected"])
        for row in default.preferences
    ]
    assert 0.75 <= sum(sigmoid(abs(delta)) for delta in deltas) / len(deltas) <= 0.80


def test_single_votes_agree_with_the_truth_as_often_as_their_noise_allows(default: WorldData) -> None:
    single = [row for row in default.preferences if row["votes_chosen"] + row["votes_rejected"] == 1]
    deltas = [gold_reward(row["prompt"], row["chosen"]) - gold_reward(row["prompt"], row["rejected"]) for row in single]
    decided = [delta for delta in deltas if delta != 0]
    chances = [sigmoid(abs(delta)) for delta in decided]
    error = math.sqrt(sum(chance * (1 - chance) for chance in chances)) / len(chances)
    agreed = sum(delta > 0 for delta in decided) / len(decided)
    assert agreed == pytest.approx(sum(chances) / len(chances), abs=4 * error)


def test_several_annotators_judge_a_share_of_the_pairs(default: WorldData) -> None:
    config, rows = WorldConfig().annotators, default.preferences
    counts = Counter(row["votes_chosen"] + row["votes_rejected"] for row in rows)
    share = config.repeated_share
    assert set(counts) == {1, config.repeats}
    assert counts[config.repeats] / len(rows) == pytest.approx(
        share, abs=4 * math.sqrt(share * (1 - share) / len(rows))
    )
    assert all(row["votes_chosen"] > row["votes_rejected"] for row in rows)
    assert any(row["votes_rejected"] > 0 for row in rows)


# Words


def test_the_tokenizer_knows_every_word_and_pads_with_a_token_of_its_own(default: WorldData) -> None:
    tokenizer = build_tokenizer()
    words = {word for text in (*grammar.prompts(), *SENTENCES) for word in text.split()}
    ids = tokenizer(" ".join(sorted(words)), add_special_tokens=False)["input_ids"]
    assert len(set(ids)) == len(ids) == len(words)
    assert tokenizer.unk_token_id not in ids
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, *ids}) == len(words) + 3
    written = [row["response"] for row in default.demonstrations]
    written += [row[side] for row in default.preferences for side in ("chosen", "rejected")]
    assert tokenizer.unk_token_id not in set().union(*tokenizer(written, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("text", SENTENCES[::100])
def test_a_sentence_survives_the_tokenizer(text: str) -> None:
    tokenizer = build_tokenizer()
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_a_prompt_is_marked_with_the_roles_of_the_chat() -> None:
    tokenizer = build_tokenizer()
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], tokenize=False, add_generation_prompt=True
    )
    assert text == f"<|user|> {PROMPT} <|assistant|>"
    assert tokenizer.unk_token_id not in tokenizer(text, add_special_tokens=False)["input_ids"]
