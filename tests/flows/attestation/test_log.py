"""Statements survive what kills their writer, and a log shows what was done to it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from flows.attestation.keys import make_key, public_pem
from flows.attestation.log import LogEntry, StatementLog, name_of, read_log
from flows.attestation.order import set_back
from flows.attestation.statement import JUDGEMENT, KEYS, POSITION, Subject, digest_of, seal, unseal
from flows.attestation.store import write_once
from flows.attestation.verification import VerifiedLog, verify_log
from tests.conftest import ROOT

MODEL = Subject(name="models:/tiny-sft/1", digest={"sha256": "ab" * 32})


@pytest.fixture
def signer(storage: Path) -> CryptoSigner:
    return make_key(storage / "keys" / "pipeline.pem")


@pytest.fixture
def artifacts(tmp_path: Path) -> str:
    return (tmp_path / "artifacts").as_uri()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifacts" / "statements" / "tiny"


@pytest.fixture
def log(storage: Path, artifacts: str, signer: CryptoSigner) -> StatementLog:
    return StatementLog(storage, "tiny", artifacts, signers=[signer])


def say(log: StatementLog, *numbers: int) -> list[LogEntry]:
    return [log.append(JUDGEMENT, [MODEL], {"number": number}) for number in numbers]


def problems(verified: VerifiedLog) -> list[str]:
    return [kind for checked in verified.entries for kind, _ in checked.problems] + ["gone" for _ in verified.gone]


def test_what_is_appended_is_read_back_and_holds(log: StatementLog, folder: Path, signer: CryptoSigner) -> None:
    say(log, 1, 2, 3)
    entries = read_log(folder)
    verified = verify_log(entries, [signer.public_key])
    assert problems(verified) == []
    assert [entry.statement.predicate["number"] for entry in verified.believed if entry.statement] == [1, 2, 3]


def test_an_entry_is_an_envelope_of_in_toto(log: StatementLog, folder: Path, signer: CryptoSigner) -> None:
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    say(log, 1)
    [path] = folder.iterdir()
    envelope = Envelope.from_dict(json.loads(path.read_bytes()))
    assert envelope.payload_type == "application/vnd.in-toto+json"
    assert list(envelope.verify([signer.public_key], 1)) == [signer.public_key.keyid]
    theirs = Statement.copy_from_pb(json_format.Parse(envelope.payload, statement_pb2.Statement()))
    theirs.validate()
    assert theirs.pb.subject[0].digest["sha256"] == MODEL.digest["sha256"]


def test_the_same_statement_is_the_same_bytes() -> None:
    assert digest_of({"b": 0.1, "a": [1, None, "ü"]}) == digest_of({"a": [1, None, "ü"], "b": 0.10})


def forged(entry: LogEntry, **changes: Any) -> bytes:
    """The envelope of an entry with another payload, under the signature that it had."""
    assert entry.statement is not None
    other = entry.statement.model_copy(update={"predicate": {**entry.statement.predicate, **changes}})
    envelope = json.loads(seal(other, []))
    envelope["signatures"] = json.loads(entry.content)["signatures"]
    return json.dumps(envelope).encode()


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def altered(folder: Path, entries: list[LogEntry]) -> None:
    overwrite(folder / entries[1].name, forged(entries[1], number=9))


def removed(folder: Path, entries: list[LogEntry]) -> None:
    (folder / entries[1].name).unlink()


def first_removed(folder: Path, entries: list[LogEntry]) -> None:
    (folder / entries[0].name).unlink()


def unsigned(folder: Path, entries: list[LogEntry]) -> None:
    assert entries[2].statement is not None
    overwrite(folder / entries[2].name, seal(entries[2].statement, []))


def signed_by_a_stranger(folder: Path, entries: list[LogEntry]) -> None:
    assert entries[2].statement is not None
    overwrite(folder / entries[2].name, seal(entries[2].statement, [CryptoSigner.generate_ed25519()]))


def swapped(folder: Path, entries: list[LogEntry]) -> None:
    one, other = (folder / entry.name for entry in entries[1:3])
    overwrite(one, entries[2].content)
    overwrite(other, entries[1].content)


def torn(folder: Path, entries: list[LogEntry]) -> None:
    overwrite(folder / entries[2].name, entries[2].content[:200])


TAMPERS: dict[Callable[[Path, list[LogEntry]], None], set[str]] = {
    altered: {"altered", "unsigned", "out of order"},
    removed: {"missing"},
    first_removed: {"missing"},
    unsigned: {"unsigned"},
    signed_by_a_stranger: {"unsigned"},
    swapped: {"altered"},
    torn: {"altered"},
}


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda tamper: tamper.__name__)
def test_a_log_shows_what_was_done_to_it(
    tamper: Callable[[Path, list[LogEntry]], None], log: StatementLog, folder: Path, signer: CryptoSigner
) -> None:
    tamper(folder, say(log, 1, 2, 3))
    assert set(problems(verify_log(read_log(folder), [signer.public_key]))) == TAMPERS[tamper]


def test_a_truncated_log_shows_beside_its_witness(
    storage: Path, artifacts: str, folder: Path, tmp_path: Path, signer: CryptoSigner
) -> None:
    witness = tmp_path / "witness"
    log = StatementLog(storage, "tiny", artifacts, signers=[signer], witness=str(witness))
    entries = say(log, 1, 2, 3)
    kept = read_log(witness / "statements" / "tiny")
    assert problems(verify_log(read_log(folder), [signer.public_key], kept)) == []
    (folder / entries[2].name).unlink()
    assert problems(verify_log(read_log(folder), [signer.public_key])) == []
    assert problems(verify_log(read_log(folder), [signer.public_key], kept)) == ["gone"]


def test_a_log_that_was_written_anew_with_the_key_shows_beside_its_witness(
    storage: Path, artifacts: str, folder: Path, tmp_path: Path, signer: CryptoSigner
) -> None:
    log = StatementLog(storage, "tiny", artifacts, signers=[signer], witness=str(tmp_path / "witness"))
    [entry] = say(log, 1)
    assert entry.statement is not None and entry.position is not None
    (folder / entry.name).unlink()
    predicate = {"number": 2, POSITION: entry.position.model_dump(mode="json")}
    other = entry.statement.model_copy(update={"predicate": predicate})
    write_once(folder / entry.name, seal(other, [signer]))
    kept = read_log(tmp_path / "witness" / "statements" / "tiny")
    assert "altered" in problems(verify_log(read_log(folder), [signer.public_key], kept))


def test_an_artifact_store_that_is_away_gets_the_statement_later(
    storage: Path, tmp_path: Path, folder: Path, signer: CryptoSigner
) -> None:
    log = StatementLog(storage, "tiny", (tmp_path / "artifacts").as_uri(), signers=[signer])
    say(log, 1)
    folder.rename(tmp_path / "away")
    folder.write_text("a file is in the way")
    with pytest.raises(NotADirectoryError):
        say(log, 2)
    folder.unlink()
    say(log, 3)
    assert len(read_log(folder)) == 2
    assert problems(verify_log(read_log(folder), [signer.public_key])) == []


def test_storages_write_chains_of_their_own_and_name_those_of_the_others(
    tmp_path: Path, artifacts: str, folder: Path, signer: CryptoSigner
) -> None:
    one, other = (StatementLog(tmp_path / name, "tiny", artifacts, signers=[signer]) for name in ("one", "other"))
    say(one, 1)
    say(other, 2)
    say(one, 3)
    entries = read_log(folder)
    assert len({entry.position.chain for entry in entries if entry.position}) == 2
    assert problems(verify_log(entries, [signer.public_key])) == []
    [lost] = [entry for entry in entries if entry.position and entry.position.chain == other.chain]
    (folder / lost.name).unlink()
    assert problems(verify_log(read_log(folder), [signer.public_key])) == ["gone"]


def test_a_storage_that_was_lost_goes_on_after_what_the_store_has(
    tmp_path: Path, artifacts: str, folder: Path, signer: CryptoSigner
) -> None:
    say(StatementLog(tmp_path / "one", "tiny", artifacts, signers=[signer]), 1, 2)
    for path in (tmp_path / "one" / "statements" / "tiny").iterdir():
        path.unlink()
    say(StatementLog(tmp_path / "one", "tiny", artifacts, signers=[signer]), 3)
    assert len(read_log(folder)) == 3
    assert problems(verify_log(read_log(folder), [signer.public_key])) == []


def test_what_others_put_into_the_store_in_the_name_of_a_chain_leads_nobody_astray(
    storage: Path, artifacts: str, folder: Path, log: StatementLog, signer: CryptoSigner
) -> None:
    [entry] = say(log, 1)
    assert entry.statement is not None and entry.position is not None
    place = entry.position.model_copy(update={"number": 99_999_999, "previous": entry.hash})
    predicate = {**entry.statement.predicate, POSITION: place.model_dump(mode="json")}
    forged = entry.statement.model_copy(update={"predicate": predicate})
    content = seal(forged, [CryptoSigner.generate_ed25519()])
    forged_file = folder / name_of(place, unseal(content)[1])
    write_once(forged_file, content)
    assert [later.position and later.position.number for later in say(log, 2, 3)] == [1, 2]
    forged_file.unlink()
    assert problems(verify_log(read_log(folder), [signer.public_key])) == []


def test_a_storage_that_was_put_back_to_an_earlier_day_goes_on_after_what_it_signed(
    storage: Path, folder: Path, log: StatementLog, signer: CryptoSigner
) -> None:
    entries = say(log, 1, 2, 3)
    for entry in entries[1:]:
        (storage / "statements" / "tiny" / entry.name).unlink()
    say(log, 4)
    assert problems(verify_log(read_log(folder), [signer.public_key])) == []


NO_STATEMENTS = (
    b"[" * 1_000_000,
    b'{"payload": ' + b"[" * 100_000,
    b'{"payload": 1, "signatures": 3}',
    b"null",
    b'{"payload": "e30=", "payloadType": "x", "signatures": [1]}',
    b'{"payload": "bnVsbA==", "signatures": {"a": 1}}',
)


@pytest.mark.parametrize("content", NO_STATEMENTS, ids=range(len(NO_STATEMENTS)))
def test_no_content_stops_who_reads_a_log(
    content: bytes, folder: Path, log: StatementLog, signer: CryptoSigner
) -> None:
    entries = say(log, 1, 2)
    overwrite(folder / entries[1].name, content)
    (folder / "a-folder.json").mkdir()
    (folder / "a-link.json").symlink_to("/nowhere")
    assert "altered" in problems(verify_log(read_log(folder), [signer.public_key]))


def test_a_key_that_a_trusted_one_introduces_counts_until_it_is_retired(
    storage: Path, artifacts: str, folder: Path, log: StatementLog, signer: CryptoSigner
) -> None:
    new = CryptoSigner.generate_ed25519()
    subject = Subject(name="new", digest={"sha256": new.public_key.keyid})
    log.append(KEYS, [subject], {"introduces": {"new": public_pem(new.public_key)}})
    later = StatementLog(storage, "tiny", artifacts, signers=[new])
    say(later, 1)
    assert problems(verify_log(read_log(folder), [signer.public_key])) == []
    log.append(KEYS, [subject], {"retires": [new.public_key.keyid]})
    say(later, 2)
    assert problems(verify_log(read_log(folder), [signer.public_key])) == ["unsigned"]


def at(monkeypatch: pytest.MonkeyPatch, *times: int) -> None:
    """Let the clock of a log tell these days of June, one after another."""
    days = iter([datetime(2026, 6, day, tzinfo=UTC) for day in times])
    monkeypatch.setattr("flows.attestation.log.datetime", SimpleNamespace(now=lambda _: next(days)))


def numbers(verified: VerifiedLog) -> list[int]:
    return [entry.statement.predicate["number"] for entry in verified.believed if entry.statement]


def test_statements_of_a_clock_that_is_set_back_hold_in_the_order_of_their_chain(
    folder: Path, log: StatementLog, signer: CryptoSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, 7, 8, 2, 3, 9)
    say(log, 1, 2, 3, 4, 5)
    entries = read_log(folder)
    verified = verify_log(entries, [signer.public_key])
    assert problems(verified) == []
    assert numbers(verified) == [1, 2, 3, 4, 5]
    assert [entry.position.time.day for entry in verified.believed if entry.position] == [7, 8, 2, 3, 9]
    assert set_back(entries) == 1


def test_what_a_writer_saw_of_another_comes_before_it_whatever_their_clocks_say(
    tmp_path: Path, artifacts: str, folder: Path, signer: CryptoSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, behind = (StatementLog(tmp_path / name, "tiny", artifacts, signers=[signer]) for name in ("a", "b"))
    at(monkeypatch, 20, 1, 21, 2)
    for number, log in enumerate((ahead, behind, ahead, behind)):
        say(log, number)
    verified = verify_log(read_log(folder), [signer.public_key])
    assert problems(verified) == []
    assert numbers(verified) == [0, 1, 2, 3]


def test_a_forged_order_shows_where_the_clock_was_set_back_too(
    folder: Path, log: StatementLog, signer: CryptoSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, 7, 2, 8)
    entries = say(log, 1, 2, 3)
    stranger = CryptoSigner.generate_ed25519()
    for number, entry in zip((0, 2, 1), entries, strict=True):  # the last two change places
        assert entry.statement is not None and entry.position is not None
        place = entry.position.model_copy(update={"number": number})
        predicate = {**entry.statement.predicate, POSITION: place.model_dump(mode="json")}
        (folder / entry.name).unlink()
        content = seal(entry.statement.model_copy(update={"predicate": predicate}), [stranger])
        write_once(folder / name_of(place, unseal(content)[1]), content)
    found = verify_log(read_log(folder), [signer.public_key, stranger.public_key])
    assert "out of order" in problems(found)


def test_a_retired_key_cannot_sign_at_a_time_before_its_retirement(
    tmp_path: Path,
    artifacts: str,
    folder: Path,
    log: StatementLog,
    signer: CryptoSigner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stolen = CryptoSigner.generate_ed25519()
    subject = Subject(name="next", digest={"sha256": stolen.public_key.keyid})
    at(monkeypatch, 1, 2, 9, 3, 4)
    log.append(KEYS, [subject], {"introduces": {"next": public_pem(stolen.public_key)}})
    say(StatementLog(tmp_path / "one", "tiny", artifacts, signers=[stolen]), 1)
    log.append(KEYS, [subject], {"retires": [stolen.public_key.keyid]})
    say(StatementLog(tmp_path / "one", "tiny", artifacts, signers=[stolen]), 2)
    say(StatementLog(tmp_path / "new", "tiny", artifacts, signers=[stolen]), 3)
    verified = verify_log(read_log(folder), [signer.public_key])
    assert problems(verified) == ["unsigned", "unsigned"]
    assert [entry.statement.predicate.get("number") for entry in verified.believed if entry.statement] == [
        None,
        1,
        None,
    ]


WRITER = """
import sys
from pathlib import Path
from flows.attestation.keys import load_key
from flows.attestation.log import StatementLog
from flows.attestation.statement import JUDGEMENT, Subject
storage = Path(sys.argv[1])
log = StatementLog(storage, "tiny", sys.argv[2], signers=[load_key(storage / "keys" / "pipeline.pem")])
for number in range(int(sys.argv[3])):
    log.append(JUDGEMENT, [Subject(name="a", digest={"sha256": "ab"})], {"number": number})
    print(number, flush=True)
"""


def writer(storage: Path, artifacts: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, storage, artifacts, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_two_writers_of_a_storage_lose_nothing_and_a_kill_tears_nothing(
    storage: Path, artifacts: str, folder: Path, signer: CryptoSigner
) -> None:
    steady, killed = writer(storage, artifacts, 40), writer(storage, artifacts, 100_000)
    assert killed.stdout is not None and steady.stdout is not None
    said = [killed.stdout.readline() for _ in range(20)]
    os.kill(killed.pid, signal.SIGKILL)
    said += killed.stdout.readlines()
    assert steady.wait(60) == 0
    killed.wait(60)
    entries = read_log(folder)
    assert problems(verify_log(entries, [signer.public_key])) == []
    assert len(entries) in (40 + len(said), 41 + len(said))  # killed between writing and saying so


def test_a_statement_that_was_written_and_not_copied_is_copied_with_the_next(
    storage: Path, artifacts: str, folder: Path, log: StatementLog, signer: CryptoSigner
) -> None:
    [entry] = say(log, 1)
    (folder / entry.name).unlink()  # as if the process had been killed before
    StatementLog(storage, "tiny", artifacts, signers=[signer]).publish()
    assert problems(verify_log(read_log(folder), [signer.public_key])) == []
    assert len(read_log(folder)) == 1
