"""What prompts of known kinds look like to the gates on data, as Markdown.

`python -m benchmarks.quality.prompt_figures` prints it. Healthy and purposely broken prompts of the embedded
world, over seeds; with `--data FOLDER` also those of public files, laid out as
`configs/real_sample.yaml` expects them. Aggregates only; no row is printed.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from data_contracts.conversation import read_conversation
from data_contracts.formats.convert import convert_rows
from data_contracts.formats.registry import FORMATS
from flows.config.data import Shares
from flows.data.files import read_file
from flows.data.splits import split_by_group
from flows.report import format_estimate
from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.data import WorldConfig, generate
from rlhf_core.gates.data import DEFAULT_DATA_GATES
from rlhf_core.gates.gate import judge
from rlhf_core.metrics.prompt_quality import prompt_figures

FIGURES = ("prompt_near_duplicate_share", "prompt_shift_auc")
SIZES = {"full": WorldConfig(), "small": WorldConfig(demonstrations=300, preference_prompts=200, prompts=200)}
FILES = {
    "HH-RLHF": ("hh-rlhf/harmless-base-sample.jsonl.gz", "hh-rlhf"),
    "OpenAssistant": ("oasst/en_100_tree.jsonl", "oasst"),
    "Self-Instruct": ("self-instruct/seed_tasks.jsonl", "self-instruct"),
    "MT-Bench": ("mt-bench/mt_bench_question.jsonl", "mt-bench"),
}


class Case(NamedTuple):
    """Prompts of a policy beside the prompts of pairs."""

    what: str
    prompts: Sequence[str]
    pair_prompts: Sequence[str]


def about(things: int) -> Callable[[str], bool]:
    """Whether a prompt of the embedded world is about one of the first so many of its twelve things."""
    names = {thing.name for thing in grammar.THINGS[:things]}
    return lambda prompt: grammar.prompts()[prompt].thing in names


def embedded(size: str, seed: int) -> Iterator[Case]:
    """The embedded world as it is, and with prompts that are not what the pairs are about."""
    world, rng = generate(SIZES[size], seed=seed), random.Random(seed)
    prompts = training([row["prompt"] for row in world.prompts], judge=False)
    pairs = training(sorted({row["prompt"] for row in world.preferences}), judge=True)
    rng.shuffle(pairs)
    every = sorted(grammar.prompts())
    one, three, six = (rng.sample([text for text in every if about(n)(text)], len(prompts) // 3) for n in (1, 3, 6))
    why = [text for text in every if grammar.prompts()[text].premise is None and grammar.prompts()[text].style == "why"]
    foreign = [prompt.replace("my ", "our ").replace("how ", "in what way ") + " urgent !" for prompt in prompts]
    half = len(prompts) // 2
    yield Case("healthy", prompts, pairs)
    yield Case("one thing of twelve", one, pairs)
    yield Case("three things of twelve", three, pairs)
    yield Case("six things of twelve", six, pairs)
    yield Case("only questions why, without a premise", rng.sample(why, min(len(why), half)), pairs)
    yield Case("other words", foreign, pairs)
    yield Case("half in other words", [*foreign[:half], *prompts[half:]], pairs)
    yield Case("a fifth in other words", [*foreign[: half * 2 // 5], *prompts[half * 2 // 5 :]], pairs)
    yield Case("every prompt in two spellings", near_copies(prompts[:half]), pairs)
    yield Case("a third in two spellings", [*near_copies(prompts[: half // 3]), *prompts[half // 3 :]], pairs)


def near_copies(prompts: Sequence[str]) -> list[str]:
    """Each prompt twice: as it is, and with a capital and another mark at its end."""
    return [text for prompt in prompts for text in (prompt, f"{prompt.capitalize().rstrip(' .?!')} ...")]


def public(data: Path) -> Iterator[Case]:
    """Public files, each beside its own pairs and beside those of another one."""
    halves = {title: read_prompts(data / path, name) for title, (path, name) in FILES.items()}
    for title, (ours, theirs) in halves.items():
        yield Case(f"{title} beside {title}", ours, theirs)
        yield Case(f"{title} in two spellings beside {title}", near_copies(ours), theirs)
    for title in FILES:
        for other in ("HH-RLHF", "OpenAssistant"):
            if title != other:
                yield Case(f"{title} beside {other}", [*halves[title][0], *halves[title][1]], halves[other][1])
    ours, theirs = halves["HH-RLHF"]
    for share in (0.2, 0.5):
        foreign = halves["OpenAssistant"][0][: round(200 * share)]
        mixed = [*ours[: 200 - len(foreign)], *foreign]
        yield Case(f"HH-RLHF with {share:.0%} OpenAssistant beside HH-RLHF", mixed, theirs)


def read_prompts(path: Path, name: str) -> tuple[list[str], list[str]]:
    """The distinct prompts of a file in two halves that share no group, in an order drawn at random."""
    frame = convert_rows("prompts", FORMATS[name]["prompts"].convert, read_file(path, path.name)).frame
    rows = frame.drop_duplicates("prompt").sample(frac=1, random_state=0)
    texts = ["\n".join(turn["content"] for turn in read_conversation(prompt)) for prompt in rows["prompt"]]
    groups = {group: index % 2 for index, group in enumerate(dict.fromkeys(rows["group"]))}
    halves = [groups[group] for group in rows["group"]]
    first, second = ([text for text, half in zip(texts, halves, strict=True) if half == side] for side in (0, 1))
    return first, second


def training(prompts: list[str], *, judge: bool) -> list[str]:
    """The part of the prompts that would be trained on."""
    splits = split_by_group(prompts, Shares(), judge=judge)
    return [prompt for prompt, split in zip(prompts, splits, strict=True) if split == "train"]


def line(title: str, case: Case) -> str:
    """A row of the table."""
    found = prompt_figures(case.prompts, case.pair_prompts)
    verdicts = [f"{verdict.gate}: {verdict.status}" for verdict in judge(DEFAULT_DATA_GATES, found)]
    cells = [format_estimate(found[name]) if name in found else "unknown" for name in FIGURES]
    counts = f"{len(case.prompts):,} / {len(case.pair_prompts):,}"
    return f"| {title} | {case.what} | {counts} | {' | '.join(cells)} | {', '.join(verdicts)} |"


def main(
    data: Annotated[Path | None, typer.Option(help="Folder with the public files.")] = None,
    seeds: Annotated[int, typer.Option(help="Worlds of each size.")] = 3,
) -> None:
    """Print a row for each case."""
    head = ("data", "prompts", "prompts / of pairs", "near duplicates", "shift AUC", "verdicts")
    print(f"| {' | '.join(head)} |", "|---" * len(head) + "|", sep="\n")
    for size in SIZES:
        for seed in range(seeds):
            for case in embedded(size, seed):
                print(line(f"embedded, {size}, seed {seed}", case), flush=True)
    for case in () if data is None else public(data):
        print(line("public", case), flush=True)


if __name__ == "__main__":
    typer.run(main)
