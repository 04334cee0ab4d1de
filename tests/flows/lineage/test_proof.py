"""An audit against signed statements: what people may do, what kills leave, keys, witnesses, offline copies."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.attestation.log import read_log
from flows.attestation.statement import KEYS
from tests.conftest import TINY, Finished

Typed = Callable[..., Finished]


@pytest.fixture
def typed(rlhf: Typed, copied_home: Path) -> Typed:
    def command(*arguments: str) -> Finished:
        return rlhf(*arguments, "--config", TINY, "--set", f"storage={copied_home}")

    return command


@pytest.fixture
def client(copied_home: Path, client_of: Callable[[Path], MlflowClient]) -> MlflowClient:
    return client_of(copied_home)


def test_an_audit_of_a_copy_needs_nothing_else(typed: Typed, copied_home: Path, tmp_path: Path) -> None:
    key = shutil.copy(copied_home / "keys" / "pipeline.pub", tmp_path / "auditor.pub")
    shutil.rmtree(copied_home / "keys")
    shutil.rmtree(copied_home / "statements")
    done = typed("audit", "--key", str(key), "--json")
    assert done.returncode == 0, done.stdout
    document = json.loads(done.stdout)
    assert {finding["status"] for finding in document["findings"]} == {"holds"}
    assert str(key) in document["keys"]
    without = typed("audit")
    assert without.returncode == 1 and "name the public key" in without.stdout


def test_what_people_may_write_is_no_finding(typed: Typed, client: MlflowClient) -> None:
    client.set_model_version_tag("tiny-policy", "1", "reviewed", "yes")
    version = client.get_model_version("tiny-policy", "1")
    client.update_model_version("tiny-policy", "1", f"{version.description}\nI like it.")
    client.set_tag(str(version.run_id), "mlflow.note.content", "look at the curve")
    client.set_registered_model_alias("tiny-policy", "staging", "1")
    assert typed("audit").returncode == 0


def test_a_source_of_a_dataset_that_is_no_json_is_altered(typed: Typed, copied_home: Path) -> None:
    with closing(sqlite3.connect(copied_home / "mlflow.db")) as database, database:
        database.execute("UPDATE datasets SET dataset_source = 'garbage'")
    audited = typed("audit")
    assert audited.returncode == 1 and " altered " in audited.stdout and "Traceback" not in audited.stderr


def test_a_champion_that_no_command_set_is_unsigned_until_it_is_promoted(typed: Typed, client: MlflowClient) -> None:
    client.set_registered_model_alias("tiny-sft", "champion", "1")
    done = typed("audit")
    assert done.returncode == 1 and "alias tiny-sft@champion" in done.stdout and "unsigned" in done.stdout
    client.delete_registered_model_alias("tiny-sft", "champion")
    assert typed("promote", "tiny-sft", "--yes", "--why", "good").returncode == 0
    assert typed("audit", "tiny-sft@champion").returncode == 0


def test_a_person_signs_a_promotion_with_their_own_key(
    typed: Typed, rlhf: Typed, copied_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLHF_OWN_KEY", str(tmp_path / "own.pem"))
    made = rlhf("keys", "new", "--own")
    assert made.returncode == 0 and oct(os.stat(tmp_path / "own.pem").st_mode)[-3:] == "600"
    assert rlhf("keys", "new", "--own").returncode == 2
    assert typed("keys", "trust", str(tmp_path / "own.pub"), "--name", "Ada").returncode == 0
    assert typed("promote", "tiny-policy", "--yes").returncode == 0
    entries = read_log(copied_home / "artifacts" / "statements" / "tiny")
    [last] = [entry for entry in entries if entry.statement and "why" in entry.statement.predicate]
    assert len(json.loads(last.content)["signatures"]) == 2
    assert typed("audit").returncode == 0
    own = read_log(copied_home / "artifacts" / "statements" / "tiny")
    assert [entry.statement.kind for entry in own if entry.statement].count(KEYS) == 1


def test_what_is_not_signed_is_said_to_be_so(rlhf: Typed, tmp_path: Path) -> None:
    storage = tmp_path / "unsigned"
    where = ("--config", str(TINY), "--set", f"storage={storage}")
    done = rlhf("ingest", TINY, "--set", f"storage={storage}", "--set", "audit.sign=false")
    assert done.returncode == 0 and "not signed" in done.stdout
    audited = rlhf("audit", *where)
    assert audited.returncode == 1 and "nobody signed it" in audited.stdout
    assert not (storage / "keys").exists()
