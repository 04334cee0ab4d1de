"""Which prompts a policy is asked again, how its answers are written down, and how people's labels of them are read."""

import json
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_contracts.formats.registry import recognise
from flows.config.data import ContractConfig, Shares
from flows.config.errors import InputError
from flows.config.loading import load_config
from flows.config.relabel import ByPeople
from flows.config.rounds import check_rounds, relabelling
from flows.data.relabel.annotators import annotator_of
from flows.data.relabel.label_tasks import (
    AnswerPlan,
    Asked,
    ask,
    labelled_file,
    read_choices,
    read_labels,
    worth_a_label,
    write_choices,
)
from flows.data.splits import split_by_group
from flows.data.step_timer import Clock
from flows.data.tables import Table, make_tables
from flows.registry.client import Registry
from flows.registry.context import RunContext
from flows.registry.references import DatasetRef, ModelRef, RoundModels
from flows.storage.snapshots import Snapshot, SnapshotWriter
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.records import Demonstration
from rlhf_core.evaluators.reward_model import score
from tests.conftest import TINY

LENGTHS = RewardModelConfig(max_prompt_tokens=64, max_response_tokens=64)
SHARES = Shares(test=0.25, judge=0.25)
ASKED = [Asked(prompt=f"question {i} ?", first=f"yes {i}", second=f"no {i}", group=f"group {i}") for i in range(60)]
_MODEL = ModelRef(name="desk-policy", version="1", model_id="m", uri="models:/desk-policy/1", digest="d", run_id="r")
NEWEST = RoundModels(round=1, policy=_MODEL, reward_model=_MODEL, judge=_MODEL)
PLAN = AnswerPlan(prompts=30, held_out_prompts=8, responses_per_prompt=2, sampling=SamplingConfig(), shares=SHARES)


def prompts(folder: Path, count: int = 200) -> DatasetRef:
    groups = [f"group {i // 2}" for i in range(count)]
    rows = {"prompt": [f"question {i} ?" for i in range(count)], "group": groups, "source": "a", "row": range(count)}
    frame = pd.DataFrame(rows).assign(split=split_by_group(groups, SHARES, judge=False))
    writer = SnapshotWriter(folder / "temporary")
    writer.add(frame)
    writer.close()
    made: Snapshot = writer.publish("prompts", folder)
    return DatasetRef(
        name="prompts",
        digest=made.digest,
        path=str(made.path),
        rows=made.rows,
        splits=made.split_rows,
        sources=("a",),
        report="",
    )


def test_prompts_are_drawn_for_training_and_measuring_and_the_judges_are_spared(tmp_path: Path) -> None:
    found = ask(PLAN, prompts(tmp_path), seed=1)
    assert all(group == f"group {int(prompt.split()[1]) // 2}" for prompt, group in found.items())
    splits = split_by_group(list(found.values()), SHARES, judge=True)
    assert (splits == "train").sum() == 30 and (splits == "test").sum() == 8 and len(splits) == 38
    assert list(found) == list(ask(PLAN, prompts(tmp_path), seed=1)) != list(ask(PLAN, prompts(tmp_path), seed=2))


def test_fewer_prompts_than_asked_for_are_all_taken(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"prompts": 1000, "held_out_prompts": 1000})
    found = ask(plan, prompts(tmp_path), seed=1)
    every = split_by_group([f"group {i // 2}" for i in range(200)], SHARES, judge=True)
    assert len(found) == (every != "judge").sum()


def test_choices_come_back_from_their_file_and_look_like_tasks_of_label_studio(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "choices.json"
    write_choices(ASKED, path)
    assert read_choices(path) == ASKED
    assert recognise(json.loads(path.read_text())[0]) == "label-studio"
    assert list(path.parent.iterdir()) == [path]


def test_of_training_pairs_as_many_are_labelled_as_there_are_labels_and_of_held_out_ones_all() -> None:
    config = load_config(TINY)
    plan = PLAN.model_copy(update={"pairs": 10, "spend": "coverage"})
    splits = split_by_group([item.group for item in ASKED], SHARES, judge=True)
    asked = [item for item, split in zip(ASKED, splits, strict=True) if split != "judge"]
    held_out = [item for item, split in zip(ASKED, splits, strict=True) if split == "test"]
    context = RunContext(project="tiny", seed=1, storage=Path(), threads=1, run_id="r")
    kept = worth_a_label(asked, plan, config, NEWEST, context, seed=1)
    assert len(kept) == 10 + len(held_out) and [item for item in kept if item in held_out] == held_out
    assert kept == [item for item in asked if item in kept]
    assert worth_a_label(asked, PLAN, config, NEWEST, context, seed=1) == asked


def test_what_labels_are_spent_on_must_make_sense() -> None:
    with pytest.raises(ValueError, match="say how many as `pairs`"):
        ByPeople(spend="coverage")
    config = load_config(TINY, overrides=["relabel.pairs=5", "relabel.spend=disagreement"])
    with pytest.raises(InputError, match=r"reward_model\.heads to 2 or more"):
        check_rounds(config, 2)
    check_rounds(config, 1)
    check_rounds(load_config(TINY, overrides=["relabel.pairs=5", "relabel.spend=uncertainty"]), 2)


# People's labels


def label(path: Path, votes: dict[int, list[str]], target: Path | None = None) -> Path:
    """The file as people export it: by task, what each annotator selected."""
    tasks = json.loads(path.read_text())
    for number, selected in votes.items():
        tasks[number]["annotations"] = [
            {"completed_by": name, "result": [{"type": "pairwise", "value": {"selected": side}}]}
            for name, side in enumerate(selected)
        ]
    found = target or path.with_name(f"{path.stem}.labelled.json")
    found.write_text(json.dumps(tasks))
    return found


@pytest.fixture
def choices(tmp_path: Path) -> Path:
    write_choices(ASKED, tmp_path / "choices.json")
    return tmp_path / "choices.json"


def table(labels: Path, folder: Path, **settings: Any) -> Table:
    reads = {"preferences": read_labels(labels, ASKED)}
    lenient = ContractConfig(max_quarantined=1.0)
    made = make_tables(reads, SHARES, lenient, folder=folder / "work", clock=Clock(), judge=False, **settings)
    return made["preferences"]


def rows(found: Table, folder: Path) -> pd.DataFrame:
    return pd.read_parquet(found.snapshot.publish("preferences", folder).path)


def test_votes_of_people_become_pairs_in_the_groups_of_their_prompts(choices: Path, tmp_path: Path) -> None:
    votes = {number: ["left"] for number in range(40)} | {3: ["right", "right", "left"], 4: ["left", "right"]}
    found = table(label(choices, votes), tmp_path)
    assert found.problems() == []
    frame = rows(found, tmp_path).set_index("prompt")
    assert len(frame) == 39 and found.counts.left_out == {"no vote": 20, "a tie of the votes": 1}
    assert frame.loc["question 0 ?", ["chosen", "rejected", "group"]].tolist() == ["yes 0", "no 0", "group 0"]
    assert frame.loc["question 3 ?", ["chosen", "votes_chosen", "votes_rejected"]].tolist() == ["no 3", 2, 1]


def test_a_person_has_one_vote_on_a_pair_within_a_task_and_in_tasks_that_were_exported_again(
    choices: Path, tmp_path: Path
) -> None:
    labels = label(choices, {number: ["left"] for number in range(40)})
    tasks = json.loads(labels.read_text())
    by_one, *_ = tasks[3]["annotations"]
    right = [{"type": "pairwise", "value": {"selected": "right"}}]
    others = [{"completed_by": name, "result": right} for name in (7, 8)]
    tasks[3]["annotations"] = [by_one, by_one, by_one, *others]
    again = [{**task, "annotations": [{"completed_by": 0, "result": right}]} for task in tasks[:3]]
    both = {**tasks[4], "annotations": [{"completed_by": 0, "result": right}, *others]}
    labels.write_text(json.dumps([*tasks, *again, both]))
    found = table(labels, tmp_path)
    frame = rows(found, tmp_path).set_index("prompt")
    assert found.counts.left_out["later vote of the same annotator on this pair"] == 2 + 3 + 1
    counts = frame[["chosen", "votes_chosen", "votes_rejected"]]
    assert counts.loc["question 0 ?"].tolist() == ["yes 0", 1, 0]
    assert counts.loc["question 3 ?"].tolist() == ["no 3", 2, 1]
    assert counts.loc["question 4 ?"].tolist() == ["no 4", 2, 1]


def test_a_file_that_was_exported_before_anybody_labelled_is_told_as_such(choices: Path, tmp_path: Path) -> None:
    (problem,) = table(label(choices, {}), tmp_path).problems()
    assert str(problem).splitlines() == [
        "preferences: no row is left; mend those that are not written, or add others",
        "  not written: no vote (60)",
    ]


def test_other_formats_will_do_and_several_rows_on_a_pair_are_votes(choices: Path, tmp_path: Path) -> None:
    labels = tmp_path / "choices.labelled.jsonl"
    lines = [{"prompt": item.prompt, "chosen": item.second, "rejected": item.first} for item in ASKED]
    lines += [{"prompt": ASKED[0].prompt, "chosen": ASKED[0].first, "rejected": ASKED[0].second}, lines[0]]
    labels.write_text("\n".join(map(json.dumps, lines)))
    assert labelled_file(choices) == labels
    frame = rows(table(labels, tmp_path), tmp_path).set_index("prompt")
    assert frame.loc[ASKED[0].prompt, ["chosen", "votes_chosen", "votes_rejected"]].tolist() == ["no 0", 2, 1]


def test_a_pair_that_nobody_asked_about_is_refused_with_its_row(choices: Path, tmp_path: Path) -> None:
    labels = tmp_path / "choices.labelled.jsonl"
    labels.write_text(json.dumps({"prompt": ASKED[0].prompt, "chosen": "yes 0", "rejected": "made up"}))
    with pytest.raises(InputError, match=r"choices\.labelled\.jsonl row 1: compares other texts than were asked"):
        list(read_labels(labels, ASKED))


def test_labels_are_found_beside_the_choices_once(choices: Path) -> None:
    assert labelled_file(choices) is None
    first = label(choices, {})
    assert labelled_file(choices) == first
    label(choices, {}, first.with_suffix(".jsonl"))
    with pytest.raises(InputError, match=r"all hold labels of choices\.json; leave one of them there"):
        labelled_file(choices)


def test_a_fresh_pair_on_a_held_out_prompt_is_not_trained_on(choices: Path, tmp_path: Path) -> None:
    labels = label(choices, {number: ["left"] for number in range(60)})
    splits = split_by_group([item.group for item in ASKED], SHARES, judge=True)
    leak = next(item for item, split in zip(ASKED, splits, strict=True) if split == "train")
    apart = [pd.DataFrame({"prompt": [leak.prompt.upper()], "group": ["another"], "source": "b", "row": [1]})]
    found = table(labels, tmp_path, held_out=apart)
    assert found.counts.by_rule == {"prompt_not_held_out": 1}
    assert leak.prompt not in set(rows(found, tmp_path)["prompt"])


# A registered reward model's labels


def test_a_registered_judge_labels_by_its_scores_and_is_named_with_its_version(
    desk: Registry, scorer: Path, register: Callable[..., ModelRef], name: str, tmp_path: Path
) -> None:
    judge, policy = register(name, scorer), register(f"{name}-policy")
    soft = f"relabel={{by: judge, model: models:/{judge.label}, labels: soft, votes: 1001}}"
    config = load_config(TINY, overrides=[soft, "reward_model.labels=votes"])
    context = RunContext(project="desk", seed=1, storage=desk.storage, threads=None, run_id="")
    newest = RoundModels(round=1, policy=policy, reward_model=policy, judge=policy)
    found = annotator_of(config, relabelling(config), tmp_path / "choices.json", newest, context)
    assert found is not None and (found.version, found.digest) == (judge, judge.digest)
    assert found.name == f"{judge.label}, soft labels"
    prompt = "how do i clean my kettle ?"
    texts = ("rub it with lemon .", "hope that helps .", "sure , i can help .")
    asked = [Asked(prompt=prompt, first=one, second=other, group="g") for one, other in combinations(texts, 2)]
    batch, is_label, *_ = next(found.label(asked))
    scores = dict(zip(texts, score(scorer, [Demonstration(prompt, text) for text in texts], LENGTHS), strict=True))
    for row in batch.frame.to_dict("records"):
        gap = scores[row["chosen"]] - scores[row["rejected"]]
        assert gap > 0 and row["votes_chosen"] / 1001 == pytest.approx(1 / (1 + math.exp(-gap)), abs=1e-3)
        assert (row["source"], row["group"]) == (policy.label, "g")
    assert len(batch.frame) == 3 and not is_label


# Mistakes

BAD = [
    ("relabel.votes=2", "field 'relabel.votes': 2 votes may be a tie; give an odd number (now 2)"),
    ("relabel.by=judge", "field 'relabel.model' is missing; add it"),
    ("relabel={by: judge, model: tiny-judge}", "field 'relabel.model': 'tiny-judge' names no registered model"),
    ("relabel={by: judge, model: 'models:/tiny-judge@champion'}", "field 'relabel.model' is the judge"),
    ("relabel={by: judge, model: 'models:/tiny-judge/2'}", "field 'relabel.model' is the judge"),
    ("relabel={by: judge, model: 'models:/a/1', labels: soft}", "set that to votes, or these to drawn"),
    ("relabel={by: people, folders: x}", "field 'relabel.folders' is unknown; did you mean 'folder'?"),
    ("relabel={by: nobody}", "relabel"),
    ("relabel.responses_per_prompt=1", "field 'relabel.responses_per_prompt': must be greater than or equal to 2"),
]


@pytest.mark.parametrize(("override", "expected"), BAD)
def test_a_mistake_about_labels_is_named_by_field_and_mend(override: str, expected: str) -> None:
    with pytest.raises(InputError) as refused:
        load_config(TINY, overrides=[override])
    assert expected in str(refused.value)


def test_simulated_annotators_are_refused_outside_their_world_where_rounds_need_them(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    sources = "".join(f"  {kind}: [{{path: a}}]\n" for kind in ("demonstrations", "preferences", "prompts"))
    path.write_text(
        f"project: toy\ndata:\n  kind: files\n{sources}base: {{kind: from_text}}\nrelabel: {{by: annotators}}\n"
    )
    config = load_config(path)
    with pytest.raises(InputError, match=r"'relabel\.by': annotators know only the embedded world.*climb once"):
        check_rounds(config, 2)


def test_rounds_need_somebody_who_labels_and_a_reward_model_that_is_trained() -> None:
    def refused(*overrides: str) -> str:
        with pytest.raises(InputError) as error:
            check_rounds(load_config(TINY, overrides=overrides), 2)
        return str(error.value)

    assert "field 'relabel' is missing" in refused("relabel=null")
    assert "field 'reward_model.from'" in refused("reward_model={from: 'models:/other/1'}")
