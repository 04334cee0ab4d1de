"""The built wheel alone, without the clone: from a vendor's file and a model folder to registered versions."""

import csv
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf_core.base.from_text import build_tokenizer
from tests.conftest import CHOSEN_BY_STORAGE, ROOT, Finished

pytestmark = pytest.mark.slow  # about two minutes: a build and a climb

NOT_PACKED = (".*", "tests", "benchmarks", "docs", "build", "*.egg-info", "__pycache__")

PACKAGES = ("flows/", "data_contracts/", "rlhf_core/")

SMALL = {
    "policy.updates": 1,
    "policy.rollout_size": 8,
    "policy.minibatch_size": 8,
    "policy.evaluate_every": 1,
    "policy.evaluation_prompts": 8,
    "sft.evaluation_prompts": 8,
    "sft.epochs": 1,
    "gates.mode": "advisory",
}

Typed = Callable[..., Finished]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline from a copy of the sources, as a build leaves folders beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = shutil.copytree(ROOT, folder / "sources", symlinks=True, ignore=shutil.ignore_patterns(*NOT_PACKED))
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, sources)
    [built] = folder.glob("rlhf_ladder-*.whl")
    return built


def pip(*arguments: str | Path) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    subprocess.run([sys.executable, "-m", "pip", *arguments, *quiet], check=True, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def typed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Typed:
    """Type `rlhf` of the installed wheel in a folder, as a person would."""
    installed = tmp_path_factory.mktemp("installed")
    pip("install", "--target", installed, wheel)
    kept = {name: text for name, text in os.environ.items() if name not in (*CHOSEN_BY_STORAGE, "RLHF_DATA", "STACK")}
    environment = {**kept, "PYTHONPATH": str(installed), "COLUMNS": "200"}

    def command(folder: Path, *arguments: str) -> Finished:
        return subprocess.run(
            [sys.executable, installed / "bin" / "rlhf", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return command


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a model and a vendor's file, three people's A, B or tie for each pair, and nothing else."""
    folder = tmp_path_factory.mktemp("desk")
    draw = random.Random(0)
    words = ["".join(draw.choices("abdefgiklmnoprstu", k=draw.randint(3, 7))) for _ in range(600)]
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "response_a", "response_b", "preferred", "rater"])
        for _ in range(120):
            texts = [" ".join(draw.sample(words, draw.randint(3, 9))) for _ in range(2)]
            prompt, said = " ".join(draw.sample(words, 8)) + "?", draw.choice([("A", "B", "tie"), ("B", "A", "tie")])
            for rater in ("ann", "bob", "cyd"):
                writer.writerow([prompt, *texts, draw.choices(said, (7, 1, 2))[0], rater])
    tokenizer = build_tokenizer((folder / "pairs.csv").read_text().splitlines(), vocabulary=400)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **shape, **ends)
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


def test_the_wheel_holds_whatever_a_command_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        inside = set(packed.namelist())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    read = {name for name in tracked.splitlines() if name.startswith(PACKAGES) and (ROOT / name).is_file()}
    configurations = {f"flows/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    assert sorted((read | configurations) - inside) == []
    assert not [name for name in inside if name.startswith(("tests/", "benchmarks/"))]


def test_a_team_goes_from_its_file_and_model_to_versions(typed: Typed, desk: Path) -> None:
    started = typed(desk, "init", "my-assistant", "--data", "pairs.csv", "--model", "./model")
    assert started.returncode == 0, started.stderr
    house = desk / "my-assistant"
    assert typed(house, "config", "check", "ladder.yaml").returncode == 0
    settings = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    climbed = typed(house, "run", "ladder.yaml", *settings)
    assert climbed.returncode == 0, climbed.stderr + climbed.stdout
    lineage = typed(house, "lineage", "my-assistant-policy/1")  # of ladder.yaml, which nobody names
    assert lineage.returncode == 0 and "my-assistant-base/1" in lineage.stdout
    answered = typed(house, "generate", "my-assistant-policy/1", "why ?")
    assert answered.returncode == 0 and answered.stdout.count("\n") == 1
    assert typed(house, "audit", "my-assistant-policy/1").returncode == 0
    ignored = (house / ".gitignore").read_text().splitlines()
    written = set(started.stdout.partition(" has ")[2].splitlines()[0].split(", "))
    left = {path.relative_to(house).as_posix() for path in house.rglob("*") if path.is_file()}
    assert {path for path in left if f"{path.partition('/')[0]}/" not in ignored} == written


def test_nothing_that_it_writes_or_says_needs_the_clone(typed: Typed, desk: Path, tmp_path: Path) -> None:
    assert typed(tmp_path, "init", "trial", "--like", "tiny").returncode == 0
    assert yaml.safe_load((tmp_path / "trial" / "ladder.yaml").read_text())["project"] == "trial"
    assert typed(tmp_path / "trial", "config", "check", "ladder.yaml", "--offline").returncode == 0
    assert typed(tmp_path, "--version").stdout.startswith("rlhf-ladder ")
    answered = typed(tmp_path, "generate", str(desk / "model"), "why ?")
    assert answered.returncode == 0 and answered.stdout, answered.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"trial", "rlhf"}  # the second is of a fixture
    for arguments in (("lineage", "a-sft/1"), ("history",), ("prune",), ("ui",), ("audit",), ("promote", "a-sft")):
        refused = typed(tmp_path / "trial", *arguments)
        assert refused.returncode == 2 and "climb first with `rlhf run`" in refused.stderr, refused.stderr
        assert not (tmp_path / "trial" / ".rlhf").exists()
