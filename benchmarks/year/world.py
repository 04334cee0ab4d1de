"""The help desk over a year: topics that come and go, styles that shift, and what people write, compare and label."""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

from benchmarks.year.size import EVERY, Batch, Size
from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.annotators import AnnotatorConfig, ask, utility
from rlhf_core.embedded_world.writers import ANNOTATED, ANNOTATED_SHARES, DEMONSTRATOR, write_answer

PERIOD = 36.0
"""Weeks in which a topic comes and goes."""
LEAST = 0.1
"""Of a topic that hardly anybody asks about, beside 1 for an average one."""
BRIEF = (0.25, 0.5)
"""Share of people in a hurry at the start and the end of the year."""
VOTES, REPEATED, REPEATED_BEFORE = 3, 1.0, 0.25
"""Annotators of a repeated pair, and the share of such pairs in the year and in the stock."""


class Person(NamedTuple):
    """Somebody who compares answers.

    Attributes:
        name: in the column of annotators.
        habits: how they vote.
    """

    name: str
    habits: AnnotatorConfig = AnnotatorConfig(careless_share=0.02)


HONEST = tuple(Person(name) for name in ("ada", "bob", "cleo", "dai", "eve", "finn"))
"""Those who have always labelled here."""


class Delivery(NamedTuple):
    """Rows that land together, by table; each is a row of a file.

    Attributes:
        name: of the batch, which its files are called after.
    """

    name: str
    demonstrations: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    prompts: list[dict[str, Any]]


class Week(NamedTuple):
    """What people ask about in a week, as shares that sum to 1."""

    topics: dict[str, float]
    styles: dict[str, float]

    def share(self, request: grammar.Request) -> float:
        """How often a request like this comes, beside others."""
        return self.topics[request.thing] * self.styles[request.style]


def mood(week: int, seed: int) -> Week:
    """What people ask about.

    Args:
        week: 0 for the time before the year.
        seed: of the year, which decides which topic comes when.
    """
    phases = random.Random(f"phases {seed}")
    waves = {
        thing.name: max(LEAST, 1.0 + math.sin(2 * math.pi * (week / PERIOD + phases.random())))
        for thing in grammar.THINGS
    }
    total = sum(waves.values())
    brief = BRIEF[0] + (BRIEF[1] - BRIEF[0]) * min(week / 52, 1.0)
    styles = {"brief": brief, "plain": (1 - brief) / 2, "why": (1 - brief) / 2}
    return Week({name: wave / total for name, wave in waves.items()}, styles)


def deliveries(size: Size, seed: int, weeks: int, *, people: dict[int, Sequence[Person]]) -> list[Delivery]:
    """What lands of its own in every week, the stock first; no prompt stands twice in a table.

    Args:
        size: of the year.
        seed: of every draw.
        weeks: how many follow the stock.
        people: who labels, by week, where it is not the honest ones.
    """
    stores = {table: _Prompts(random.Random(f"{table} {seed}")) for table in Batch._fields}
    made = []
    for week in range(weeks + 1):
        rng = random.Random(f"week {seed} {week}")
        drawn = size.stock if week == 0 else size.weekly
        asked = mood(week, seed)
        rich = week % EVERY == 0
        found = {
            table: store.take(asked, count if rich or table == "compared" else 0)
            for (table, store), count in zip(stores.items(), drawn, strict=True)
        }
        made.append(
            Delivery(
                name=f"week-{week:02d}",
                demonstrations=[_demonstration(prompt, rng) for prompt in found["demonstrations"]],
                pairs=compare(
                    found["compared"],
                    size.responses,
                    people.get(week, HONEST),
                    rng,
                    repeated=REPEATED if week else REPEATED_BEFORE,
                ),
                prompts=[{"prompt": prompt} for prompt in found["prompts"]],
            )
        )
    return made


def compare(
    prompts: Sequence[str],
    responses: int,
    people: Sequence[Person],
    rng: random.Random,
    *,
    repeated: float = REPEATED,
) -> list[dict[str, Any]]:
    """Labels of answers that people of the help desk wrote to some prompts, a row for each vote."""
    rows: list[dict[str, Any]] = []
    for prompt in prompts:
        request = grammar.prompts()[prompt]
        writers = rng.choices(ANNOTATED, ANNOTATED_SHARES, k=responses)
        said = list(dict.fromkeys(write_answer(request, habits, rng) for habits in writers))
        for first, second in combinations(said, 2):
            rows += label(prompt, first, second, people, rng, repeated=repeated)
    return rows


def label(
    prompt: str,
    first: str,
    second: str,
    people: Sequence[Person],
    rng: random.Random,
    *,
    repeated: float = REPEATED,
) -> list[dict[str, Any]]:
    """Votes on two answers: of one person, or of several who are asked apart."""
    asked = rng.sample(people, min(len(people), VOTES if rng.random() < repeated else 1))
    rows = []
    for person in asked:
        gap = utility(person.habits, prompt, first) - utility(person.habits, prompt, second)
        better = "a" if ask(person.habits, gap, 1, rng).first else "b"
        rows.append(
            {"prompt": prompt, "response_a": first, "response_b": second, "better": better, "annotator": person.name}
        )
    return rows


def draw_prompts(count: int, asked: Week, rng: random.Random) -> list[str]:
    """Prompts of a week, each once."""
    return _Prompts(rng).take(asked, count)


@cache
def cells() -> dict[tuple[str, str], list[str]]:
    """All prompts of the world, by thing and style."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for prompt, request in sorted(grammar.prompts().items()):
        found[request.thing, request.style].append(prompt)
    return dict(found)


def _demonstration(prompt: str, rng: random.Random) -> dict[str, Any]:
    return {"prompt": prompt, "response": write_answer(grammar.prompts()[prompt], DEMONSTRATOR, rng)}


class _Prompts:
    """All prompts in a random order, each given out once."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._left = {cell: rng.sample(prompts, len(prompts)) for cell, prompts in cells().items()}

    def take(self, asked: Week, count: int) -> list[str]:
        taken: list[str] = []
        while len(taken) < count:
            open_cells = [cell for cell, prompts in self._left.items() if prompts]
            weights = [asked.topics[thing] * asked.styles[style] for thing, style in open_cells]
            for cell in self._rng.choices(open_cells, weights, k=count - len(taken)):
                if self._left[cell]:
                    taken.append(self._left[cell].pop())
        return taken
