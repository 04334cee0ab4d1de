"""The doctor names what killed climbs leave, removes what is nobody's, and touches nothing that is somebody's."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from flows.cli import app
from flows.pipeline.doctor.checkup import as_json, examine, render, repair
from flows.pipeline.doctor.leftover import Leftover
from flows.promotion.history import recorded_promotion
from flows.promotion.outbox import Outbox
from flows.registry.client import open_registry
from flows.registry.names import CHAMPION, DIGEST_TAG, PROCESS_TAG, SNAPSHOT_TAG, data_experiment
from flows.registry.processes import is_dead, process_tag
from flows.storage.locks import exclusive
from tests.flows.toys import Toys

DEAD = f"{socket.gethostname()}:999999999:1"


def die_after_upload(storage: Path) -> None:
    """Train a toy, and be killed when its files are uploaded and no version names them."""
    upload = MlflowClient.log_model_artifacts

    def die(client: MlflowClient, model_id: str, folder: str) -> None:
        upload(client, model_id, folder)
        os.kill(os.getpid(), signal.SIGKILL)

    MlflowClient.log_model_artifacts = die
    Toys("toy", storage).stage("sft", "text")


def kinds(leftovers: list[Leftover]) -> list[str]:
    return sorted(leftover.kind for leftover in leftovers)


def found(storage: Path, *outboxes: Path) -> list[Leftover]:
    return examine(storage, "toy", outboxes)


def test_what_a_killed_climb_leaves_is_named_and_removed_and_its_states_stay(storage: Path) -> None:
    killed = multiprocessing.get_context("fork").Process(target=die_after_upload, args=(storage,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    leftovers = found(storage)
    assert kinds(leftovers) == ["model without a version", "run", "run"]
    (model,) = (leftover for leftover in leftovers if leftover.kind == "model without a version")
    assert model.size == len("{}") + len("text")
    assert len(repair(storage, leftovers)) == 3
    assert found(storage) == []
    assert not list(storage.glob("artifacts/models/*/artifacts/*"))
    assert len(list(storage.glob("work/sft-*.states/finished.json"))) == 1
    made = Toys("toy", storage).stage("sft", "text")
    client = MlflowClient()
    assert made.version == "1" and client.get_run(made.run_id).info.status == "FINISHED"


@pytest.fixture
def toys(storage: Path) -> Toys:
    return Toys("toy", storage)


def test_what_is_somebodys_is_no_leftover(toys: Toys, storage: Path) -> None:
    made = toys.ladder("text")
    toys.registry.set_alias(made.policy, CHAMPION)
    running = toys.registry.start_run("sft")
    logged = partial(toys.registry.client.create_logged_model, toys.registry.experiment_id)
    logged(name="toy-sft", source_run_id=running, tags={DIGEST_TAG: "of a ladder that runs"})
    logged(name="by hand")
    kept = logged(name="toy-sft", tags={DIGEST_TAG: "registered by a person, under another name"})
    toys.registry.client.create_registered_model("mine")
    toys.registry.client.create_model_version("mine", f"models:/{kept.model_id}")
    elsewhere = toys.registry.start_run("elsewhere")
    toys.registry.tag_run(elsewhere, {PROCESS_TAG: "another-machine:1:1"})
    assert found(storage) == []


def twin_of(toys: Toys) -> tuple[str, str]:
    """A version that a ladder names, and another one of the same content."""
    first, second = toys.stage("sft", "text"), toys.stage("sft", "text")
    toys.registry.tag_run(toys.context.run_id, {"stage.sft": second.label})
    return first.version, second.version


def test_of_versions_of_one_content_those_go_that_no_ladder_names(toys: Toys, storage: Path) -> None:
    client = toys.registry.client
    first, second = twin_of(toys)
    assert first != second
    leftovers = found(storage)
    assert [(leftover.kind, leftover.where) for leftover in leftovers] == [
        ("version of the same content", f"toy-sft/{first}")
    ]
    client.set_registered_model_alias("toy-sft", "challenger", first)
    assert found(storage) == []
    repair(storage, leftovers)  # found before it got its alias
    assert str(client.get_model_version("toy-sft", first).version) == first
    client.delete_registered_model_alias("toy-sft", "challenger")
    repair(storage, leftovers)
    assert [str(version.version) for version in client.search_model_versions("name='toy-sft'")] == [second]


@pytest.mark.parametrize("alias", [False, True])
def test_a_version_whose_model_is_gone_goes_unless_it_has_an_alias(toys: Toys, storage: Path, alias: bool) -> None:
    made = toys.stage("sft", "text")
    if alias:
        toys.registry.set_alias(made, CHAMPION)
    toys.registry.client.delete_logged_model(made.model_id)
    leftovers = found(storage)
    assert kinds(leftovers) == ["version without a model"]
    assert repair(storage, leftovers) == ([] if alias else leftovers)
    after = [] if not alias else ["version without a model"]
    assert kinds([one for one in found(storage) if one.kind != "files of a model"]) == after


def test_files_of_a_deleted_model_go_and_those_that_an_older_database_does_not_know_stay(
    toys: Toys, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, made = storage / "before.db", toys.stage("sft", "text")
    shutil.copy(storage / "mlflow.db", before)
    client, files = toys.registry.client, toys.registry.folder(made)
    client.delete_logged_model(made.model_id)
    client.delete_model_version(made.name, made.version)
    later = toys.registry.folder(toys.stage("sft", "another text"))
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{before}")
        second = [one for one in found(storage) if one.kind.startswith("files")]
    first = found(storage)
    assert kinds(first) == ["files of a model"] and kinds(second) == ["files of an unknown model"]
    assert later.is_relative_to(second[0].where) and repair(storage, second) == [] and later.is_dir()
    assert repair(storage, first) == first and not files.exists()


def test_half_uploads_and_promotions_are_closed(toys: Toys, storage: Path) -> None:
    data = open_registry(data_experiment("toy"), storage)
    half = data.start_run("prompts", tags={SNAPSHOT_TAG: "abc"})
    data.client.log_text(half, "half", "abc.parquet")
    made = toys.stage("sft", "text")
    with recorded_promotion(
        toys.registry, model=made.name, version="1", previous=None, by="", why="", how="rlhf promote", forced=False
    ):
        ledger = open_registry("toy-promotions", storage)
        (move,) = ledger.running(PROCESS_TAG)
        for registry, run_id in ((data, half), (ledger, move.info.run_id)):
            registry.tag_run(run_id, {PROCESS_TAG: DEAD})
        leftovers = found(storage)
        assert kinds(leftovers) == ["half a snapshot", "promotion"]
        assert next(one.size for one in leftovers if one.kind == "half a snapshot") == len("half")
        repair(storage, leftovers)
        assert found(storage) == [] and not list(storage.glob(f"artifacts/{half}/artifacts/*"))
        assert ledger.client.get_run(move.info.run_id).info.status == "KILLED"


KEY = f"sft-{'a' * 40}"


def lay(storage: Path, *names: str) -> list[str]:
    for name in names:
        path = storage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("12345")
    return [str(storage / name) for name in names]


def test_files_that_are_written_for_a_while_go_when_nobody_uses_the_storage(toys: Toys, storage: Path) -> None:
    made = toys.stage("sft", "text")
    done = toys.registry.client.get_model_version(made.name, made.version).tags["rlhf.key"]
    lay(
        storage,
        *("work/ingest-x1y2/part", "tmpabc/x", "copies/tmpabc/x", "snapshots/prompts/x.profile.tmp"),
        *(f"work/{KEY}/model", f"work/{done}.states/run_id", f"work/{done}/model"),
        *(f"work/sft-{'b' * 40}.states/writing/state", f"work/sft-{'b' * 40}.states/step-000000001/notes.json"),
    )
    with exclusive(storage / "work" / f"{KEY}.lock"):
        assert found(storage) == []
    leftovers = found(storage)
    assert kinds(leftovers) == ["half a state", "states", *["temporary"] * 4, "work", "work"]
    assert {leftover.size for leftover in leftovers} == {5}
    with exclusive(storage / "work" / f"{KEY}.lock"):  # taken up since
        repair(storage, leftovers)
    assert len(found(storage)) == len(leftovers)
    repair(storage, leftovers)
    assert found(storage) == []
    assert [path.name for path in storage.glob("work/*/*")] == ["step-000000001"]


def test_states_of_other_code_are_named_and_stay(toys: Toys, storage: Path) -> None:
    run_id = toys.registry.start_run("sft")
    toys.registry.client.log_dict(run_id, {"code": "0.0.1+abc"}, "identity.json")
    lay(storage, f"work/{KEY}.states/step-000000001/notes.json")
    assert found(storage) == []
    (storage / "work" / f"{KEY}.states" / "run_id").write_text(run_id)
    (leftover,) = found(storage)
    assert (leftover.kind, leftover.fix) == ("states", None) and "0.0.1+abc" in leftover.what
    assert repair(storage, [leftover]) == []
    assert as_json([leftover], [])[0]["fixed"] is False


FORKING = """
import fcntl, os, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
if os.fork():
    os._exit(0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def forked(storage: Path) -> Iterator[None]:
    """A lock whose owner is dead, held by a child of it."""
    (storage / "work").mkdir()
    lock = storage / "work" / "toy.lock"
    owner = subprocess.Popen(
        [sys.executable, "-c", FORKING, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None and owner.stdout.readline() == "held\n"
    owner.wait()
    yield
    assert owner.stdin is not None
    owner.stdin.close()
    while lock.exists() and found(storage):
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")
def test_a_lock_whose_owner_is_dead_is_named(storage: Path, forked: None) -> None:
    (leftover,) = found(storage)
    assert leftover.kind == "lock" and leftover.fix is None and "which is dead" in leftover.what


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells what a process has open")
def test_a_server_whose_climb_is_dead_is_ended(storage: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)", "flows.deploy.prefect_api"],
        env=os.environ | {"PREFECT_HOME": f"{storage}/prefect"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None and server.stdin is not None and server.stdout.readline() == b"\n"
    assert found(storage) == []
    server.stdin.close()  # as the system does when the climb is killed
    leftovers = found(storage)
    assert [(leftover.kind, leftover.where) for leftover in leftovers] == [("server", str(server.pid))]
    repair(storage, leftovers)
    assert server.wait() == -signal.SIGKILL


def test_a_promotion_that_prefect_was_never_told_of_is_named(toys: Toys, storage: Path, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "ledger.db")
    outbox.add("toy-sft", "1")
    assert found(storage, outbox.path, tmp_path / "none.db") == []
    with outbox._connection() as connection:
        then = (datetime.now(UTC) - timedelta(minutes=11)).isoformat()
        connection.execute("UPDATE promotions SET noticed = ?", (then,))
    (leftover,) = found(storage, outbox.path)
    assert leftover.fix is None and "toy-sft/1" in leftover.what


def test_processes_are_told_by_their_start_and_zombies_are_dead() -> None:
    tag = process_tag()
    assert not is_dead(tag)
    assert is_dead(DEAD) and not is_dead("another-machine:999999999:1") and not is_dead("")
    host, number, start = tag.split(":")
    assert not is_dead(f"{host}:{number}")
    if start:
        assert is_dead(f"{host}:{number}:{int(start) - 1}")
        child = subprocess.Popen([sys.executable, "-c", ""])
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.02)
        assert is_dead(f"{host}:{child.pid}")
        child.wait()


def test_the_command_says_what_it_found_and_its_exit_code_whether_any_is_left(
    toys: Toys, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.cli.lineage.start_orchestrator", lambda: None)
    type_in = CliRunner().invoke
    assert type_in(app, ["doctor", "--storage", str(storage / "none")]).exit_code == 2
    nothing = type_in(app, ["doctor", "--storage", str(storage)])
    assert (nothing.exit_code, nothing.stdout) == (0, "nothing was left behind\n")
    lay(storage, "tmpabc/x")
    told = type_in(app, ["doctor", "--storage", str(storage)])
    assert told.exit_code == 1 and str(storage / "tmpabc") in told.stdout and (storage / "tmpabc").exists()
    fixed = type_in(app, ["doctor", "--storage", str(storage), "--fix", "--json"])
    assert fixed.exit_code == 0 and not (storage / "tmpabc").exists()
    (leftover,) = json.loads(fixed.stdout)
    assert (leftover["kind"], leftover["size"], leftover["fixed"]) == ("temporary", 5, True)


def test_the_table_says_what_would_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    leftovers = [Leftover("run", "abc", "a run", "ends it", fix=lambda: None), Leftover("lock", "x", "a lock", "stays")]
    Console(width=200).print(render(leftovers, []))
    assert "2 found, 0 fixed; --fix does so for 1" in capsys.readouterr().out
    Console(width=200).print(render(leftovers, leftovers[:1]))
    out = capsys.readouterr().out
    assert "done: ends it" in out and "2 found, 1 fixed\n" in out
