"""Simulated people of the help desk: they write answers with more or less care, and now and then something broken."""

import random

from rlhf_core.config import Frozen
from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.grammar import Request


class Habits(Frozen):
    """How often a writer does what; every field is a probability."""

    right: float
    """States the right answer rather than one of the usual mistakes, when there is an answer at all."""
    dodges: float
    """Talks without answering."""
    polite: float
    flattery: float
    filler: float
    closing: float
    heeds: float
    """Gives a reason when asked why, none when asked to be brief, and corrects a wrong premise rather than agree."""
    overconfident: float
    hedge: float
    broken: float
    """Leaves the grammar: repeats itself, stops early, mixes words, says everything twice or nothing."""


DEMONSTRATOR = Habits(
    right=0.95,
    dodges=0.0,
    polite=0.4,
    flattery=0.08,
    filler=0.25,
    closing=0.35,
    heeds=0.6,
    overconfident=0.08,
    hedge=0.08,
    broken=0.0,
)
"""A paid writer: knows the answer, is not always brief or kind."""

ANNOTATED = (
    Habits(
        right=0.65,
        dodges=0.1,
        polite=0.4,
        flattery=0.2,
        filler=0.35,
        closing=0.4,
        heeds=0.5,
        overconfident=0.15,
        hedge=0.15,
        broken=0.0,
    ),
    Habits(
        right=0.85,
        dodges=0.0,
        polite=0.7,
        flattery=0.05,
        filler=0.1,
        closing=0.6,
        heeds=0.85,
        overconfident=0.05,
        hedge=0.05,
        broken=0.0,
    ),
    Habits(
        right=0.5,
        dodges=0.2,
        polite=0.5,
        flattery=0.2,
        filler=0.4,
        closing=0.5,
        heeds=0.4,
        overconfident=0.2,
        hedge=0.2,
        broken=0.4,
    ),
)
"""Whose answers are compared: usual, careful, and careless writers."""

ANNOTATED_SHARES = (0.6, 0.3, 0.1)

MISTAKES = (0.03, 0.94, 0.03)
"""Shares of the mistakes: another thing's fact, the answer to another question, an answer about another thing."""


def write_answer(request: Request, habits: Habits, rng: random.Random) -> str:
    """Compose an answer: [polite or flattery] [premise] [filler] answer [over, hedge] [reason] [filler] [closing].

    Args:
        request: what the prompt asks for.
        habits: how the writer writes.
        rng: source of chance.

    Returns:
        Sentences joined by single spaces, never blank.
    """
    parts: list[str] = []

    def maybe(probability: float, texts: tuple[str, ...]) -> None:
        if rng.random() < probability:
            parts.append(_said(rng.choice(texts), request))

    opening = rng.random()
    if opening < habits.polite:
        parts.append(rng.choice(grammar.POLITE))
    elif opening < habits.polite + habits.flattery:
        parts.append(rng.choice(grammar.FLATTERY))
    if request.premise and rng.random() < 0.7:
        parts.append(_said(rng.choice(grammar.CORRECT if rng.random() < habits.heeds else grammar.AGREE), request))
    maybe(habits.filler * 0.7, grammar.FILLER)
    if rng.random() >= habits.dodges:
        parts.append(state_answer(request, rng.random() < habits.right, rng))
    maybe(habits.overconfident, grammar.OVERCONFIDENT)
    maybe(habits.hedge, grammar.HEDGE)
    maybe(_reason_probability(request, habits), grammar.REASON)
    maybe(habits.filler * 0.5, grammar.FILLER)
    maybe(habits.closing, grammar.CLOSING)
    parts = parts or [rng.choice(grammar.CLOSING[:2])]
    if rng.random() < habits.broken:
        parts = _broken(parts, request, rng)
    return " ".join(parts)


def _said(text: str, request: Request) -> str:
    thing = grammar.things()[request.thing]
    filled = text.replace("<T>", thing.name).replace("<R>", thing.reason)
    return filled.replace("<P>", request.premise or "")


def state_answer(request: Request, right: bool, rng: random.Random) -> str:
    """One sentence: the right answer, or a mistake.

    Args:
        request: what the prompt asks for.
        right: whether the sentence is right; a mistake is another thing's fact, another question's answer or an
            answer about another thing.
        rng: source of chance.

    Returns:
        A sentence of the grammar.
    """
    ask, thing, about = request.ask, grammar.things()[request.thing], grammar.things()[request.thing]
    if not right:
        other = rng.choice([candidate for candidate in grammar.THINGS if candidate.name != request.thing])
        mistake = rng.random()
        if mistake < MISTAKES[0]:
            about = other
        elif mistake < MISTAKES[0] + MISTAKES[1]:
            ask = rng.choice([candidate for candidate in grammar.ASKS if candidate != ask])
        else:
            thing, about = other, other
    return rng.choice(grammar.ANSWERS[ask]).replace("<T>", thing.name).replace("<F>", about.fact(ask))


def _reason_probability(request: Request, habits: Habits) -> float:
    return {"why": habits.heeds, "plain": 0.35, "brief": 0.6 * (1.0 - habits.heeds)}[request.style]


def _broken(parts: list[str], request: Request, rng: random.Random) -> list[str]:
    """Spoil an answer in one of the ways in which a policy may fail."""
    way = rng.randrange(6)
    if way == 0:
        return [*parts, *parts[-1:] * rng.randint(1, 3)]
    if way == 1:
        answers = {text for text, sentence in grammar.sentences().items() if sentence.kind == "answer"}
        return [part for part in parts if part not in answers] or [rng.choice(grammar.POLITE)]
    if way == 2:
        words = " ".join(parts).split()
        return [" ".join(words[: rng.randint(1, max(1, len(words) - 2))])]
    if way == 3:
        words = " ".join(parts).split()
        rng.shuffle(words)
        return [" ".join(words[:24])]
    if way == 4:
        return [*parts, state_answer(request, False, rng), *rng.choices([*grammar.POLITE, *grammar.CLOSING[:2]], k=2)]
    return rng.choices([*grammar.POLITE, *grammar.CLOSING[:2], *grammar.FILLER], k=rng.randint(1, 4))
