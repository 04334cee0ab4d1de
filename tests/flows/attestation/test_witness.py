"""A git remote keeps copies of statements, which nobody takes out of it again."""

import logging
import os
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError
from securesystemslib.signer import CryptoSigner

from flows.attestation.git_witness import GitLog
from flows.attestation.keys import make_key
from flows.attestation.log import LogEntry, StatementLog, read_log
from flows.attestation.statement import JUDGEMENT, Subject
from flows.attestation.verification import verify_log
from flows.attestation.witness import Witness
from flows.config.audit import AuditConfig
from flows.config.errors import InputError
from flows.registry.client import open_registry
from flows.registry.statements import WITNESS, log_of

MODEL = Subject(name="models:/tiny-sft/1", digest={"sha256": "ab" * 32})


def git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder = tmp_path / "remote.git"
    folder.mkdir()
    git(folder, "init", "--quiet", "--bare")
    git(folder, "config", "receive.denyNonFastForwards", "true")
    return folder


@pytest.fixture
def address(remote: Path) -> str:
    return f"git+{remote.as_uri()}"


@pytest.fixture
def signer(tmp_path: Path) -> CryptoSigner:
    return make_key(tmp_path / "keys" / "pipeline.pem")


def log_in(folder: Path, witness: str, signer: CryptoSigner) -> StatementLog:
    return StatementLog(folder, "tiny", (folder / "artifacts").as_uri(), signers=[signer], witness=witness)


def say(log: StatementLog, *numbers: int) -> list[LogEntry]:
    return [log.append(JUDGEMENT, [MODEL], {"number": number}) for number in numbers]


def kept(address: str, scratch: Path) -> list[LogEntry]:
    with Witness(address, scratch).log("tiny").copied() as folder:
        return read_log(folder)


def test_every_statement_is_a_commit_and_a_log_that_is_cut_short_shows(
    tmp_path: Path, remote: Path, address: str, signer: CryptoSigner
) -> None:
    entries = say(log_in(tmp_path / "a", address, signer), 1, 2, 3)
    folder = tmp_path / "a" / "artifacts" / "statements" / "tiny"
    known = kept(address, tmp_path / "auditor")
    assert verify_log(read_log(folder), [signer.public_key], known).gone == ()
    (folder / entries[2].name).unlink()
    assert len(verify_log(read_log(folder), [signer.public_key], known).gone) == 1
    assert git(remote, "rev-list", "--count", "statements").strip() == "3"
    assert Witness(address, tmp_path / "auditor").projects() == {"tiny"}


def test_machines_that_push_between_each_other_lose_nothing(tmp_path: Path, address: str, signer: CryptoSigner) -> None:
    one, other = (log_in(tmp_path / name, address, signer) for name in ("a", "b"))
    for number in range(3):
        say(one, number)
        say(other, number)
    assert len(kept(address, tmp_path / "auditor")) == 6


def test_a_remote_that_is_away_gets_what_it_lacks_later_and_stops_nothing(
    tmp_path: Path, remote: Path, address: str, signer: CryptoSigner, caplog: pytest.LogCaptureFixture
) -> None:
    log = log_in(tmp_path / "a", address, signer)
    say(log, 1)
    remote.rename(tmp_path / "away")
    with caplog.at_level(logging.WARNING):
        say(log, 2)
    assert "statements wait in" in caplog.text and "does not appear to be a git repository" in caplog.text
    (tmp_path / "away").rename(remote)
    say(log, 3)
    assert len(kept(address, tmp_path / "auditor")) == 3


def test_a_copy_that_a_kill_left_half_made_is_made_anew(tmp_path: Path, address: str, signer: CryptoSigner) -> None:
    log = log_in(tmp_path / "a", address, signer)
    say(log, 1)
    [clone] = (tmp_path / "a" / "witness").iterdir()
    (clone / ".git" / "index.lock").touch()
    say(log, 2, 3)
    assert len(kept(address, tmp_path / "auditor")) == 3


def test_a_file_that_is_at_the_remote_is_never_written_over(tmp_path: Path, address: str) -> None:
    file = tmp_path / "file.json"
    for text in ("first", "second"):
        file.write_text(text)
        GitLog(address, "tiny", tmp_path / text).put([file])
    with Witness(address, tmp_path).log("tiny").copied() as folder:
        assert (folder / file.name).read_text() == "first"


@pytest.mark.parametrize(
    "witness", ["git+http://host/repository", "git+ext::sh -c date", "git+https://ann:word@host/r", "s3://a:b@bucket"]
)
def test_what_is_no_witness_or_holds_a_password_is_refused(witness: str) -> None:
    with pytest.raises(ValidationError):
        AuditConfig(witness=witness)


@pytest.mark.parametrize("witness", ["/srv/witness", "s3://bucket/folder", "git+ssh://git@host/repository.git"])
def test_places_of_a_witness(witness: str) -> None:
    assert AuditConfig(witness=witness).witness == witness
    if not witness.startswith("git+"):
        assert Witness(witness, Path()).log("tiny").address == f"{witness}/statements/tiny"


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("git+https://me:planted-word@git.example.org/x.git", "holds a password or a key; leave it out"),
        ("https://store.example.org/x?token=planted-word", "holds a password or a key; leave it out"),
        ("git+planted", "is no git remote; write git"),
    ],
)
def test_a_witness_that_the_environment_names_holds_no_password(
    named: str, told: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = open_registry("toy", storage)
    monkeypatch.setenv(WITNESS, named)
    with pytest.raises(InputError, match=f"^RLHF_WITNESS .*{told}") as refused:
        log_of(registry)
    assert "planted-word" not in str(refused.value)
    assert not (storage / "witness").exists()
