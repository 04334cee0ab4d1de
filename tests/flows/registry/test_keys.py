"""What a content key covers: every line that decides a result, on either side of the seam, and no name of a file."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.config.loading import load_config
from flows.pipeline.reuse import run_key
from flows.registry.context import RunContext
from flows.registry.keys import (
    DATA_CODE,
    LADDER_CODE,
    SHOWING,
    STAGE_CODE,
    _digest_at_start,
    code_digest,
    code_version,
    content_key,
)
from flows.registry.references import DataRefs, DatasetRef, ModelRef, StageRecord
from flows.stages import reward_model
from rlhf_core.config.sft import SFTConfig
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_quality import LabelWorth
from tests.conftest import ROOT, TINY

PACKAGES = ("rlhf_core", "data_contracts", "flows")

TIE = ("rlhf_core/data/records.py", "chosen + tied / 2", "chosen + tied")

TRAINING_INPUT = [
    TIE,
    ("rlhf_core/data/records.py", "/ (chosen + rejected + tied)", "/ (chosen + rejected)"),
    ("rlhf_core/data/plain_text.py", '"\\n".join([*(turn["content"] for turn in turns(prompt)), answer])', "answer"),
    ("rlhf_core/data/plain_text.py", "yield pair.prompt, pair.rejected", "pass"),
    ("flows/storage/records.py", '"grade": 0.0', '"grade": 1.0'),
    ("flows/storage/records.py", "for ref in refs for", "for ref in [*refs][-1:] for"),
    ("flows/storage/snapshots.py", "part[part[SPLIT] == split]", "part"),
    ("flows/registry/references.py", '{"training": self.preferences, **', "{**"),
    ("flows/registry/packaging.py", '"temperature", DataType.double, 0.0', '"temperature", DataType.double, 1.0'),
    ("flows/stages/base.py", 'read_pairs(data.preferences, "train")', 'read_pairs(data.preferences, "test")'),
    ("flows/stages/sft.py", 'train=read_demonstrations(demonstrations, "train")', "train=[]"),
    ("flows/stages/sft.py", 'held_out=read_demonstrations(demonstrations, "test")', "held_out=[]"),
    ("flows/stages/reward_model.py", "train=read_all_pairs(pairs.values(), split)", "train=[]"),
    ("flows/stages/reward_model.py", "held_out=judging.pairs", "held_out=[]"),
    ("flows/stages/reward_model.py", 'demonstrations=read_demonstrations(data.demonstrations, "train")', ""),
    ("flows/stages/reward_model.py", 'held_out=read_pairs(fresh.dataset, "test")', "held_out=[]"),
    ("flows/stages/policy.py", 'prompts = read_prompts(data.prompts, "train")', "prompts = []"),
    ("flows/stages/policy.py", 'read_demonstrations(data.demonstrations, "train") if', "() if"),
    ("flows/stages/policy.py", 'train = read_all_pairs(data.all_pairs.values(), "train")', "train = []"),
    ("flows/stages/policy.py", "held_out_pairs=judging.pairs", "held_out_pairs=[]"),
    ("flows/stages/policy.py", "held_out_prompts=judging.prompts", "held_out_prompts=[]"),
    ("flows/stages/reward_inputs.py", "for name, ref in self.models.items()} | self.folders", "}"),
    ("flows/stages/worker.py", "self.start(self.out,", "self.start(Path(),"),
]
"""File, text and what stands there instead: each line decides what a stage is given or makes."""

DATA_RULES = [
    ("rlhf_core/metrics/label_noise.py", "def agreement_ceiling", "def other_ceiling"),
    ("data_contracts/schemas/preferences.py", "def aggregate_votes", "def other_votes"),
    ("data_contracts/conversation.py", "def ", "def other_"),
    ("flows/data/splits.py", '["test", "judge", "train"]', '["judge", "test", "train"]'),
    ("flows/data/held_apart.py", "leaks = _among", "leaks = ~_among"),
    ("flows/data/ingest.py", "if broken := ", "if not "),
    ("flows/data/votes.py", "SAMPLE = 5000", "SAMPLE = 500"),
    ("flows/data/audits/labels.py", "SAMPLE = 5000", "SAMPLE = 500"),
    ("flows/data/relabel/label_tasks.py", "SEEDS_APART = 100_003", "SEEDS_APART = 3"),
    ("flows/data/relabel/annotators.py", "max(votes)", "min(votes)"),
    ("flows/storage/snapshots.py", "part[part[SPLIT] == split]", "part"),
]
"""As `TRAINING_INPUT`, of what makes data."""

ELSEWHERE = ["flows/cli/run.py", "flows/lineage/page.py", "flows/deploy/pages.py", "flows/promotion/tables.py"]


def digests(home: Path) -> tuple[str, str, str]:
    stage, data, ladder = (code_digest(home, rooms) for rooms in (STAGE_CODE, DATA_CODE, LADDER_CODE))
    return stage, data, ladder


NOW = digests(ROOT)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def home(packages: Path) -> Iterator[Path]:
    """A copy of the packages, which is as it was after the test."""
    before = {path: path.read_bytes() for path in packages.rglob("*") if path.is_file()}
    yield packages
    for path in packages.rglob("*"):
        if path.is_file() and path not in before:
            path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


def change(home: Path, name: str, text: str, other: str) -> None:
    path = home / name
    assert text in path.read_text(), f"{name} lacks the line that this test is about"
    path.write_text(path.read_text().replace(text, other, 1))


@pytest.mark.parametrize(("name", "text", "other"), TRAINING_INPUT)
def test_a_changed_line_of_training_input_is_other_code(home: Path, name: str, text: str, other: str) -> None:
    assert digests(home) == NOW
    change(home, name, text, other)
    stage, _, ladder = digests(home)
    assert stage != NOW[0] and ladder != NOW[2]


@pytest.mark.parametrize(("name", "text", "other"), DATA_RULES)
def test_a_changed_rule_about_data_is_other_code(home: Path, name: str, text: str, other: str) -> None:
    change(home, name, text, other)
    _, data, ladder = digests(home)
    assert data != NOW[1] and ladder != NOW[2]


def test_rules_about_data_retrain_only_what_they_change(home: Path) -> None:
    change(home, "flows/data/held_apart.py", "leaks = _among", "leaks = ~_among")
    change(home, "data_contracts/conversation.py", "def ", "def other_")
    assert digests(home)[0] == NOW[0]  # a snapshot that comes out the same has the same digest


def test_what_leads_from_stage_to_stage_is_part_of_a_climb_alone(home: Path) -> None:
    change(home, "flows/pipeline/gating.py", "def ", "def other_")
    stage, data, ladder = digests(home)
    assert (stage, data) == NOW[:2] and ladder != NOW[2]


def test_a_renamed_or_moved_file_is_the_same_code(home: Path) -> None:
    (home / "flows/storage/records.py").rename(home / "flows/storage/rows.py")
    (home / "rlhf_core/data/plain_text.py").rename(home / "rlhf_core/base/plain_text.py")
    (home / "flows/stages/sft.py").rename(home / "rlhf_core/supervised.py")
    assert digests(home)[0] == NOW[0]


def test_a_new_file_and_one_that_is_gone_are_other_code(home: Path) -> None:
    (home / "flows/stages/added.py").write_text("")
    more = digests(home)[0]
    (home / "flows/stages/added.py").unlink()
    (home / "flows/stages/sft.py").unlink()
    assert len({more, digests(home)[0], NOW[0]}) == 3


@pytest.mark.parametrize("name", [*ELSEWHERE, "flows/stages/progress.py", "flows/stages/figures.py"])
def test_what_only_starts_or_shows_something_is_no_part_of_a_key(home: Path, name: str) -> None:
    (home / name).write_text((home / name).read_text() + "\n# another way to show it\n")
    assert digests(home) == NOW


def test_all_that_keys_name_is_there() -> None:
    assert [room for room in LADDER_CODE + DATA_CODE if not any((ROOT / room).glob("*.py"))] == []
    assert [name for name in SHOWING if not any((ROOT / room / name).exists() for room in LADDER_CODE)] == []
    assert set(LADDER_CODE) >= set(STAGE_CODE + DATA_CODE)


def test_another_halving_of_ties_is_something_to_retrain(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(TINY)
    data = DataRefs(datasets={}, counts={}, report="", ladder_run="", seconds=0.0)

    def keys() -> tuple[str, str]:
        _digest_at_start.cache_clear()
        return content_key("reward-model", config.reward_model, {}, 1), run_key("ladder", config, data, {}, {})

    monkeypatch.setattr("flows.registry.keys._HOME", home)
    try:
        before = keys()
        assert keys() == before
        change(home, *TIE)
        assert not set(keys()) & set(before)
    finally:
        _digest_at_start.cache_clear()


def test_the_code_of_a_process_stays_what_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is made before a training and the tags of a version after it."""
    before = content_key("sft", SFTConfig(), {}, 1), code_version(), code_version(STAGE_CODE)
    monkeypatch.setattr("flows.registry.keys._HOME", home)
    change(home, *TIE)
    assert before == (content_key("sft", SFTConfig(), {}, 1), code_version(), code_version(STAGE_CODE))
    assert before[1] == before[2]


def test_code_counts_where_it_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.registry.keys.code_version", lambda rooms: "+".join(rooms))
    stage, data = (content_key("sft", SFTConfig(), {}, 1, rooms) for rooms in (STAGE_CODE, DATA_CODE))
    assert content_key("sft", SFTConfig(), {}, 1) == stage != data


def with_ceiling(ceiling: float | None) -> DataRefs:
    """Tables that differ in nothing else."""
    noise = {} if ceiling is None else {"held_out_ceiling": Estimate(ceiling, 0.7, 0.9, 100)}
    table = DatasetRef(name="", digest="d", path="", rows=1, splits={}, sources=(), report="")
    data = DataRefs(
        datasets={"demonstrations": table, "preferences": table}, counts={}, report="", ladder_run="", seconds=0.0
    )
    return data.model_copy(update={"labels": LabelWorth.model_construct(noise=noise)})


def test_another_ceiling_of_the_same_rows_is_another_reward_model_and_another_climb(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(TINY)
    context = RunContext(project="tiny", seed=1, storage=storage, threads=None, run_id="run")
    model = ModelRef(name="tiny-sft", version="1", model_id="m", uri="", digest="d", run_id="r")
    sft = StageRecord(stage="sft", key="", ladder_run="", run_id="", models={"sft": model}, estimates={})
    monkeypatch.setattr(reward_model, "run_stage", lambda plan, _: plan.key)

    def keys(ceiling: float | None) -> tuple[object, ...]:
        data = with_ceiling(ceiling)
        trained = [
            stage.fn(config.reward_model, data, sft, context)
            for stage in (reward_model.train_reward_model, reward_model.train_judge)
        ]
        return *trained, run_key("ladder", config, data, {}, {})

    assert keys(0.8) == keys(0.8)
    for of_one in zip(keys(None), keys(0.8), keys(0.81), strict=True):
        assert len(set(of_one)) == 3
