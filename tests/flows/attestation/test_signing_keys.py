"""A key is drawn once, for its owner alone, and is found where it is named."""

import os
import stat
from pathlib import Path

import pytest

from flows.attestation.keys import (
    load_key,
    make_key,
    own_key,
    own_key_file,
    pipeline_key,
    pipeline_key_file,
    public_pem,
    read_public_key,
)
from flows.config.errors import InputError


def test_a_key_is_its_owners_alone_and_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key.pem"
    made = make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read_public_key(path.with_suffix(".pub")).keyid == made.public_key.keyid == load_key(path).public_key.keyid
    with pytest.raises(InputError, match="there is a key"):
        make_key(path)
    assert load_key(path).public_key == made.public_key
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["key.pem", "key.pub"]


def test_a_key_that_others_may_read_is_told_of_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_key(tmp_path / "key.pem")
    assert load_key(tmp_path / "key.pem").public_key == made.public_key
    assert capsys.readouterr().out == ""
    (tmp_path / "key.pem").chmod(0o640)
    for _ in range(2):
        assert load_key(tmp_path / "key.pem").public_key == made.public_key
    told = capsys.readouterr().out
    assert told.count("others may read this key; `chmod 600") == 1


NO_KEY = "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"  # pragma: allowlist secret


@pytest.mark.parametrize("text", ["", "no key", NO_KEY])
def test_what_is_no_key_is_told_to_be_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(InputError, match="is no ed25519 key"):
        load_key(path)
    with pytest.raises(InputError, match="no public ed25519 key"):
        read_public_key(path)


def test_a_pipeline_without_a_key_draws_one_in_its_storage(storage: Path) -> None:
    drawn = pipeline_key(storage)
    assert pipeline_key_file(storage).exists()
    assert pipeline_key(storage).public_key == drawn.public_key


def test_a_key_is_named_by_the_environment_before_the_configuration(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured, named = make_key(tmp_path / "a" / "a.pem"), make_key(tmp_path / "b" / "b.pem")
    assert pipeline_key(storage, tmp_path / "a" / "a.pem").public_key == configured.public_key
    monkeypatch.setenv("RLHF_SIGNING_KEY", str(tmp_path / "b" / "b.pem"))
    assert pipeline_key(storage, tmp_path / "a" / "a.pem").public_key == named.public_key
    monkeypatch.setenv("RLHF_SIGNING_KEY", (tmp_path / "a" / "a.pem").read_text())
    assert pipeline_key(storage).public_key == configured.public_key
    assert not pipeline_key_file(storage).exists()
    monkeypatch.setenv("RLHF_SIGNING_KEY", str(tmp_path / "none.pem"))
    with pytest.raises(InputError, match="cannot be read"):
        pipeline_key(storage)


def test_a_person_signs_by_a_key_of_their_own_if_they_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLHF_OWN_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_key() is None
    made = make_key(own_key_file())
    found = own_key()
    assert found is not None and found.public_key == made.public_key
    assert os.path.commonpath([own_key_file(), tmp_path]) == str(tmp_path)
    assert "PUBLIC KEY" in public_pem(made.public_key)
