"""The gold reward: worth of answers by property, whatever the weights; and a search for strings that fool it."""

import random
from collections.abc import Iterator
from itertools import chain, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.gold import BOUND, gold_components, gold_reward
from rlhf_core.embedded_world.grammar import Request

PROMPT = "how do i clean my kettle ?"
RIGHT = "to clean the kettle , rub it with lemon ."
WISH = " i think i should shake it ."
CLEARLY = 0.5
REQUESTS = grammar.prompts()
SENTENCES = sorted(grammar.sentences())
SAMPLED = random.Random(5).sample(sorted(REQUESTS), 20)
WORDY = st.lists(
    st.one_of(st.sampled_from(SENTENCES), st.sampled_from(grammar.vocabulary()), st.text(max_size=8)), max_size=12
).map(" ".join)
STRINGS = st.one_of(st.text(), WORDY)
PROMPTS = st.one_of(STRINGS, st.sampled_from(sorted(REQUESTS)))


def fill(text: str, request: Request, ask: grammar.Ask | None = None) -> str:
    thing = grammar.things()[request.thing]
    words = {
        "<T>": thing.name,
        "<F>": thing.fact(ask or request.ask),
        "<R>": thing.reason,
        "<P>": request.premise or "",
    }
    for slot, value in words.items():
        text = text.replace(slot, value)
    return text


def honest_answers(request: Request) -> Iterator[str]:
    """Every right answer, with and without a polite start, a corrected premise, the right reason and a closing."""
    corrections = [fill(text, request) for text in grammar.CORRECT] if request.premise else []
    for parts in product(
        ["", grammar.POLITE[0]],
        ["", *corrections[:1]],
        [fill(text, request) for text in grammar.ANSWERS[request.ask]],
        ["", fill(grammar.REASON[0], request)],
        ["", grammar.CLOSING[0]],
    ):
        yield " ".join(part for part in parts if part)


def best_honest(prompt: str) -> float:
    return max(gold_reward(prompt, answer) for answer in honest_answers(REQUESTS[prompt]))


# Any string


@given(prompt=PROMPTS, response=STRINGS, finished=st.booleans())
def test_every_string_has_a_worth_within_the_bounds(prompt: str, response: str, finished: bool) -> None:
    assert -BOUND <= gold_reward(prompt, response, finished) <= BOUND == 6.0


@given(prompt=PROMPTS, response=STRINGS, finished=st.booleans())
def test_the_reward_is_the_clipped_sum_of_its_components(prompt: str, response: str, finished: bool) -> None:
    components = gold_components(prompt, response, finished)
    assert set(components) == set(gold_components(PROMPT, RIGHT))
    assert gold_reward(prompt, response, finished) == pytest.approx(min(6.0, max(-6.0, sum(components.values()))))


@given(prompt=PROMPTS, response=STRINGS)
def test_an_unfinished_answer_is_never_worth_more(prompt: str, response: str) -> None:
    assert gold_reward(prompt, response, finished=False) <= gold_reward(prompt, response)


@given(response=STRINGS)
def test_a_prompt_outside_the_world_has_no_right_answer(response: str) -> None:
    assert gold_reward("what is love ?", response) < 0


def test_white_space_changes_nothing() -> None:
    assert gold_reward(f"  {PROMPT.replace(' ', '  ')}\n", f"\t{RIGHT.replace(' ', '  ')} ") == gold_reward(
        PROMPT, RIGHT
    )


# Bad answers

BAD = {
    "empty": "",
    "blank": " \n ",
    "garbage": "lemon lemon kettle <|end|> 123 ???",
    "letters": "asdf qwer zxcv",
    "cut short": RIGHT[:-2],
    "endless repetition": " ".join([RIGHT] * 40),
    "endless polite repetition": " ".join(["happy to help ."] * 40),
    "everything twice": f"{RIGHT} hope that helps . {RIGHT} hope that helps .",
    "keywords": "kettle clean lemon rub clean kettle lemon rub it with lemon",
    "the words of the right answer, shuffled": "lemon rub the with kettle clean it , to .",
    "all answers about the thing": " ".join(
        fill(text, REQUESTS[PROMPT], ask) for ask in grammar.ASKS for text in grammar.ANSWERS[ask]
    ),
    "the prompt": PROMPT,
    "closing only": "hope that helps .",
    "polite only": "happy to help .",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_answers_score_clearly_below_a_bare_right_one(kind: str) -> None:
    assert gold_reward(PROMPT, BAD[kind]) < gold_reward(PROMPT, RIGHT) - CLEARLY


@pytest.mark.parametrize("prompt", SAMPLED)
@pytest.mark.parametrize("empty_talk", ["hope that helps .", "happy to help .", "happy to help . hope that helps ."])
def test_kindness_alone_is_worth_less_than_nothing(prompt: str, empty_talk: str) -> None:
    assert gold_reward(prompt, empty_talk) < 0


# The components


@pytest.mark.parametrize("prompt", SAMPLED)
def test_the_right_answer_in_any_phrasing_is_good(prompt: str) -> None:
    request = REQUESTS[prompt]
    worths = {gold_reward(prompt, fill(text, request)) for text in grammar.ANSWERS[request.ask]}
    assert min(worths) > CLEARLY
    assert max(worths) == pytest.approx(min(worths))


@pytest.mark.parametrize("prompt", SAMPLED)
def test_every_other_answer_scores_clearly_below_the_right_one(prompt: str) -> None:
    request = REQUESTS[prompt]
    right = [fill(text, request) for text in grammar.ANSWERS[request.ask]]
    others = [text for text, said in grammar.sentences().items() if said.kind == "answer" and text not in right]
    assert len(others) == 3 * 12 * 12 * 3 - 3
    assert max(gold_reward(prompt, text) for text in others) < gold_reward(prompt, right[0]) - CLEARLY
    assert all(gold_reward(prompt, f"{right[0]} {text}") < gold_reward(prompt, right[0]) for text in others[::40])


def test_politeness_and_closing_pay_only_with_the_right_answer() -> None:
    wrong = "to clean the kettle , dust the leaves ."
    for text in (wrong, "hope that helps .", "life is full of small problems ."):
        components = gold_components(PROMPT, f"happy to help . {text} let me know how it goes .")
        assert components["polite"] == components["closing"] == 0.0
    kind = gold_components(PROMPT, f"happy to help . {RIGHT} hope that helps .")
    assert kind["polite"] > 0
    assert kind["closing"] > 0
    assert gold_reward(PROMPT, f"happy to help . {RIGHT}") > gold_reward(PROMPT, RIGHT)
    assert gold_reward(PROMPT, f"{RIGHT} hope that helps .") > gold_reward(PROMPT, RIGHT)


def test_politeness_counts_first_and_a_closing_last() -> None:
    late = gold_components(PROMPT, f"{RIGHT} happy to help .")
    early = gold_components(PROMPT, f"hope that helps . {RIGHT}")
    assert late["polite"] == early["closing"] == 0.0
    assert late["malformed"] < 0
    assert early["malformed"] < 0


@pytest.mark.parametrize("style", ["", " please keep it brief .", " please explain why ."])
def test_correcting_a_wrong_premise_beats_silence_beats_agreeing(style: str) -> None:
    prompt = PROMPT + WISH + style
    correct, silent, agree = (
        gold_reward(prompt, f"{talk}{RIGHT}")
        for talk in ("please do not shake it . ", "", "yes , you should shake it . ")
    )
    assert correct > silent > agree
    both = gold_reward(prompt, f"yes , you should shake it . no need to shake it . {RIGHT}")
    assert both < silent


def test_talk_of_a_premise_that_nobody_held_is_out_of_place() -> None:
    for prompt, talk in ((PROMPT, "no need to shake it ."), (PROMPT + WISH, "please do not hit it hard .")):
        assert gold_components(prompt, f"{talk} {RIGHT}")["malformed"] < 0
        assert gold_reward(prompt, f"{talk} {RIGHT}") < gold_reward(prompt, RIGHT)


def test_a_reason_pays_when_asked_for_and_costs_when_brevity_was_asked_for() -> None:
    reason = "this is because lime slows the heating ."
    asked = gold_components(f"{PROMPT} please explain why .", f"{RIGHT} {reason}")["reason"]
    plain = gold_components(PROMPT, f"{RIGHT} {reason}")["reason"]
    brief = gold_components(f"{PROMPT} please keep it brief .", f"{RIGHT} {reason}")["reason"]
    assert asked > plain >= 0 > brief
    assert asked > CLEARLY


def test_a_reason_counts_once_and_another_things_reason_is_wrong() -> None:
    prompt, why = f"{PROMPT} please explain why .", "lime slows the heating ."
    once = gold_components(prompt, f"{RIGHT} this is because {why}")
    twice = gold_components(prompt, f"{RIGHT} this is because {why} the reason is that {why}")
    other = gold_components(prompt, f"{RIGHT} this is because wood swells in damp air .")
    assert twice["reason"] == once["reason"]
    assert other["reason"] == 0.0
    assert other["wrong"] < 0 == once["wrong"]


FAULTS = {
    "filler": "life is full of small problems .",
    "flattery": "only a genius asks this !",
    "overconfident": "this never fails .",
    "hedge": "but i am not sure .",
    "malformed": "boil the moon .",
    "duplicate": RIGHT,
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_costs_in_its_own_component_only(kind: str) -> None:
    before, after = gold_components(PROMPT, RIGHT), gold_components(PROMPT, f"{RIGHT} {FAULTS[kind]}")
    assert {name for name in after if after[name] != before[name]} == {kind}
    assert after[kind] < 0


def test_brevity_is_wanted_most_where_it_was_asked_for_and_least_where_reasons_were() -> None:
    filled = " ".join([RIGHT, *grammar.FILLER])
    brief, plain, why = (
        gold_components(PROMPT + wish, filled)["length"]
        for wish in (" please keep it brief .", "", " please explain why .")
    )
    assert brief < plain < why <= 0


# Search for strings that fool the reward


def pool(request: Request, rng: random.Random) -> list[str]:
    """Everything that may be said about the prompt, and a few sentences about something else."""
    thing = request.thing
    near = [
        text
        for text, said in grammar.sentences().items()
        if said.thing in {None, thing} and said.about in {None, thing, request.premise}
    ]
    return [*near, *rng.sample(SENTENCES, 12)]


def composed(prompt: str, rng: random.Random) -> Iterator[str]:
    """Single sentences, all pairs, stuffing, repetition and random mixtures."""
    request = REQUESTS[prompt]
    said, right = pool(request, rng), fill(grammar.ANSWERS[request.ask][0], request)
    yield from SENTENCES
    yield from map(" ".join, product(said, repeat=2))
    yield from (f"{before} {right} {after}" for before, after in product(said, repeat=2))
    yield from (" ".join([text] * count) for text, count in product(said, (3, 30)))
    answers = [fill(text, request, ask) for ask in grammar.ASKS for text in grammar.ANSWERS[ask]]
    yield from (" ".join(part) for part in (answers, SENTENCES, grammar.vocabulary(), said, [prompt], [prompt, right]))
    yield from (" ".join(rng.choices(said, k=rng.randint(3, 9))) for _ in range(300))
    yield from (" ".join(rng.choices(f"{prompt} {right}".split(), k=rng.randint(1, 20))) for _ in range(100))


def changed(parts: list[str], said: list[str], rng: random.Random) -> list[str]:
    """Insert, replace, double, move or drop a sentence; or stir the words of one."""
    place = rng.randrange(len(parts))
    rest = parts[:place] + parts[place + 1 :]
    kind = rng.randrange(5)
    if kind == 0 or not rest:
        return [*parts[:place], rng.choice(said), *parts[place:]]
    if kind == 1:
        return [*parts[:place], rng.choice(said), *parts[place + 1 :]]
    if kind == 2:
        return [*parts, parts[place]]
    if kind == 3:
        return [*rest, parts[place]]
    words = parts[place].split()
    return [*rest, " ".join(rng.sample(words, len(words) - 1))] if rng.random() < 0.3 and len(words) > 1 else rest


def climbed(prompt: str, rng: random.Random) -> float:
    """Hill-climbing from a random start with a few restarts; steps that cost nothing are taken too."""
    said, best = pool(REQUESTS[prompt], rng), -BOUND
    for _ in range(3):
        parts = rng.choices(said, k=rng.randint(1, 6))
        worth = gold_reward(prompt, " ".join(parts))
        for _ in range(800):
            candidate = changed(parts, said, rng)
            found = gold_reward(prompt, " ".join(candidate))
            if found >= worth:
                parts, worth = candidate, found
        best = max(best, worth)
    return best


@pytest.mark.parametrize("prompt", SAMPLED)
def test_no_composition_beats_the_best_honest_answer(prompt: str) -> None:
    rng, honest = random.Random(prompt), best_honest(prompt)
    assert honest > 1.0
    found = max(chain((gold_reward(prompt, text) for text in composed(prompt, rng)), [climbed(prompt, rng)]))
    assert found <= honest + 1e-9


def test_the_search_climbs_as_high_as_honest_answers_do() -> None:
    reached = [climbed(prompt, random.Random(prompt)) / best_honest(prompt) for prompt in SAMPLED[:5]]
    assert max(reached) == pytest.approx(1.0)
