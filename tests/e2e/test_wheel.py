"""The built wheel alone, without the clone: the tutorial, from a vendor's file and a model folder to a champion."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import CHOSEN_BY_STORAGE, ROOT, Finished
from tests.e2e.vendor import write_model, write_pairs
from tests.pages import Block, assert_shown, blocks_of

pytestmark = pytest.mark.slow  # about two minutes: a build, and the tutorial with its climb

NOT_PACKED = (".*", "tests", "benchmarks", "docs", "build", "*.egg-info", "__pycache__")

PACKAGES = ("flows/", "data_contracts/", "rlhf_core/")

NEXT = "---- next block ----"

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
def desk(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a vendor's file and the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copy(wheel, folder)
    write_pairs(folder / "pairs.csv")
    write_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a shell of a person has, who may install wheels that lie there; packages they need are there already."""
    kept = {name: text for name, text in os.environ.items() if name not in (*CHOSEN_BY_STORAGE, "RLHF_DATA", "STACK")}
    installed = tmp_path_factory.mktemp("installed")
    path = os.pathsep.join((str(installed / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]))
    pip_settings = {"PIP_TARGET": str(installed), "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_QUIET": "1"}
    return {**kept, **pip_settings, "PATH": path, "PYTHONPATH": str(installed), "COLUMNS": "100"}


@pytest.fixture(scope="module")
def tutorial(desk: Path, environment: dict[str, str]) -> list[tuple[Block, str]]:
    """Every block of the tutorial with what it says, typed one after the other into one shell."""
    blocks = blocks_of(ROOT / "docs" / "tutorial" / "own_data.md", "bash")
    told = "trap 'echo failed: $BASH_COMMAND' ERR\n" + "".join(f"{block.code}echo '{NEXT}'\n" for block in blocks)
    typed = ("bash", "-c", f"exec 2>&1\n{told}")
    done = subprocess.run(typed, cwd=desk, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    return list(zip(blocks, done.stdout.split(f"{NEXT}\n"), strict=False))


@pytest.fixture(scope="module")
def typed(tutorial: object, environment: dict[str, str]) -> Typed:
    """Type `rlhf` of the wheel that the tutorial installs, in a folder."""

    def command(folder: Path, *arguments: str) -> Finished:
        typed = ("rlhf", *arguments)
        return subprocess.run(
            typed, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
        )

    return command


def test_the_wheel_holds_whatever_a_command_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        inside = set(packed.namelist())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    read = {name for name in tracked.splitlines() if name.startswith(PACKAGES) and (ROOT / name).is_file()}
    configurations = {f"flows/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    assert sorted((read | configurations) - inside) == []
    assert not [name for name in inside if name.startswith(("tests/", "benchmarks/"))]


def test_the_tutorial_says_what_its_commands_print(tutorial: list[tuple[Block, str]]) -> None:
    assert len(tutorial) == 8 and all(block.shown for block, _ in tutorial)
    for block, said in tutorial:
        assert_shown(block, said)
        assert "UserWarning" not in said, said
        assert ("failed: " in said) == ("exit code 3" in block.shown), said


def test_git_sees_nothing_that_a_climb_left(tutorial: list[tuple[Block, str]], desk: Path) -> None:
    house = desk / "my-assistant"
    [listed] = [said for _, said in tutorial if "my-assistant has " in said]
    written = set(listed.partition(" has ")[2].splitlines()[0].split(", "))
    ignored = (house / ".gitignore").read_text().splitlines()
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
    for arguments in (
        ("lineage", "a-sft/1"),
        ("history",),
        ("prune",),
        ("ui",),
        ("report",),
        ("audit",),
        ("promote", "a-sft"),
    ):
        refused = typed(tmp_path / "trial", *arguments)
        assert refused.returncode == 2 and "climb first with `rlhf run`" in refused.stderr, refused.stderr
        assert not (tmp_path / "trial" / ".rlhf").exists()
