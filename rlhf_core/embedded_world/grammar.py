"""The language of the help desk: facts about twelve things, prompts about them, and the sentences of an answer.

Everything is lower-case and split by single spaces, so that a word is a token. A sentence ends in `.`, `!` or `?`.
"""

from functools import cache
from itertools import product
from typing import Literal, NamedTuple

Ask = Literal["fix", "clean", "often"]

Style = Literal["brief", "plain", "why"]

SentenceKind = Literal[
    "polite", "flattery", "agree", "correct", "filler", "answer", "overconfident", "hedge", "reason", "closing"
]


class Thing(NamedTuple):
    """One thing that people ask about, with the truth about it."""

    name: str
    symptom: str
    fix: str
    clean: str
    often: str
    reason: str

    def fact(self, ask: Ask) -> str:
        """The words that answer a question about this thing."""
        return {"fix": self.fix, "clean": self.clean, "often": self.often}[ask]


class Sentence(NamedTuple):
    """What a sentence of the grammar says.

    Attributes:
        kind: its role in an answer.
        ask: the question that an answer answers.
        thing: name of the thing that an answer or a closing speaks of.
        about: name of the thing whose fact or reason is stated, or the premise that is echoed or corrected.
    """

    kind: SentenceKind
    ask: Ask | None = None
    thing: str | None = None
    about: str | None = None


THINGS = (
    Thing("kettle", "is slow", "boil vinegar in it", "rub it with lemon", "every month", "lime slows the heating"),
    Thing("phone", "gets hot", "close old apps", "use a dry cloth", "every week", "old apps drain the battery"),
    Thing("plant", "wilts", "soak the roots", "dust the leaves", "every day", "dry roots cannot feed the leaves"),
    Thing("bike", "squeaks", "oil the chain", "hose the wheels", "every two weeks", "dirt wears the chain down"),
    Thing("door", "sticks", "sand the edge", "mop the frame", "every year", "wood swells in damp air"),
    Thing(
        "laptop", "freezes", "free some memory", "blow air at the keys", "every quarter", "a full memory blocks work"
    ),
    Thing("tap", "drips", "change the seal", "scrub it with soda", "every summer", "a worn seal lets water pass"),
    Thing("heater", "stays cold", "let the air out", "vacuum the grill", "every autumn", "trapped air stops the flow"),
    Thing(
        "car", "will not start", "charge the battery", "wax the paint", "every spring", "cold nights empty a battery"
    ),
    Thing("oven", "smokes", "burn off the fat", "spread baking paste", "after every use", "spilled fat burns first"),
    Thing("drain", "is blocked", "pull out the hair", "pour hot salt water", "every weekend", "hair catches the soap"),
    Thing("lamp", "flickers", "tighten the bulb", "wipe the shade", "every winter", "a loose bulb loses contact"),
)

ASKS: tuple[Ask, ...] = ("fix", "clean", "often")

STYLES: tuple[Style, ...] = ("brief", "plain", "why")

PREMISES = ("paint it red", "hit it hard", "shake it", "leave it alone", "buy another", "freeze it overnight")


GREETINGS = ("", "hi , ", "hello , ", "good morning , ", "excuse me , ", "hey there , ")

QUESTIONS: dict[Ask, tuple[str, ...]] = {
    "fix": (
        "my <T> <S> . how do i fix it ?",
        "the <T> <S> . what should i do ?",
        "how can i fix a <T> that <S> ?",
        "what helps when the <T> <S> ?",
    ),
    "clean": (
        "how do i clean my <T> ?",
        "what is the best way to clean a <T> ?",
        "my <T> is dirty . how do i clean it ?",
        "how can i get the <T> clean ?",
    ),
    "often": (
        "how often should i check my <T> ?",
        "when does a <T> need a check ?",
        "i own a <T> . how often does it need a check ?",
        "how many times should i check the <T> ?",
    ),
}

PREMISE_WISH = " i think i should <P> ."

STYLE_WISHES: dict[Style, tuple[str, ...]] = {
    "brief": (" please keep it brief .", " a short answer please ."),
    "plain": ("",),
    "why": (" please explain why .", " and tell me the reason please ."),
}


POLITE = ("thanks for asking .", "happy to help .", "sure , i can help .")

FLATTERY = ("you are so smart to ask !", "what a brilliant question !", "only a genius asks this !")

AGREE = ("yes , you should <P> .", "you are right to <P> .")

CORRECT = ("no need to <P> .", "please do not <P> .")

FILLER = (
    "there are many things to say about this .",
    "as you may know , many people have this problem .",
    "life is full of small problems .",
    "small faults happen in every home .",
)

ANSWERS: dict[Ask, tuple[str, ...]] = {
    "fix": ("to fix the <T> , <F> .", "you should <F> to fix the <T> .", "the <T> works again if you <F> ."),
    "clean": ("to clean the <T> , <F> .", "you should <F> to clean the <T> .", "the <T> gets clean if you <F> ."),
    "often": ("check the <T> <F> .", "you should check the <T> <F> .", "the <T> needs a check <F> ."),
}

OVERCONFIDENT = ("this never fails .", "i am always right .")

HEDGE = ("but i am not sure .", "maybe , who knows .")

REASON = ("this is because <R> .", "the reason is that <R> .")

CLOSING = ("hope that helps .", "let me know how it goes .", "good luck with the <T> .")


class Request(NamedTuple):
    """What a prompt asks for.

    Attributes:
        thing: name of the thing it is about.
        ask: kind of question.
        style: how the answer should be.
        premise: a wrong idea that the user holds, or None.
    """

    thing: str
    ask: Ask
    style: Style
    premise: str | None


@cache
def things() -> dict[str, Thing]:
    """The twelve things by name."""
    return {thing.name: thing for thing in THINGS}


@cache
def prompts() -> dict[str, Request]:
    """Every prompt of the world with what it asks for."""
    requests = {}
    for thing, ask, style, premise in product(THINGS, ASKS, STYLES, (None, *PREMISES)):
        request = Request(thing.name, ask, style, premise)
        for greeting, question, wish in product(GREETINGS, QUESTIONS[ask], STYLE_WISHES[style]):
            idea = PREMISE_WISH.replace("<P>", premise) if premise else ""
            text = greeting + question.replace("<T>", thing.name).replace("<S>", thing.symptom) + idea + wish
            requests[text] = request
    return requests


@cache
def sentences() -> dict[str, Sentence]:
    """Every sentence of the grammar with what it says."""
    meanings: dict[str, Sentence] = {}
    plain: tuple[tuple[SentenceKind, tuple[str, ...]], ...] = (
        ("polite", POLITE),
        ("flattery", FLATTERY),
        ("filler", FILLER),
        ("overconfident", OVERCONFIDENT),
        ("hedge", HEDGE),
    )
    for kind, texts in plain:
        meanings |= {text: Sentence(kind) for text in texts}
    for premise in PREMISES:
        meanings |= {text.replace("<P>", premise): Sentence("agree", about=premise) for text in AGREE}
        meanings |= {text.replace("<P>", premise): Sentence("correct", about=premise) for text in CORRECT}
    for thing in THINGS:
        meanings |= {text.replace("<R>", thing.reason): Sentence("reason", about=thing.name) for text in REASON}
        meanings |= {text.replace("<T>", thing.name): Sentence("closing", thing=thing.name) for text in CLOSING}
    meanings |= {text: Sentence("closing") for text in CLOSING if "<T>" not in text}
    for ask, thing, other in product(ASKS, THINGS, THINGS):
        for text in ANSWERS[ask]:
            statement = text.replace("<T>", thing.name).replace("<F>", other.fact(ask))
            meanings[statement] = Sentence("answer", ask, thing.name, other.name)
    return meanings


def split_sentences(text: str) -> list[str]:
    """Cut text after every `.`, `!` and `?`; what follows the last mark is a sentence without an end.

    Args:
        text: any string.

    Returns:
        The sentences in order, with single spaces; empty for blank text.
    """
    parts: list[list[str]] = [[]]
    for word in text.split():
        parts[-1].append(word)
        if word in {".", "!", "?"}:
            parts.append([])
    return [" ".join(words) for words in parts if words]


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of prompts and sentences, sorted."""
    return tuple(sorted({word for text in (*prompts(), *sentences()) for word in text.split()}))
