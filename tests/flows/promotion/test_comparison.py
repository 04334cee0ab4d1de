"""Challenger beside champion on real small models and real snapshots."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from flows.config.evidence import EvidenceConfig
from flows.config.ladder import LadderConfig
from flows.lineage.archive import Archive
from flows.lineage.champion import beside_champion
from flows.pipeline.against_champion import compare_with_champion
from flows.promotion import comparison
from flows.promotion.comparison import Comparison
from flows.registry.client import Registry
from flows.registry.context import RunContext
from flows.registry.dataset_uploads import keep_snapshots
from flows.registry.names import CHAMPION, LABELLED_BY, SAMPLED_FROM, TRAINED_BY_TAG
from flows.registry.references import DatasetRef, ModelRef
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Demonstration, tuning_half
from rlhf_core.evaluators.reward_model import score
from rlhf_core.metrics.calibration import hits
from rlhf_core.metrics.champion_evidence import OF_WORDS
from tests.flows.toys import keep_table

Register = Callable[..., ModelRef]
Trained = Callable[..., ModelRef]

CONFIG = LadderConfig(project="desk", seed=3)
ROWS = [
    (f"how do i {verb} {article} {thing} ?", *answers[:: -1 if thing == "lamp" else 1])
    for verb in ("fix", "clean", "charge")
    for article in ("my", "a")
    for thing in ("kettle", "bike", "phone", "lamp", "oven")
    for answers in [(f"you should check the {thing} .", f"buy another {thing} .")]
]
TABLES = {
    "preferences": lambda row: {
        "prompt": row[0],
        "chosen": row[1],
        "rejected": row[2],
        "votes_chosen": 1,
        "votes_rejected": 0,
    },
    "prompts": lambda row: {"prompt": row[0], "source": "toys.csv"},
    "demonstrations": lambda row: {"prompt": row[0], "response": row[1]},
}


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., DatasetRef]:
    """A snapshot; rows beyond `test` are for training."""
    Rows = Sequence[tuple[str, str, str]]

    def write(name: str, test: Rows, train: Rows = (), judge: Rows = ()) -> DatasetRef:
        parts = {"test": test, "train": train, "judge": judge}
        rows = [TABLES[name](row) | {"split": split} for split, part in parts.items() for row in part]
        return keep_table(name, pd.DataFrame(rows), tmp_path)

    return write


@pytest.fixture
def trained(desk: Registry, register: Register) -> Trained:
    """Register a folder as if it had been trained on a table."""

    def make(name: str, folder: Path, data: DatasetRef, **tags: str) -> ModelRef:
        run_id = desk.start_run("stage")
        desk.log_datasets(run_id, {"training": data})
        return register(name, folder, run_id=run_id, **tags)

    return make


@pytest.fixture
def contrary(scorer: Path, tmp_path: Path) -> Path:
    """The reward model that prefers what the other one rejects."""
    folder = Path(shutil.copytree(scorer, tmp_path / "contrary"))
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(folder)
    model.score.weight.data.neg_()
    model.save_pretrained(folder)
    return folder


def compare(desk: Registry, config: LadderConfig, challenger: ModelRef, champion: ModelRef) -> Comparison:
    return comparison.compare(desk, config, challenger, champion).comparison


def agreement(folder: Path) -> float:
    sides = [score(folder, [Demonstration(row[0], row[side]) for row in ROWS], RewardModelConfig()) for side in (1, 2)]
    return float(hits(np.subtract(*sides)).mean())


def test_a_reward_model_beside_its_contrary(
    desk: Registry, trained: Trained, table: Callable[..., DatasetRef], scorer: Path, contrary: Path
) -> None:
    data = table("preferences", ROWS)
    first, second = (trained("desk-reward-model", folder, data) for folder in (scorer, contrary))
    found = compare(desk, CONFIG, first, second)
    assert found.on == f"{len(ROWS)} held-out pairs, preferences {data.digest[:12]}"
    half = len(ROWS) // 2  # both temperatures were fitted on every second prompt, the first among them
    assert found.notes == (f"nll on {half} of these pairs: on the prompts of the others a temperature was fitted",)
    assert found.figures["nll_nats"].between.n == half
    shown = found.figures["agreement"]
    assert shown.challenger is not None and shown.champion is not None
    value = agreement(scorer)
    assert shown.challenger.value == pytest.approx(value) and shown.champion.value == pytest.approx(1 - value)
    assert shown.between.value == pytest.approx(2 * value - 1) and shown.between.n == len(ROWS)
    assert shown.between.lower < shown.between.value < shown.between.upper
    turned = compare(desk, CONFIG, second, first).figures["nll_nats"].between
    assert turned.value == pytest.approx(-found.figures["nll_nats"].between.value)


def test_reward_models_are_also_compared_on_labelled_answers_of_the_champion_policy(
    desk: Registry, trained: Trained, table: Callable[..., DatasetRef], register: Register, scorer: Path,
    contrary: Path, speaker: Path,
) -> None:  # fmt: skip
    """The champion reward model learned from some of the prompts, and labelled one of the tables itself."""
    policy = register("desk-policy", speaker)
    desk.set_alias(policy, CHAMPION)
    rows = [(f"{prompt} {number}", *answers) for prompt, *answers in ROWS for number in (1, 2)]
    data = table("preferences", ROWS)
    ours, champion = (trained("desk-reward-model", folder, data) for folder in (scorer, contrary))
    without = compare(desk, CONFIG, ours, champion)

    def keep(part: Sequence[tuple[str, str, str]], annotator: str, of: ModelRef, **by: ModelRef) -> None:
        update = {"name": "preferences-2", "origins": {SAMPLED_FROM: of, **by}, "annotator": annotator}
        keep_snapshots([table("preferences", part).model_copy(update=update)], "desk", desk)

    keep(rows + ROWS[:3], "three people", policy)
    keep([(f"{prompt} 3", *answers) for prompt, *answers in ROWS], "a model", policy, **{LABELLED_BY: champion})
    keep([(f"{prompt} 4", *answers) for prompt, *answers in ROWS], "others", register("desk-policy", speaker))
    learned = trained("desk-reward-model", contrary, table("preferences", ROWS[10:], ROWS[:3]))
    sides = ((champion, len(rows) + 3, "three people"), (learned, len(rows) + len(ROWS), "three people, a model"))
    for side, seen, by in sides:
        found = compare(desk, CONFIG, ours, side)
        figure, whole = found.figures["agreement_on_champion_policy"], found.figures["agreement"]
        on = f"{seen} more pairs are answers of {policy.label}, the champion policy, compared by {by}"
        assert found.notes[-2] == on
        assert figure.between.n == seen and figure.challenger is not None and figure.champion is not None
        assert figure.between.value == pytest.approx(figure.challenger.value - figure.champion.value)
        assert figure.challenger.value == pytest.approx(1 - figure.champion.value) and whole.between.n < seen
    assert "agreement_on_champion_policy" not in without.figures and len(without.notes) == 1
    desk.take_alias([policy], CHAMPION)  # the registry is that of other tests too


def test_a_version_beside_its_own_copy_differs_by_nothing_at_all(
    desk: Registry, trained: Trained, table: Callable[..., DatasetRef], scorer: Path, speaker: Path
) -> None:
    judge = trained("desk-judge", scorer, table("preferences", ROWS)).label
    tags = {"parent_judge": judge, "parent_reward-model": judge}
    for kind, folder, name in (
        ("judge", scorer, "preferences"), ("policy", speaker, "prompts"), ("sft", speaker, "demonstrations"),
    ):  # fmt: skip
        data = table(name, ROWS)
        first, second = (trained(f"desk-{kind}", folder, data, **tags) for _ in range(2))
        found = compare(desk, CONFIG, first, second)
        assert found.figures
        for figure, paired in found.figures.items():
            even = 0.5 if "win_rate" in figure else 0.0
            assert (paired.between.value, paired.between.lower, paired.between.upper) == (even, even, even)
            assert paired.challenger == paired.champion


@pytest.mark.parametrize(
    ("kind", "name", "count", "texts"),
    [
        ("judge", "preferences", 2, "hashed"),
        ("sft", "demonstrations", 2, "kept"),
        ("policy", "prompts", 7, "kept"),
        ("policy", "prompts", 7, "hashed"),
    ],
)
def test_what_is_kept_of_a_comparison_gives_its_figures_again(
    desk: Registry, desk_home: Path, trained: Trained, table: Callable[..., DatasetRef], scorer: Path, contrary: Path,
    speaker: Path, kind: str, name: str, count: int, texts: Literal["kept", "hashed"],
) -> None:  # fmt: skip
    judge = trained("desk-judge", scorer, table("preferences", ROWS)).label
    tags = {"parent_judge": judge, "parent_reward-model": judge}
    folders = (scorer, contrary) if kind == "judge" else (speaker, speaker)
    ours, champion = (trained(f"desk-{kind}", folder, table(name, ROWS), **tags) for folder in folders)
    run_id, evidence = desk.start_run("ladder"), EvidenceConfig(texts=texts)
    context = RunContext(project="desk", seed=3, storage=desk_home, threads=None, run_id=run_id, evidence=evidence)
    said = Comparison.model_validate(compare_with_champion.fn(ours, champion, CONFIG, context))
    assert said.evidence.keys() == {f"desk-{kind}-beside-champion-{each}" for each in TABLES_OF[kind]}

    beside = beside_champion(Archive(desk.client), ours.label, run_id, kind)
    assert beside.recorded == said.figures and len(said.figures) == count
    words = OF_WORDS & said.figures.keys() if texts == "hashed" else frozenset()
    assert beside.again == {figure: each for figure, each in said.figures.items() if figure not in words}
    left = [("champion", "not recomputable")] if words else []
    found = [(finding.what, finding.status) for finding in beside.findings]
    assert found == [("champion", "holds"), *left, ("tables", "holds")]

    between = said.figures["agreement" if kind == "judge" else "eos_rate"]
    forged = between.model_copy(update={"between": between.between._replace(upper=7.0)})
    other = said.model_copy(update={"figures": {**said.figures, "eos_rate": forged}})
    desk.client.log_dict(run_id, other.model_dump(mode="json"), f"champion/desk-{kind}.json")
    first, second, *_ = beside_champion(Archive(desk.client), ours.label, run_id, kind).findings
    if kind == "judge":  # a figure that no row gives
        assert second.status == "not recomputable" and ": eos_rate" in second.detail
    else:
        assert (first.what, first.status) == ("figure eos_rate_over_champion", "differs")


TABLES_OF = {"judge": ("pairs",), "sft": ("demonstrations", "answers"), "policy": ("answers",)}


def test_policies_that_answer_the_same_are_worth_the_same_at_any_length_and_in_any_slice(
    desk: Registry, trained: Trained, table: Callable[..., DatasetRef], scorer: Path, speaker: Path
) -> None:
    judge = trained("desk-judge", scorer, table("preferences", ROWS)).label
    tags = {"parent_judge": judge, "parent_reward-model": judge}
    rows = [(f"{prompt} {number}", *answers) for prompt, *answers in ROWS for number in range(16)]
    ours, champion = (trained("desk-policy", speaker, table("prompts", rows), **tags) for _ in range(2))
    found = compare(desk, CONFIG, ours, champion)
    rate = found.figures["worst_slice_judge_win_rate"].between
    assert (rate.value, found.figures["judge_score_at_like_length"].between.value) == (0.5, 0.0)
    judging = len(rows) - len(tuning_half(row[0] for row in rows))
    assert 50 <= rate.n < found.figures["judge_win_rate"].between.n == judging
    assert found.notes[-1].startswith("worst slice: ")


def test_prompts_that_the_champion_learned_from_are_left_out(
    desk: Registry, trained: Trained, table: Callable[..., DatasetRef], scorer: Path, contrary: Path
) -> None:
    data, theirs = table("preferences", ROWS), table("preferences", ROWS[20:], ROWS[:20])
    ours, champion = trained("desk-reward-model", scorer, data), trained("desk-reward-model", contrary, theirs)
    found = compare(desk, CONFIG, ours, champion)
    assert found.figures["agreement"].between.n == len(ROWS) - 20
    assert found.notes[0] == f"20 of {len(ROWS)} held-out pairs left out, which these were trained on: " + (
        f"{champion.label} (20)"
    )
    Path(theirs.path).unlink()
    said = reason(compare(desk, CONFIG, ours, champion))
    assert f"{champion.label}: what it was trained on cannot be known" in said and theirs.path in said


def test_what_scores_the_answers_and_what_versions_were_made_from_count_too(
    desk: Registry, trained: Trained, table: Callable[..., DatasetRef], scorer: Path, speaker: Path
) -> None:
    """The judge learned the first 6 prompts, from its own split, and the SFT model the next 6."""
    sft = trained("desk-sft", speaker, table("demonstrations", ROWS[12:], ROWS[6:12])).label
    judge = trained("desk-judge", scorer, table("preferences", ROWS[6:], judge=ROWS[:6])).label
    tags = {"parent_sft": sft, "parent_judge": judge, "parent_reward-model": judge}
    ours, champion = (trained("desk-policy", speaker, table("prompts", ROWS), **tags) for _ in range(2))
    found = compare(desk, CONFIG, ours, champion)
    assert found.figures["eos_rate"].between.n == len(ROWS[13::2])
    assert found.notes[0].startswith("12 of 30 held-out prompts left out") and f"{sft} (6)" in found.notes[0]


def test_a_champion_that_learned_from_preferences_is_not_asked_their_prompts(
    desk: Registry, trained: Trained, table: Callable[..., DatasetRef], scorer: Path, speaker: Path
) -> None:
    judge = trained("desk-judge", scorer, table("preferences", ROWS)).label
    tags = {"parent_judge": judge, "parent_reward-model": judge}
    ours = trained("desk-policy", speaker, table("prompts", ROWS), **tags)
    champion = trained("desk-policy", speaker, table("preferences", ROWS[10:], ROWS[:10]))
    found = compare(desk, CONFIG, ours, champion)
    assert found.figures["eos_rate"].between.n == len(ROWS[11::2])
    assert found.notes[0].startswith("10 of 30 held-out prompts left out")


def test_a_side_that_was_imported_is_named(
    desk: Registry, trained: Trained, table: Callable[..., DatasetRef], scorer: Path, speaker: Path
) -> None:
    judge = trained("desk-judge", scorer, table("preferences", ROWS)).label
    tags = {"parent_judge": judge, "parent_reward-model": judge}
    ours, champion = (trained("desk-policy", speaker, table("prompts", ROWS[:4]), **tags) for _ in range(2))
    desk.tag_versions([ours], {TRAINED_BY_TAG: "verl 0.6"})
    note, scored = compare(desk, CONFIG, ours, champion).notes
    assert scored == f"judge by {judge}; reward by {judge}"
    assert note.startswith(f"{ours.label} was imported, trained by verl 0.6; its training data are unknown")


def test_where_nothing_can_be_compared_the_reason_is_said(
    desk: Registry, trained: Trained, table: Callable[..., DatasetRef], scorer: Path
) -> None:
    own = ROWS[1:]  # MLflow keeps the place of a table where it was first seen, and this one is going to be deleted
    data, theirs = table("preferences", own), table("preferences", ROWS[:1], ROWS)
    ours, twin, champion = (trained("desk-reward-model", scorer, given) for given in (data, data, theirs))
    assert "learned from every row" in reason(compare(desk, CONFIG, ours, champion))
    value = trained("desk-value", scorer, data)
    assert reason(compare(desk, CONFIG, value, value)) == "a value model is not measured by itself"
    Path(data.path).unlink()
    assert data.path in reason(compare(desk, CONFIG, ours, twin))


def reason(found: Comparison) -> str:
    assert found.figures == {} and found.on == "nothing"
    (note,) = found.notes
    return note
