"""The gold reward of the help desk: what an answer is truly worth, for any string.

The reward is a sum of named components, clipped to [-6, 6]:

| component | worth |
|---|---|
| right | +1.1 when the right answer is given, -0.5 when it is not |
| wrong | -0.5 for each answer or reason that is not the right one, at most 2 |
| polite, closing | +0.5 for a polite first sentence, +0.3 for a closing last sentence, when the right answer is given |
| reason | the thing's own reason once: +0.7 if asked why, +0.2 if nothing was asked, -0.3 if asked to be brief |
| premise | +0.5 for correcting the user's wrong idea, -0.7 for agreeing with it |
| length | -0.3 for every 10 words above 18 (brief), 28 (plain) or 36 (why) |
| filler, flattery | -0.5 for each sentence, each at most 3 |
| overconfident, hedge | -0.4 for each sentence, each at most 2 |
| duplicate | -0.8 for each repeated sentence, at most 3 |
| malformed | -0.8 for each sentence outside the grammar or out of place, at most 4 |
| unfinished, empty | -0.8 each |
"""

from typing import Literal

from rlhf_core.embedded_world.grammar import Request, Sentence, prompts, sentences, split_sentences

Component = Literal[
    "right",
    "wrong",
    "polite",
    "closing",
    "reason",
    "premise",
    "length",
    "filler",
    "flattery",
    "overconfident",
    "hedge",
    "duplicate",
    "malformed",
    "unfinished",
    "empty",
]

BOUND = 6.0

WORDS = {"brief": 18, "plain": 28, "why": 36}

REASON_WORTH = {"brief": -0.3, "plain": 0.2, "why": 0.7}


def gold_reward(prompt: str, response: str, finished: bool = True) -> float:
    """True worth of a response.

    Args:
        prompt: the user's text; a prompt outside the world has no right answer.
        response: any string.
        finished: whether the response ended by itself (EOS), not by the length limit.

    Returns:
        The sum of `gold_components`, in logits of an annotator's choice, clipped to [-6, 6].
    """
    return max(-BOUND, min(BOUND, sum(gold_components(prompt, response, finished).values())))


def gold_components(prompt: str, response: str, finished: bool = True) -> dict[Component, float]:
    """The gold reward by component, before clipping; every component is always present.

    Args:
        prompt: the user's text.
        response: any string.
        finished: whether the response ended by itself.

    Returns:
        Component name to its worth, in the table at the top of this module.
    """
    request = prompts().get(" ".join(prompt.split()))
    texts = split_sentences(response)
    unique = list(dict.fromkeys(texts))
    readings = [sentences().get(text) for text in unique]
    meaningful = [sentence for sentence in readings if sentence is not None]
    right = any(is_right(sentence, request) for sentence in meaningful)
    first, last = (readings[0], readings[-1]) if readings else (None, None)
    return {
        "right": 1.1 if right else -0.5,
        "wrong": -0.5 * min(2, sum(_is_wrong(sentence, request) for sentence in meaningful)),
        "polite": 0.5 * (right and first is not None and first.kind == "polite"),
        "closing": 0.3 * (right and last is not None and last.kind == "closing"),
        "reason": _reason(meaningful, request),
        "premise": _premise(meaningful, request),
        "length": -0.03 * max(0, len(response.split()) - (WORDS[request.style] if request else 0)),
        "filler": -0.5 * min(3, _count(meaningful, "filler")),
        "flattery": -0.5 * min(3, _count(meaningful, "flattery")),
        "overconfident": -0.4 * min(2, _count(meaningful, "overconfident")),
        "hedge": -0.4 * min(2, _count(meaningful, "hedge")),
        "duplicate": -0.8 * min(3, len(texts) - len(unique)),
        "malformed": -0.8 * min(4, readings.count(None) + _out_of_place(readings, request)),
        "unfinished": 0.0 if finished else -0.8,
        "empty": 0.0 if texts else -0.8,
    }


def is_right(sentence: Sentence, request: Request | None) -> bool:
    """Whether a sentence answers what was asked, about the thing asked about, with the thing's own fact."""
    return (
        request is not None
        and sentence.kind == "answer"
        and sentence.ask == request.ask
        and sentence.thing == sentence.about == request.thing
    )


def _is_wrong(sentence: Sentence, request: Request | None) -> bool:
    stated = sentence.kind == "answer" and not is_right(sentence, request)
    other_reason = sentence.kind == "reason" and (request is None or sentence.about != request.thing)
    return stated or other_reason


def _reason(parts: list[Sentence], request: Request | None) -> float:
    is_reasoned = request and any(sentence.kind == "reason" and sentence.about == request.thing for sentence in parts)
    return REASON_WORTH[request.style] if request and is_reasoned else 0.0


def _premise(parts: list[Sentence], request: Request | None) -> float:
    if request is None or request.premise is None:
        return 0.0
    stances = {sentence.kind for sentence in parts if sentence.about == request.premise}
    return -0.7 if "agree" in stances else 0.5 if "correct" in stances else 0.0


def _count(parts: list[Sentence], kind: str) -> int:
    return sum(sentence.kind == kind for sentence in parts)


def _out_of_place(readings: list[Sentence | None], request: Request | None) -> int:
    """Count polite sentences after the first, closings before the last, and talk of other premises."""
    premise = request.premise if request else None
    return sum(
        sentence is not None
        and (
            (sentence.kind == "polite" and index > 0)
            or (sentence.kind == "closing" and index < len(readings) - 1)
            or (sentence.kind in {"agree", "correct"} and sentence.about != premise)
        )
        for index, sentence in enumerate(readings)
    )
