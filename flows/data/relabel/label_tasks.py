"""Fresh answers of a policy side by side, in a file that people can label: tasks of Label Studio."""

import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from prefect.cache_policies import NO_CACHE

from data_contracts.sameness import same_form
from flows.config.data import Shares, Source
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.relabel import ByPeople, RelabelConfig
from flows.data.file_search import SUFFIXES
from flows.data.files import read_file
from flows.data.first_votes import FirstVotes
from flows.data.sources import Read, Spare, as_it_is, convert_file
from flows.data.splits import split_by_group
from flows.data.text_files import PACKINGS
from flows.registry.context import RunContext
from flows.registry.keys import DATA_CODE, content_key, inputs_of
from flows.registry.references import DatasetRef, RoundModels
from flows.storage.snapshots import read_split
from flows.tasks import retried_task
from rlhf_core.annotation import sample_choices
from rlhf_core.config import Frozen
from rlhf_core.config.label_spending import SpendingRule
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.records import Choice
from rlhf_core.label_spending import ASKS_MODEL, Asking, spend_labels

SEEDS_APART = 100_003
"""Between the seeds of two rounds."""

LABELLED = ".labelled"


class AnswerPlan(Frozen):
    """What the answers of a policy depend on besides it and the prompts."""

    prompts: int
    held_out_prompts: int
    responses_per_prompt: int
    sampling: SamplingConfig
    shares: Shares
    pairs: int | None = None
    spend: SpendingRule = "uniform"


class Asked(Frozen):
    """A choice that is to be labelled, with the group of its prompt."""

    prompt: str
    first: str
    second: str
    group: str

    @property
    def choice(self) -> Choice:
        """What an annotator sees."""
        return Choice(self.prompt, self.first, self.second)


@retried_task("draw-answers", cache_policy=NO_CACHE)
def draw_answers(
    config: LadderConfig, relabel: RelabelConfig, prompts: DatasetRef, newest: RoundModels, context: RunContext
) -> Path:
    """Have the newest policy answer prompts and write the choices to a file, unless that is done.

    Args:
        config: how answers are drawn and tables divided.
        relabel: how many.
        prompts: the snapshot that they answer.
        newest: whose answers they are.
        context: seed and storage.

    Returns:
        The file: Label Studio's tasks, without annotations. Its name changes with whatever decides what is in it.

    Raises:
        InputError: if there is nothing to compare.
    """
    plan = AnswerPlan(
        prompts=relabel.prompts,
        held_out_prompts=relabel.held_out_prompts,
        responses_per_prompt=relabel.responses_per_prompt,
        pairs=relabel.pairs,
        spend=relabel.spend,
        sampling=config.policy.sampling,
        shares=config.shares,
    )
    seed = context.seed + SEEDS_APART * newest.round
    models = {"policy": newest.policy.digest}
    if plan.spend in ASKS_MODEL:
        models["reward-model"] = newest.reward_model.digest
    inputs = inputs_of(models, {"prompts": prompts.digest}, {})
    folder = relabel.folder if isinstance(relabel, ByPeople) and relabel.folder else context.storage / "relabel"
    path = folder / f"{context.project}-{content_key('answers', plan, inputs, seed, DATA_CODE)[-16:]}.json"
    if path.exists():
        return path
    groups = ask(plan, prompts, seed=seed)
    model = context.registry().folder(newest.policy)
    each = plan.responses_per_prompt
    choices = sample_choices(model, list(groups), plan.sampling, responses_per_prompt=each, seed=seed)
    if not choices:
        raise InputError(
            f"{newest.policy.label} gives every prompt one answer, so that there is nothing to compare; raise "
            "policy.sampling.temperature or policy.entropy_coef, or do not iterate"
        )
    asked = [Asked(**choice._asdict(), group=groups[choice.prompt]) for choice in choices]
    write_choices(worth_a_label(asked, plan, config, newest, context, seed=seed), path)
    return path


def worth_a_label(
    asked: Sequence[Asked],
    plan: AnswerPlan,
    config: LadderConfig,
    newest: RoundModels,
    context: RunContext,
    *,
    seed: int,
) -> list[Asked]:
    """Of the choices of training prompts as many as are labelled; all of those of held-out prompts."""
    if plan.pairs is None:
        return list(asked)
    splits = split_by_group([item.group for item in asked], plan.shares, judge=True)
    train = [place for place, split in enumerate(splits) if split == "train"]
    asking = None
    if plan.spend in ASKS_MODEL:
        asking = Asking(context.registry().folder(newest.reward_model), config.reward_model)
    chosen = spend_labels([asked[place].choice for place in train], plan.pairs, plan.spend, seed=seed, asking=asking)
    kept = {train[position] for position in chosen}
    return [item for place, item in enumerate(asked) if splits[place] != "train" or place in kept]


def ask(plan: AnswerPlan, prompts: DatasetRef, *, seed: int) -> dict[str, str]:
    """Prompts that a policy shall answer, with their groups: some to train on, some held out, none of the judge's."""
    rng = random.Random(seed)
    chosen: dict[str, str] = {}
    for split, most in (("train", plan.prompts), ("test", plan.held_out_prompts)):
        table = read_split(prompts, split)
        free = table[split_by_group(table["group"].tolist(), plan.shares, judge=True) == split]
        groups = dict(sorted(zip(free["prompt"].tolist(), free["group"].tolist(), strict=True)))
        chosen |= {prompt: groups[prompt] for prompt in rng.sample(list(groups), min(most, len(groups)))}
    return chosen


def write_choices(choices: Sequence[Asked], path: Path) -> None:
    """Write choices as tasks of Label Studio, whole or not at all."""
    names = {"first": "answer1", "second": "answer2"}
    tasks = [
        {
            "id": number,
            "data": {names.get(name, name): text for name, text in item.model_dump().items()},
            "annotations": [],
        }
        for number, item in enumerate(choices, start=1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".tmp")
    part.write_text(json.dumps(tasks, ensure_ascii=False, indent=1), encoding="utf-8")
    os.replace(part, path)


def read_choices(path: Path) -> list[Asked]:
    """The choices that `write_choices` wrote."""
    rows = (task["data"] for task in json.loads(path.read_text(encoding="utf-8")))
    return [
        Asked(prompt=data["prompt"], first=data["answer1"], second=data["answer2"], group=data["group"])
        for data in rows
    ]


def labelled_file(path: Path) -> Path | None:
    """The file with people's labels of some choices, beside these; None where there is none yet.

    Raises:
        InputError: if there are several.
    """
    names = [f"{path.stem}{LABELLED}{suffix}{packed}" for suffix in SUFFIXES for packed in ("", *PACKINGS)]
    files = [path.with_name(name) for name in names if path.with_name(name).is_file()]
    if len(files) > 1:
        raise InputError(f"{', '.join(map(str, files))}: all hold labels of {path.name}; leave one of them there")
    return files[0] if files else None


def read_labels(path: Path, choices: Sequence[Asked], spare: Spare = as_it_is) -> Iterator[Read]:
    """What people said of choices, in any format of preferences; each row is a label, and those of a pair are counted.

    Whoever voted on a pair several times has the first of these votes.

    Args:
        path: the labelled file.
        choices: the choices; they may lack labels, but no other pair may have one.
        spare: takes votes that do not count out of what makes pairs.

    Raises:
        InputError: naming the row, if it compares something else; while reading, if the file is no data.
    """
    groups = {_texts(item.prompt, item.first, item.second): item.group for item in choices}
    for batch in convert_file("preferences", read_file(path, path.name), Source(), FirstVotes(spare).spare):
        yield Read(batch._replace(frame=_grouped(batch.frame, groups)), is_label=True)


def _grouped(frame: pd.DataFrame, groups: Mapping[tuple[str, frozenset[str]], str]) -> pd.DataFrame:
    names = []
    for source, row, *texts in frame[["source", "row", "prompt", "chosen", "rejected"]].itertuples(index=False):
        group = groups.get(_texts(*texts))
        if group is None:
            raise InputError(
                f"{source} row {row}: compares other texts than were asked; label the file as it was written"
            )
        names.append(group)
    return frame.assign(group=names)


def _texts(prompt: object, one: object, other: object) -> tuple[str, frozenset[str]]:
    """A prompt with two responses in any order, in whatever Unicode form they come back from labelling."""
    return same_form(str(prompt)), frozenset((same_form(str(one)), same_form(str(other))))
