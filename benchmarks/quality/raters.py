"""A year of weekly looks at raters of the embedded world: who is accused, wrongly or in time.

`python -m benchmarks.quality.raters run --years 10` simulates years and keeps them as JSON; `table` prints what came of
them as Markdown. Of the raters most are honest, some of them careless now and then; one answers at random and one likes
length, who join after a while.
"""

import json
import random
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from benchmarks.common.machine import machine
from rlhf_core.data.records import Choice
from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.annotators import AnnotatorConfig, ask_by_name
from rlhf_core.embedded_world.writers import ANNOTATED, ANNOTATED_SHARES, write_answer
from rlhf_core.metrics.rater_evidence import RaterVotes
from rlhf_core.metrics.raters import LIKES_LENGTH, RANDOM, verdicts_of

RESULTS = Path(__file__).parents[1] / "results" / "raters.json"

WEEKS = 52

app = typer.Typer(add_completion=False)


class Rater(NamedTuple):
    """Who labels, and the week of joining, from 0."""

    config: AnnotatorConfig
    joins: int = 0


class Week(NamedTuple):
    """The verdicts of a week's look, by rater."""

    number: int
    verdicts: Mapping[str, tuple[str, ...]]


def staff(honest: int) -> dict[str, Rater]:
    """Honest raters, every third of whom casts a tenth of the votes by a coin, and two who are none."""
    people = {f"honest {index}": AnnotatorConfig(careless_share=0.1 * (index % 3 == 0)) for index in range(honest)}
    return {
        **{name: Rater(config) for name, config in people.items()},
        "random": Rater(AnnotatorConfig(careless_share=1.0), joins=10),
        "length": Rater(AnnotatorConfig(length_bias=2.0), joins=20),
    }


def year(
    raters: Mapping[str, Rater], *, labels: int, votes: int, seed: int, weeks: int = WEEKS, responses: int = 2
) -> Iterator[Week]:
    """Simulate weeks of labelling, each followed by a look at all labels so far.

    Args:
        raters: by name.
        labels: of each rater in a week, on average, each on a pair that others label too.
        votes: raters of each pair.
        seed: of prompts, answers and votes.
        weeks: how many.
        responses: to each prompt, all of which are compared.
    """
    rng, names = random.Random(seed), sorted(raters)
    columns = np.zeros((0, 5), dtype=np.int64)
    for week in range(weeks):
        here = {name: rater.config for name, rater in raters.items() if rater.joins <= week}
        choices, groups = _choices(rng, labels * len(here) // votes, responses)
        said = ask_by_name(here, choices, votes=votes, seed=rng.randrange(2**32))
        start = int(columns[:, 1].max(initial=-1)) + 1
        cast = [
            (names.index(name), start + place, week * 10**6 + groups[place], 3 - 2 * vote, _longer(choices[place]))
            for place, by_name in enumerate(said)
            for name, vote in by_name.items()
        ]
        columns = np.concatenate([columns, np.array(cast, dtype=np.int64)])
        yield Week(week, verdicts_of(RaterVotes(names, *columns.T)))


def _choices(rng: random.Random, count: int, responses: int) -> tuple[list[Choice], list[int]]:
    """Fresh pairs, and the number of the prompt of each."""
    prompts, choices, groups = sorted(grammar.prompts()), list[Choice](), list[int]()
    group = 0
    while len(choices) < count:
        prompt, group = rng.choice(prompts), group + 1
        writers = rng.choices(ANNOTATED, ANNOTATED_SHARES, k=responses)
        answers = dict.fromkeys(write_answer(grammar.prompts()[prompt], habits, rng) for habits in writers)
        pairs = [Choice(prompt, one, other) for one, other in combinations(answers, 2)]
        choices += pairs
        groups += [group] * len(pairs)
    return choices[:count], groups[:count]


def _longer(choice: Choice) -> int:
    words = len(choice.first.split()) - len(choice.second.split())
    return (words > 0) - (words < 0)


def graded(raters: Mapping[str, Rater], weeks: Iterator[Week]) -> dict[str, Any]:
    """Who got which verdict first when: weeks after joining, 1 being the first look, and everybody wrongly accused."""
    first: dict[str, dict[str, int]] = {RANDOM: {}, LIKES_LENGTH: {}}
    for week in weeks:
        for name, verdicts in week.verdicts.items():
            for verdict in verdicts:
                first[verdict].setdefault(name, week.number - raters[name].joins + 1)
    return {
        "found_random": first[RANDOM].get("random"),
        "found_length": first[LIKES_LENGTH].get("length"),
        "wrongly_random": {name: week for name, week in first[RANDOM].items() if name != "random"},
        "wrongly_length": {name: week for name, week in first[LIKES_LENGTH].items() if name != "length"},
    }


@app.command()
def run(
    labels: Annotated[list[int], typer.Option(help="Shared labels of a rater in a week; give several.")],
    years: Annotated[int, typer.Option(min=1)] = 5,
    votes: Annotated[int, typer.Option(min=2, help="Raters of each pair.")] = 3,
    responses: Annotated[int, typer.Option(min=2, help="Answers to each prompt.")] = 2,
    honest: Annotated[int, typer.Option(min=2)] = 18,
    results: Path = RESULTS,
) -> None:
    """Simulate years and keep what came of them; years that the results already hold are simulated again."""
    raters = staff(honest)
    kept = json.loads(results.read_text()) if results.exists() else {"years": []}
    for seed in range(years):
        for count in labels:
            case = {"labels": count, "votes": votes, "responses": responses, "honest": honest, "seed": seed}
            weeks = year(raters, labels=count, votes=votes, seed=seed, responses=responses)
            done = {**case, **graded(raters, weeks)}
            others = [item for item in kept["years"] if any(item[name] != case[name] for name in case)]
            kept = {"machine": machine(), "years": [*others, done]}
            results.write_text(json.dumps(kept, indent=1) + "\n")
            typer.echo(done)


@app.command()
def table(results: Path = RESULTS) -> None:
    """Print what the results hold as Markdown."""
    kept = json.loads(results.read_text())["years"]
    cases = sorted({(item["honest"], item["votes"], item["responses"], item["labels"]) for item in kept})
    names = "honest | raters of a pair | answers to a prompt | labels a week | years | wrong verdicts"
    typer.echo(f"| {names} | found in 3 weeks | weeks until found | weeks until length is found |\n{'|---:' * 9}|")
    for honest, votes, responses, labels in cases:
        case = {"honest": honest, "votes": votes, "responses": responses, "labels": labels}
        years = [item for item in kept if all(item[name] == value for name, value in case.items())]
        wrong = sum(len(item["wrongly_random"]) + len(item["wrongly_length"]) for item in years)
        found, length = ([item[name] or WEEKS for item in years] for name in ("found_random", "found_length"))
        in_time = sum(week <= 3 for week in found)
        typer.echo(
            f"| {honest} | {votes} | {responses} | {labels} | {len(years)} | {wrong} | {in_time} | "
            f"{min(found)} to {max(found)} | {min(length)} to {max(length)} |"
        )


if __name__ == "__main__":
    app()
