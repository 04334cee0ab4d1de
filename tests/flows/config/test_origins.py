"""The effective configuration: all of it, meaning the same, with the origin of each value."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.config.loading import load_file
from flows.config.origins import effective_yaml
from flows.config.plain_yaml import lines_of
from tests.test_project import CONFIGS, FOR_INGESTION

FILE = """\
project: desk
gates: &gates
  sft:
    - {name: ends, metric: eos_rate, direction: above, threshold: 0.83,
       failure: "runs: on", reason: "a # in it\\nand a line"}
sft: {epochs: 3, optimiser: &slow {lr: 1.0e-3}}
judge:
  optimiser:
    <<: *slow
    eps: 1.0e-6
policy:
  beta: 0.1
  sampling: {temperature: 0.7}
"""


def origins(shown: str, section: str | None = None) -> dict[str, str]:
    """Lines that say a value, those of one section if it is named, with the origin of each."""
    if section is not None:
        shown = re.split(r"^\w", shown.partition(f"\n{section}:\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = (line.rpartition("  # ") for line in shown.splitlines())
    return {value.strip(): origin for value, _, origin in lines if value}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "ladder.yaml"
    path.write_text(FILE)
    return path


def test_a_gate_that_is_changed_by_name_says_where(tmp_path: Path) -> None:
    written = tmp_path / "ladder.yaml"
    written.write_text("project: desk\ngates:\n  sft:\n    ends: {threshold: 0.83, reason: a}\n")
    change = "gates.reward_model.calibrated={threshold: 0.0831, reason: another}"
    gates = origins(effective_yaml(written, overrides=[change]), "gates")
    assert gates["threshold: 0.83"] == gates["reason: a"] == f"{written}:4"
    assert gates["threshold: 0.0831"] == "--set gates.reward_model.calibrated"
    assert gates["- name: learned"] == "default"


def test_each_value_has_its_origin(written: Path) -> None:
    shown = effective_yaml(written, overrides=["sft.epochs=5", "policy.sampling={max_prompt_tokens: 9}"])
    assert origins(shown)["project: desk"] == f"{written}:1"
    assert origins(shown, "sft")["epochs: 5"] == "--set sft.epochs"
    gates = origins(shown, "gates")
    assert gates["threshold: 0.83"] == f"{written}:4"
    assert gates["failure: 'runs: on'"] == f"{written}:5"
    assert gates["mode: enforce"] == "default"
    judge = origins(shown, "judge")
    assert judge["lr: 0.001"] == f"{written}:6"  # where the mapping that is merged is written
    assert judge["eps: 1.0e-06"] == f"{written}:10"
    policy = origins(shown, "policy")
    assert policy["beta: 0.1"] == f"{written}:12"
    assert policy["max_prompt_tokens: 9"] == "--set policy.sampling"
    assert policy["temperature: 1.0"] == "default"  # the override replaces the section of the file
    assert policy["method: ppo"] == "default"


def test_the_last_override_counts(written: Path) -> None:
    shown = effective_yaml(written, overrides=["sft={epochs: 7}", "sft.epochs=8", "sft.batch_size=4"])
    found = origins(shown, "sft")
    assert found["epochs: 8"] == "--set sft.epochs"
    assert found["batch_size: 4"] == "--set sft.batch_size"
    assert found["evaluation_prompts: 400"] == "default"


CLIMBS = [path for path in CONFIGS if path.stem not in FOR_INGESTION]


@pytest.mark.parametrize("path", CLIMBS, ids=lambda path: path.stem)
def test_what_is_shown_means_the_same(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "shown.yaml"
    again.write_text(effective_yaml(path), encoding="utf-8")
    assert load_file(again) == load_file(path)
    project = 1 + next(n for n, line in enumerate(path.read_text().splitlines()) if line.startswith("project:"))
    assert {"default", f"{path}:{project}"} <= set(origins(again.read_text(encoding="utf-8")).values())


def test_texts_survive(written: Path, tmp_path: Path) -> None:
    shown = effective_yaml(written)
    assert yaml.safe_load(shown)["gates"]["sft"][0]["reason"] == "a # in it\nand a line"
    again = tmp_path / "again.yaml"
    again.write_text(shown)
    assert load_file(again) == load_file(written)


@pytest.mark.parametrize(("folder", "said"), [("/data", "RLHF_DATA=/data"), (None, "RLHF_DATA, which is not set")])
def test_the_environment_is_named_where_it_counts(
    folder: str | None, said: str, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RLHF_DATA", raising=False)
    if folder:
        monkeypatch.setenv("RLHF_DATA", folder)
    names = ("demonstrations", "preferences", "prompts")
    tables = ", ".join(
        f"{name}: [{{path: {name}.jsonl}}, {{path: /{name}.csv}}, {{path: ./{name}.csv}}]" for name in names
    )
    data = f"data={{kind: files, {tables}}}"
    found = origins(effective_yaml(written, overrides=[data, "base.kind=from_text"]))
    assert found["path: prompts.jsonl"] == f"--set data, below {said}"
    assert found["path: /prompts.csv"] == found["path: ./prompts.csv"] == "--set data"


def test_the_command_shows_it_and_refuses_what_is_wrong(written: Path) -> None:
    shown = CliRunner().invoke(app, ["config", "show", str(written), "--set", "sft.epochs=5"])
    assert (shown.exit_code, shown.stdout) == (0, effective_yaml(written, overrides=["sft.epochs=5"]))
    refused = CliRunner().invoke(app, ["config", "show", str(written), "--set", "sft.epoch=5"])
    assert refused.exit_code == 2
    assert refused.stderr == f"error: {written}: field 'sft.epoch' is unknown; did you mean 'epochs'?\n"


def test_lines_are_those_of_keys_and_items() -> None:
    text = "a: &a\n  b: 1\nc:\n  - 5\n  - {<<: *a,\n     d: 2}\n"
    assert lines_of(text) == {
        ("a",): 1,
        ("a", "b"): 2,
        ("c",): 3,
        ("c", 0): 4,
        ("c", 1): 5,
        ("c", 1, "b"): 2,
        ("c", 1, "d"): 6,
    }
    assert lines_of("") == {} == lines_of("5")
