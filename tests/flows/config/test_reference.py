"""Every setting has a meaning, a unit and a range; the page and the schema that are kept say what the code says."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from typer.testing import CliRunner

from flows.cli import app
from flows.config.ladder import LadderFile
from flows.config.schema import file_schema
from rlhf_core.config import Frozen
from rlhf_core.config.units import Tokens
from tests.conftest import ROOT

REFERENCE = ROOT / "docs" / "reference"
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
ANY_NUMBER = {"seed", "weight", "length_bias", "flattery_bias", "threshold", "first", "second"}
LIMITS = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}

Schema = dict[str, Any]


def settings(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every setting of a schema with the name of its section."""
    for section, part in {"file": schema, **schema.get("$defs", {})}.items():
        for name, node in part.get("properties", {}).items():
            yield f"{section}.{name}", node


def numbers(node: Any) -> Iterator[Schema]:
    """The numbers that a setting is, or is made of."""
    if isinstance(node, dict):
        if node.get("type") in ("integer", "number"):
            yield node
        node = [value for name, value in node.items() if name != "default"]
    for inner in node if isinstance(node, list) else ():
        yield from numbers(inner)


def undocumented(schema: Schema) -> dict[str, str]:
    """What is not said of settings."""
    lacks = {}
    for place, node in settings(schema):
        if len(node.get("description", "").split()) < 2:
            lacks[place] = "meaning"
        if any("unit" not in number for number in numbers(node)):
            lacks[place] = "unit"
        if place.rpartition(".")[2] not in ANY_NUMBER and not all(LIMITS & set(number) for number in numbers(node)):
            lacks[place] = "range"
    return lacks


def test_every_setting_has_a_meaning_a_unit_and_a_range() -> None:
    schema = file_schema()
    assert len(list(settings(schema))) > 250
    assert undocumented(schema) == {}


def test_what_is_not_said_of_a_setting_is_noticed() -> None:
    class Section(Frozen):
        silent: bool = False
        thin: str = ""
        """Text."""
        counted: int = Field(1, ge=1)
        """Things that are counted."""
        endless: Tokens | None = None
        """Tokens without a bound."""
        good: Tokens = Field(1, ge=1)
        """Tokens that are read."""

    lacks = {"silent": "meaning", "thin": "meaning", "counted": "unit", "endless": "range"}
    assert undocumented(Section.model_json_schema()) == {f"file.{name}": what for name, what in lacks.items()}


@pytest.mark.parametrize(("command", "kept"), [("docs", "settings.md"), ("schema", "settings.schema.json")])
def test_what_is_kept_is_what_the_code_says(command: str, kept: str) -> None:
    printed = CliRunner().invoke(app, ["config", command])
    assert printed.exit_code == 0
    assert printed.stdout == (REFERENCE / kept).read_text(encoding="utf-8"), "`make reference` writes it anew"


def test_the_page_has_a_row_for_every_setting() -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(list(settings(file_schema())))
    assert {row.replace(r"\|", "").count("|") for row in rows} == {6}
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert len(headings) == len(set(headings))


def test_a_row_says_meaning_unit_default_and_range() -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    chapter = page.partition("## `policy` (`method: ppo`)")[2].partition("\n## ")[0]
    assert "Declared in `rlhf_core/config/ppo.py`." in chapter
    assert "| `updates` | Rollouts, each followed by an update. | updates | `40` | integer ≥ 1 |" in chapter
    assert "| nats per response | `6.0` | number > 0 or `null` |" in chapter
    differs = "`{lr: 0.0003, eps: 1.0e-05, schedule: linear, warmup_share: 0.0}`"
    assert f"{differs} | [`base.optimiser`](#baseoptimiser) |" in chapter


def document(path: Path) -> Any:
    """A file as editors read it, which is YAML 1.2."""
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")), default=str))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_editor_finds_nothing_wrong_with_our_configurations(path: Path) -> None:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    schema = json.loads((path.parent / named).read_text(encoding="utf-8"))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(document(path))] == []


@pytest.mark.parametrize(
    ("section", "valid"),
    [
        ({"policy": {"beta": 0.1}}, True),
        ({"policy": {"method": "dpo", "beta": 0.1}}, True),
        ({"policy": {"method": "dpo", "updates": 3}}, False),
        ({"policy": {"from": "./policy"}}, True),
        ({"policy": {"method": "imported", "from": {"path": "policy"}, "trained_by": "verl"}}, True),
        ({"policy": {"method": "imported"}}, False),
        ({"policy": {"from": "./policy", "updates": 3}}, False),
        ({"policy": {"from": "./policy", "method": "dpo"}}, False),
        ({"policy": {"value": {"kind": "shared", "coef": 0.2}}}, True),
        ({"policy": {"value": {"coef": 0.2}}}, False),
        ({"policy": {"kl_budget_nats": None}}, True),
        ({"policy": {"gamma": 1.5}}, False),
        ({"reward_model": {"from": "models:/a/1"}}, True),
        ({"sft": {"epoch": 3}}, False),
        ({"sft": {"optimiser": {"betas": [0.9, 1.0]}}}, False),
        ({"base": {"kind": "from_text"}, "seed": "x"}, False),
        ({"compute": {"time_outs": {"sft": 3}}}, True),
        ({"compute": {"time_outs": {"rollout": 3}}}, False),
        ({"compute": {"max_hours": 8}}, True),
        ({"compute": {"max_hours": 0}}, False),
    ],
)
def test_an_editor_refuses_what_loading_refuses(section: Schema, valid: bool) -> None:
    mistakes = list(Draft202012Validator(file_schema()).iter_errors({"project": "a", **section}))
    try:
        LadderFile.model_validate({"project": "a", **section})
    except ValidationError:
        assert not valid
    else:
        assert valid
    assert (mistakes == []) == valid


def test_only_the_methods_that_are_meant_anyway_may_be_left_out() -> None:
    parts = file_schema()["$defs"]
    assert "required" not in parts["PPOConfig"]
    assert parts["ImportedPolicy"]["required"] == ["from"]
    tagged = {"DPOConfig": "method", "TextBaseConfig": "kind", "SharedTrunkConfig": "kind", "ByPeople": "by"}
    assert {part for part, tag in tagged.items() if tag in parts[part].get("required", ())} == set(tagged)


def test_make_writes_both() -> None:
    done = subprocess.run(["make", "-n", "reference"], cwd=ROOT, capture_output=True, text=True, check=True)
    for command, kept in (("docs", "settings.md"), ("schema", "settings.schema.json")):
        assert f"rlhf config {command} > docs/reference/{kept}" in done.stdout
