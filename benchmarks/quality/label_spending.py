"""How many labels each way of spending them needs for the same agreement with the truth, on the embedded world.

`python -m benchmarks.quality.label_spending run --storage FOLDER --seed 1` spends labels in steps by every rule and
keeps the agreements as JSON; `table` prints what came of them as Markdown. All rules of a seed begin with the same
reward model of the same labels, choose from the same pool, and are measured on the same pairs, whose better answer the
gold reward tells. All seeds share a base. What is in the results is not done again, so that a run that was cut goes on.
"""

import json
import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import numpy as np
import typer

from benchmarks.common.machine import machine
from rlhf_core.base.embedded import pretrain
from rlhf_core.config.base import PretrainConfig
from rlhf_core.config.label_spending import SpendingRule
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.records import Choice, Demonstration, Pair, decide
from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.annotators import AnnotatorConfig, annotate
from rlhf_core.embedded_world.data import WorldConfig, generate
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.embedded_world.writers import ANNOTATED, ANNOTATED_SHARES, write_answer
from rlhf_core.label_spending import Asking, spend_labels
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.sft import train_sft
from rlhf_core.training.stage import finish

RESULTS = Path(__file__).parents[1] / "results" / "label_spending.json"

RULES: tuple[SpendingRule, ...] = get_args(SpendingRule)

REWARD_MODEL = RewardModelConfig(heads=4)
"""The same for all rules, whether or not they ask its members."""

app = typer.Typer(add_completion=False)


class Budget(NamedTuple):
    """How labels are spent.

    Attributes:
        first: labels before any rule is asked, drawn by chance.
        step: labels that a rule spends before the reward model is trained anew.
        steps: how often.
        pool: prompts whose answers may be compared, four each.
        held_out: prompts that agreement is measured on.
    """

    first: int
    step: int
    steps: int
    pool: int
    held_out: int


class Prepared(NamedTuple):
    """What all rules of a seed have in common."""

    sft: Path
    demonstrations: list[Demonstration]
    pool: list[Choice]
    held_out: list[Pair]


class Trained(NamedTuple):
    """A reward model, and how often it agrees with the truth.

    Attributes:
        known: places in the pool of the choices that it learned from.
    """

    folder: Path
    known: list[int]
    agreement: float

    @property
    def point(self) -> dict[str, float]:
        """Of a curve."""
        return {"labels": len(self.known), "agreement": self.agreement}


def prepare(budget: Budget, small: bool, folder: Path, seed: int) -> Prepared:
    """Make an SFT model, and draw the pool and the pairs that measure.

    Args:
        budget: sizes.
        small: whether models are as small as a test wants them, which learn little.
        folder: of the models, which are made once: the base for all seeds, SFT for each.
        seed: of everything but the base.
    """
    rng = random.Random(seed)
    world = generate(WorldConfig(demonstrations=300 if small else 2600, preference_prompts=10, prompts=10), seed=seed)
    shown = [Demonstration(row["prompt"], row["response"]) for row in world.demonstrations]
    base, sft = folder / "base", folder / f"sft-{seed}"
    if not base.exists():
        size = {"width": 32, "layers": 1, "heads": 2, "documents": 1500, "steps": 60, "batch_size": 16} if small else {}
        finish(pretrain(PretrainConfig(**size), out=base, seed=0))
    if not sft.exists():
        cut = len(shown) * 9 // 10
        data = {"train": shown[:cut], "held_out": shown[cut:]}
        finish(train_sft(SFTConfig(evaluation_prompts=30), base=base, **data, out=sft, seed=seed))
    prompts = rng.sample(sorted(grammar.prompts()), budget.pool + budget.held_out)
    choices = {prompt: _answers(prompt, rng) for prompt in prompts}
    pool = [choice for prompt in prompts[: budget.pool] for choice in choices[prompt]]
    truth = [_truth(choice) for prompt in prompts[budget.pool :] for choice in choices[prompt]]
    return Prepared(sft, shown[:200], pool, [pair for pair in truth if pair is not None])


def spend(
    prepared: Prepared, budget: Budget, rule: SpendingRule, first: Trained, folder: Path, seed: int
) -> list[dict[str, float]]:
    """Labels spent by a rule, with the agreement that they were worth after each step.

    Args:
        prepared: what all rules have in common.
        budget: how many labels.
        rule: which of the choices.
        first: the reward model that all rules begin with.
        folder: of the others.
        seed: of draws, votes and training.
    """
    last, points = first, [first.point]
    for step in range(budget.steps):
        rest = sorted({*range(len(prepared.pool))} - {*last.known})
        choices, asking = [prepared.pool[at] for at in rest], Asking(last.folder, REWARD_MODEL)
        more = spend_labels(choices, budget.step, rule, seed=seed + step, asking=asking)
        known = [*last.known, *(rest[position] for position in more)]
        last = learn(prepared, known, folder / f"{seed}-{rule}-{step}", seed)
        points.append(last.point)
    return points


def learn(prepared: Prepared, known: Sequence[int], out: Path, seed: int) -> Trained:
    """Train a reward model on labels of some choices of the pool, which one person each gives."""
    labelled = [prepared.pool[place] for place in known]
    votes = annotate(AnnotatorConfig(), labelled, votes=1, seed=seed)
    train = [decide(choice, cast) for choice, cast in zip(labelled, votes, strict=True)]
    data = {"train": train, "held_out": prepared.held_out, "demonstrations": prepared.demonstrations}
    trained = finish(train_reward_model(REWARD_MODEL, init_from=prepared.sft, **data, out=out, seed=seed))
    return Trained(out, list(known), trained.estimates["agreement"].value)


def labels_for(points: Sequence[Mapping[str, float]], agreement: float) -> float | None:
    """Labels at which a curve reaches an agreement, as the line between its points goes; None if it never does."""
    labels, reached = (np.array([point[name] for point in points]) for name in ("labels", "agreement"))
    above = np.flatnonzero(reached >= agreement)
    if not len(above):
        return None
    at = int(above[0])
    if at == 0:
        return float(labels[0])
    share = (agreement - reached[at - 1]) / (reached[at] - reached[at - 1])
    return float(labels[at - 1] + share * (labels[at] - labels[at - 1]))


@app.command()
def run(
    storage: Annotated[Path, typer.Option(help="Folder of the models.")],
    seeds: Annotated[list[int], typer.Option("--seed", help="Give several.")],
    first: int = 200,
    step: int = 300,
    steps: int = 4,
    pool: int = 1000,
    held_out: int = 300,
    small: Annotated[bool, typer.Option(help="Models that are made in seconds and learn little.")] = False,
    results: Path = RESULTS,
) -> None:
    """Spend labels by every rule and keep the agreements."""
    budget = Budget(first, step, steps, pool, held_out)
    kept = json.loads(results.read_text()) if results.exists() else {"curves": []}
    for seed in seeds:
        case = {"seed": seed, "small": small, "budget": budget._asdict()}
        done = {item["rule"] for item in kept["curves"] if all(item[name] == value for name, value in case.items())}
        left = [rule for rule in RULES if rule not in done]
        if left:
            prepared = prepare(budget, small, storage, seed)
            known = spend_labels(prepared.pool, budget.first, "uniform", seed=seed)
            first_model = learn(prepared, known, storage / f"{seed}-first", seed)
        for rule in left:
            points = spend(prepared, budget, rule, first_model, storage, seed)
            kept = {"machine": machine(), "curves": [*kept["curves"], {**case, "rule": rule, "points": points}]}
            results.write_text(json.dumps(kept, indent=1) + "\n")
            typer.echo(f"seed {seed} {rule}: {[round(point['agreement'], 3) for point in points]}")


@app.command()
def table(results: Path = RESULTS) -> None:
    """Print, for each rule, the labels that it needs for the agreement that labels by chance reach at last."""
    curves: list[dict[str, Any]] = json.loads(results.read_text())["curves"]
    names = "rule | seeds | agreement at last, by seed | labels for what chance reaches at last, share of its labels"
    typer.echo(f"| {names} |\n|---|---:|---:|---:|")
    by_chance = {curve["seed"]: curve["points"] for curve in curves if curve["rule"] == "uniform"}
    for rule in RULES:
        mine = [curve for curve in curves if curve["rule"] == rule]
        last = ", ".join(f"{curve['points'][-1]['agreement']:.3f}" for curve in mine)
        shares = ", ".join(_share(curve["points"], by_chance[curve["seed"]]) for curve in mine)
        typer.echo(f"| {rule} | {len(mine)} | {last} | {shares} |")


def _share(points: Sequence[Mapping[str, float]], by_chance: Sequence[Mapping[str, float]]) -> str:
    labels = labels_for(points, by_chance[-1]["agreement"])
    needed = labels_for(by_chance, by_chance[-1]["agreement"])
    return "never" if labels is None or needed is None else f"{labels / needed:.2f}"


def _answers(prompt: str, rng: random.Random) -> list[Choice]:
    writers = rng.choices(ANNOTATED, ANNOTATED_SHARES, k=4)
    answers = dict.fromkeys(write_answer(grammar.prompts()[prompt], habits, rng) for habits in writers)
    return [Choice(prompt, one, other) for one, other in combinations(answers, 2)]


def _truth(choice: Choice) -> Pair | None:
    """The pair as the gold reward orders it; None where it cannot tell."""
    gap = gold_reward(choice.prompt, choice.first) - gold_reward(choice.prompt, choice.second)
    if gap == 0:
        return None
    return Pair(choice.prompt, *((choice.first, choice.second) if gap > 0 else (choice.second, choice.first)))


if __name__ == "__main__":
    app()
