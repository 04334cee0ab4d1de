"""Names looked up in a local database as it lies, without MLflow."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from flows.config.errors import InputError
from flows.registry.lookup import (
    UNNAMED,
    VersionName,
    named_version,
    parse_version,
    project_of_version,
    require_dataset,
    require_model,
    require_project,
    require_registered,
    require_registry,
    require_version,
)

TABLES = """
CREATE TABLE registered_models (name TEXT);
CREATE TABLE model_versions (name TEXT, version INTEGER, current_stage TEXT);
CREATE TABLE registered_model_aliases (name TEXT, alias TEXT, version INTEGER);
CREATE TABLE model_version_tags (key TEXT, value TEXT, name TEXT, version INTEGER);
INSERT INTO registered_models VALUES ('desk-policy'), ('desk-sft');
INSERT INTO model_versions VALUES ('desk-policy', 2, 'None'), ('desk-policy', 1, 'Deleted_Internal');
INSERT INTO model_versions VALUES ('desk-sft', 1, 'None');
INSERT INTO registered_model_aliases VALUES ('desk-policy', 'challenger', 2);
INSERT INTO model_version_tags VALUES ('dataset.training', 'prompts:0a1b2c', 'desk-policy', 2);
"""


@pytest.fixture
def database(storage: Path) -> Path:
    path = storage / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.executescript(TABLES)
    return path


def test_the_field_that_names_a_version_is_said(database: Path) -> None:
    require_registered([("reward_model.from", "desk-policy/2"), ("judge.from", "desk-sft/1")])
    with pytest.raises(InputError, match=r"^field 'judge\.from': other/2 is not in the registry; it has desk-policy"):
        require_registered([("reward_model.from", "desk-policy/2"), ("judge.from", "other/2")])


@pytest.mark.parametrize("model", ["desk-policy/2", "models:/desk-policy/2", "desk-policy@challenger"])
def test_a_version_that_is_there_passes(database: Path, model: str) -> None:
    require_version(model)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("desk-polcy/2", "desk-polcy/2 is not in the registry; did you mean desk-policy?"),
        ("other/2", "other/2 is not in the registry; it has desk-policy, desk-sft"),
        ("desk-policy/1", "desk-policy/1 is not in the registry; the newest version of desk-policy is 2"),
        ("desk-policy@champion", "desk-policy has no alias 'champion'; it has challenger"),
        ("desk-sft@champion", "desk-sft has no alias 'champion'; it has none"),
        (
            "desk-sft@challenger",
            "desk-sft has no alias 'challenger'; it has none; versions get it whose gates passed, others go by number, "
            "as desk-sft/1",
        ),
        ("desk-policy", "desk-policy names no version; write name/version or name@alias"),
        ("desk-policy/", "desk-policy/ names no version; write name/version or name@alias"),
    ],
)
def test_a_version_that_is_not_there_is_refused_with_what_is(database: Path, model: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        require_version(model)
    assert str(refused.value) == said


def test_a_model_is_named_without_version(database: Path) -> None:
    require_model("desk-sft")
    with pytest.raises(InputError, match="desk-sft/1 is a version; name the registered model, desk-sft"):
        require_model("desk-sft/1")
    with pytest.raises(InputError, match=r"desk-stf is not in the registry; did you mean desk-sft\?"):
        require_model("desk-stf")


def test_a_dataset_is_named_by_the_start_of_its_digest(database: Path) -> None:
    require_dataset("dataset:0a1")
    with pytest.raises(InputError, match="dataset:a1b: starts no digest that a version names"):
        require_dataset("dataset:a1b")
    with pytest.raises(InputError, match="dataset:xyz: is no start of a digest"):
        require_dataset("dataset:xyz")


def test_where_nothing_was_registered_nothing_is_made(storage: Path) -> None:
    for ask in (require_registry, lambda: require_version("desk-sft/1"), lambda: require_model("desk-sft")):
        with pytest.raises(InputError, match=r"there is no .*mlflow\.db yet; climb first with `rlhf run`"):
            ask()
    assert list(storage.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no database at all, which MLflow is to say"])
def test_what_an_older_mlflow_made_or_nobody_is_left_to_mlflow(storage: Path, content: bytes) -> None:
    (storage / "mlflow.db").write_bytes(content)
    require_version("desk-sft/1")
    require_registry()


def test_a_server_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    require_version("desk-sft/1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///nowhere.db")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    require_version("desk-sft/1")


def test_names_tell_project_and_version() -> None:
    assert parse_version("models:/desk-sft@champion") == VersionName("desk-sft", None, "champion")
    assert named_version("desk-sft") == "desk-sft@challenger" and named_version("desk-sft/3") == "desk-sft/3"
    assert project_of_version("models:/help-desk-reward-model/3") == "help-desk"
    assert {project_of_version(model) for model in ("folder", "My-sft/1", "org/name")} == {UNNAMED}
    require_project("desk", "models:/desk-sft/1")
    with pytest.raises(InputError, match=r"desk-sft/1 is no model of project shop; .*--config"):
        require_project("shop", "desk-sft/1")
    require_project("desk-sft", "desk-sft-policy@champion")
    with pytest.raises(InputError, match="is no model of project desk;"):
        require_project("desk", "desk-sft-policy/1")
