"""What each command of `rlhf` may import: people wait for imports longer than for anything else that it does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHOSEN_BY_STORAGE, ROOT

HEAVY = (
    *("accelerate", "boto3", "datasets", "great_expectations", "huggingface_hub", "matplotlib", "mlflow", "networkx"),
    *("openlineage", "pandas", "securesystemslib"),
    *("pandera", "peft", "prefect", "sacrebleu", "scipy.optimize", "scipy.stats", "sklearn", "torch", "transformers"),
    "transformers.modeling_utils",
)
TINY = str(ROOT / "configs" / "tiny.yaml")
REGISTRY = {"mlflow", "pandas"}  # which MLflow's client imports itself

TYPED = """
import json, sys
from flows.cli import main
sys.argv = ["rlhf", *sys.argv[1:]]
heavy = json.loads(sys.stdin.read())
try:
    main()
except SystemExit as ended:
    print(json.dumps([ended.code, sorted(set(heavy) & set(sys.modules))]))
"""


def imported(*arguments: str) -> tuple[int, set[str]]:
    """Exit code of a command, and what it imported of what takes long."""
    done = subprocess.run(
        [sys.executable, "-c", TYPED, *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in CHOSEN_BY_STORAGE},
        input=json.dumps(HEAVY),
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


ANSWERED = (("--help",), ("--version",), ("lineage", "--help"), ("config", "show", TINY), ("config", "docs"))
MISTAKEN = (
    ("nonsense",),
    ("lineage", "tiny-policy"),
    ("lineage", "tiny-policy/9", "--config", TINY),
    ("impact", "tiny-policy", "--config", TINY),
    ("history", "tiny-policy", "--config", TINY),
    ("generate", "tiny-policy/9", "why ?", "--config", TINY),
    ("promote", "tiny-policy", "--force", "--config", TINY),
    ("run", "absent.yaml"),
    ("run", TINY, "--set", "polici.updates=1"),
    ("ingest", TINY, "--set", "sead=1"),
    ("config", "check", TINY, "--set", "seed=many"),
)


@pytest.mark.parametrize("arguments", [*ANSWERED, *MISTAKEN], ids=" ".join)
def test_help_settings_and_mistakes_need_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code, modules = imported(*arguments)
    assert code == (0 if arguments in ANSWERED else 2) and modules == set()


def test_a_check_reads_tokenizers_and_no_models() -> None:
    code, modules = imported("config", "check", TINY)
    assert (code, modules) == (0, {"huggingface_hub", "pandas", "pandera", "torch", "transformers"})


@pytest.mark.slow
@pytest.mark.usefixtures("climbed")
@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (("history",), REGISTRY),
        (("lineage", "tiny-policy/1"), {*REGISTRY, "networkx"}),
        (("impact", "tiny-sft/1"), {*REGISTRY, "networkx"}),
    ],
    ids=["history", "lineage", "impact"],
)
def test_what_the_registry_remembers_is_told_by_its_client_alone(
    home: Path, arguments: tuple[str, ...], allowed: set[str]
) -> None:
    code, modules = imported(*arguments, "--config", TINY, "--set", f"storage={home}")
    assert (code, modules) == (0, allowed)
