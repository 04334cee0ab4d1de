"""What versions were trained on, on a real registry: lineage, splits, sameness of prompts, what is gone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest

from flows.config.errors import InputError
from flows.registry.client import Registry
from flows.registry.dataset_uploads import keep_snapshots
from flows.registry.learned_prompts import TrainingUnknown, learned_prompts, leave_out, matching, tuned_prompts
from flows.registry.references import DataRefs, DatasetRef, ModelRef
from flows.stages.held_out import held_out
from flows.storage.text_hashes import loose_hashes
from tests.flows.toys import keep_table

LABEL = {"chosen": "yes", "rejected": "no", "votes_chosen": 1, "votes_rejected": 0}

Made = Callable[..., ModelRef]
Table = Callable[..., DatasetRef]


@pytest.fixture
def made(desk: Registry, files: Path, name: str) -> Made:
    """Register a version of a stage with what went into it; each test has names of its own."""

    def make(
        stage: str, parents: Mapping[str, ModelRef] | None = None, datasets: Mapping[str, DatasetRef] | None = None
    ) -> ModelRef:
        run_id = desk.start_run(stage)
        desk.log_datasets(run_id, datasets or {})
        keep_snapshots((datasets or {}).values(), "desk", desk)
        tags = {f"parent.{role}": ref.label for role, ref in (parents or {}).items()}
        return desk.register(files, f"{name}-{stage}", run_id=run_id, parents={}, tags=tags, description="")

    return make


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """A snapshot of prompts by split; the group of a prompt is its first word."""

    def write(kind: str, **splits: Sequence[str]) -> DatasetRef:
        rows = [
            {"prompt": prompt, "group": prompt.split()[0], "split": split, **LABEL}
            for split, prompts in splits.items()
            for prompt in prompts
        ]
        return keep_table(kind, pd.DataFrame(rows), tmp_path)

    return write


def seen(desk: Registry, version: ModelRef, prompts: Sequence[str]) -> list[str]:
    """Those of some prompts, each of a group of its own, that a version or its lineage learned from."""
    frame = pd.DataFrame({"prompt": prompts, "group": prompts})
    return sorted(leave_out(frame, learned_prompts([version], desk)).prompts)


def test_all_that_went_in_counts_by_the_split_that_taught_it(desk: Registry, made: Made, table: Table) -> None:
    demonstrations = table("demonstrations", train=["d1 x"], test=["d2 x"])
    preferences = table("preferences", train=["r1 x"], judge=["j1 x"], test=["h1 x"])
    fresh = table("preferences", train=["f1 x"], test=["f2 x"])
    prompts = table("prompts", train=["p1 x"], test=["p2 x"])
    base = made("base", datasets={"training-preferences": table("preferences", train=["b1 x"])})
    sft = made("sft", {"base": base}, {"training": demonstrations})
    pairs = {"training": preferences, "training-2": fresh}
    reward_model = made("reward-model", {"sft": sft}, pairs)
    judge = made("judge", {"sft": sft}, {"training": preferences, "centring": demonstrations})
    above = {"sft": sft, "reward-model": reward_model, "judge": judge}
    policy = made("policy", above, {"training": prompts})
    by_dpo = made("policy", above, {"training": preferences, "evaluation": prompts})
    asked = ["b1 x", "d1 x", "d2 x", "f1 x", "f2 x", "h1 x", "j1 x", "p1 x", "p2 x", "r1 x"]
    assert seen(desk, base, asked) == ["b1 x"]
    assert seen(desk, sft, asked) == ["b1 x", "d1 x"]
    assert seen(desk, reward_model, asked) == ["b1 x", "d1 x", "f1 x", "r1 x"]
    assert seen(desk, judge, asked) == ["b1 x", "d1 x", "j1 x"]
    assert seen(desk, policy, asked) == ["b1 x", "d1 x", "f1 x", "j1 x", "p1 x", "r1 x"]
    assert seen(desk, by_dpo, asked) == ["b1 x", "d1 x", "f1 x", "j1 x", "r1 x"]


def test_rows_are_counted_by_version_and_said() -> None:
    learned = {label: loose_hashes(texts) for label, texts in {"a/1": ["one two", "three"], "b/2": ["three"]}.items()}
    held_out = pd.DataFrame({"prompt": ["one two", "one two", "five", "three", "six"]})
    left_out = leave_out(held_out, learned)
    assert (left_out.prompts, left_out.rows, left_out.of) == ({"one two", "three"}, 3, 5)
    assert left_out.by == {"a/1": 3, "b/2": 1}
    assert left_out.sentence("held-out pairs") == (
        "3 of 5 held-out pairs left out, which these were trained on: a/1 (3), b/2 (1)"
    )
    assert leave_out(held_out[2:3], learned).sentence("pairs") == ""


def test_prompts_are_the_same_in_another_case_spacing_or_form_and_groups_stay_together(
    desk: Registry, made: Made, table: Table
) -> None:
    sft = made("sft", datasets={"training": table("demonstrations", train=["caf\u00e9 ONE", "tree 1"])})
    same = ["Cafe\u0301  one", "cafe one", "other words"]
    assert seen(desk, sft, same) == ["Cafe\u0301  one"]
    frame = pd.DataFrame({"prompt": ["another turn", "alone"], "group": ["Tree", "leaf"]})
    assert leave_out(frame, learned_prompts([sft], desk)).prompts == {"another turn"}


def test_a_version_is_tuned_on_every_second_held_out_prompt(desk: Registry, made: Made, table: Table) -> None:
    asked = ["h1 x", "h2 x", "h3 x", "h4 x"]
    pairs = table("preferences", train=["r x"], judge=["j x"], test=["h1 x", "h1 x", "h2 x", "h3 x", "h4 x"])
    reward_model = made("reward-model", datasets={"training": pairs})
    taken = made("judge", {"taken": reward_model}, {"evaluation": table("preferences", test=["h4 x"])})
    policy = made("policy", datasets={"training": table("prompts", train=["p x"], test=asked[1:])})
    assert matching(asked, tuned_prompts(reward_model, desk)) == {"h1 x", "h3 x"}
    assert matching(asked, tuned_prompts(taken, desk)) == {"h1 x", "h3 x", "h4 x"}
    assert matching(asked, tuned_prompts(policy, desk)) == {"h2 x", "h4 x"}


def test_versions_of_two_weeks_are_judged_by_the_same_prompts_as_the_table_grows(
    desk: Registry, made: Made, table: Table
) -> None:
    first = [f"h{number} x" for number in range(200)]
    later = sorted([*first, *(f"g{number} x" for number in range(50))], key=lambda prompt: prompt[::-1])
    sides = [
        made("policy", datasets={"training": table("prompts", train=["p x"], test=asked)}) for asked in (first, later)
    ]
    tuned = [matching(later, tuned_prompts(side, desk)) for side in sides]
    assert tuned[0] == tuned[1] & set(first) and 70 < len(tuned[0]) < 130


def test_a_version_of_before_there_was_a_rule_is_known_by_every_second_prompt(
    desk: Registry, made: Made, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [f"h{number:03} x" for number in range(200)]
    monkeypatch.setattr("flows.registry.tags.HALVED_BY", "")
    policy = made("policy", datasets={"training": table("prompts", train=["p x"], test=asked)})
    assert matching(asked, tuned_prompts(policy, desk)) == set(asked[::2])


def test_what_a_stage_leaves_out_does_not_move_what_it_is_tuned_on(desk: Registry, made: Made, table: Table) -> None:
    asked = [f"h{number} x" for number in range(10)]
    tables = {kind: table(kind, train=["r x"], judge=["j x"], test=asked) for kind in ("preferences", "prompts")}
    sft = made("sft", datasets={"training": table("demonstrations", train=["h1 x", "h2 x"])})
    judging = held_out(DataRefs(datasets=tables, counts={}, report="", ladder_run="", seconds=0.0), [sft], desk)
    assert [pair.prompt for pair in judging.pairs] == judging.prompts == ["h0 x", *asked[3:]]
    for kind, stage, tuned in (
        ("preferences", "reward-model", judging.tuned_by_pairs),
        ("prompts", "policy", judging.tuned_by_prompts),
    ):
        version = made(stage, {"sft": sft}, {"training": tables[kind]})
        known = matching(asked, tuned_prompts(version, desk))
        assert tuned & set(judging.prompts) == known & set(judging.prompts) == {"h0 x", "h4 x", "h6 x", "h8 x"}


def test_what_a_taken_model_was_tuned_on_does_not_judge_it(desk: Registry, made: Made, table: Table) -> None:
    asked = [f"h{number} x" for number in range(10)]
    tables = {kind: table(kind, train=["r x"], test=asked) for kind in ("preferences", "prompts")}
    data = DataRefs(datasets=tables, counts={}, report="", ladder_run="", seconds=0.0)
    own, other = (
        made(name, datasets={"training": table("preferences", train=["q x"], test=test)})
        for name, test in (("reward-model", asked), ("judge", asked[1:4]))  # tuned on 0 2 4 6 8, and on 1 3
    )
    assert held_out(data, [own], desk, taken=own).tuned_by_pairs == {*asked[::2]}
    assert held_out(data, [other], desk).tuned_by_pairs == {*asked[::2]}
    found = held_out(data, [other], desk, taken=other)
    assert found.tuned_by_pairs == {*asked[::2], "h1 x", "h3 x"} and len(found.pairs) == 10
    assert found.note == "2 more held-out prompts judge nothing, since the model that is taken was tuned on them"
    everywhere = made("judge", datasets={"training": table("preferences", train=["q x"], test=asked[1:])})
    with pytest.raises(InputError, match="to judge by: 5 more held-out prompts judge nothing"):
        held_out(data, [everywhere], desk, taken=everywhere)


def test_what_a_taken_policy_was_watched_by_does_not_judge_it(desk: Registry, made: Made, table: Table) -> None:
    asked = [f"h{number} x" for number in range(10)]
    tables = {kind: table(kind, train=["r x"], test=asked) for kind in ("preferences", "prompts")}
    data = DataRefs(datasets=tables, counts={}, report="", ladder_run="", seconds=0.0)
    policy = made("policy", datasets={"training": table("prompts", train=["q x"], test=asked[1:4])})  # watched h1, h3
    found = held_out(data, [policy], desk, taken=policy)
    assert found.tuned_by_prompts == {*asked[::2], "h1 x", "h3 x"} and found.prompts == asked
    assert found.note == "2 more held-out prompts judge nothing, since the model that is taken was tuned on them"
    assert held_out(data, [policy], desk).tuned_by_prompts == {*asked[::2]}


def test_a_stage_is_refused_where_nothing_is_left_to_tune_it_on(desk: Registry, made: Made, table: Table) -> None:
    asked = [f"h{number} x" for number in range(10)]
    tables = {kind: table(kind, train=["r x"], test=asked) for kind in ("preferences", "prompts")}
    sft = made("sft", datasets={"training": table("demonstrations", train=asked[2::2])})
    data = DataRefs(datasets=tables, counts={}, report="", ladder_run="", seconds=0.0)
    with pytest.raises(InputError, match="fewer than 2 held-out prompts are left to tune on, or to judge by: 4 of 10"):
        held_out(data, [sft], desk)


def test_a_table_that_is_not_here_is_fetched_from_where_it_is_kept_and_else_nothing_is_known(
    desk: Registry, made: Made, table: Table
) -> None:
    demonstrations = table("demonstrations", train=["fetched two"])
    sft = made("sft", datasets={"training": demonstrations})
    Path(demonstrations.path).unlink()  # training has kept a copy in the artifact store
    assert seen(desk, sft, ["fetched two", "three"]) == ["fetched two"]
    (copy,) = (desk.storage / "snapshots").glob(f"*/{demonstrations.digest}.parquet")
    copy.unlink()
    kept = desk.client.get_experiment_by_name("desk-data")
    assert kept is not None
    (run,) = desk.client.search_runs([kept.experiment_id], f"tags.`dataset.digest` = '{demonstrations.digest}'")
    desk.client.delete_run(run.info.run_id)
    with pytest.raises(TrainingUnknown, match=f"{sft.label}: what it was trained on cannot be known .demonstrations"):
        learned_prompts([sft], desk)


def test_a_version_whose_parent_or_data_are_not_recorded_is_not_judged(
    desk: Registry, made: Made, table: Table
) -> None:
    base = made("base")
    assert learned_prompts([base], desk) == {}
    bare = made("reward-model", {"base": base})
    with pytest.raises(TrainingUnknown, match=f"{bare.label}: .*its run names no data"):
        learned_prompts([bare], desk)
    sft = made("sft", {"base": base}, {"training": table("demonstrations", train=["one"])})
    desk.client.delete_model_version(base.name, base.version)
    with pytest.raises(TrainingUnknown, match=f"{sft.label}: .*{base.label}, which went into it, is gone"):
        learned_prompts([sft], desk)
