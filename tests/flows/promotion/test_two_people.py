"""Two people sign for a champion, or say why it was promoted, before anything starts from it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.attestation.keys import make_key, public_pem
from flows.attestation.statement import KEYS, Subject
from flows.attestation.verification import verify_log
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.lineage.archive import Archive
from flows.lineage.proof import prove
from flows.pipeline.reuse import require_startable
from flows.promotion.approval import approve
from flows.promotion.history import history
from flows.promotion.outbox import Outbox
from flows.promotion.promote import earlier_champion, promote, propose, roll_back
from flows.promotion.reconcile import detect
from flows.promotion.wanted import Wanted
from flows.registry.approvals import people_for, require_person
from flows.registry.client import Registry
from flows.registry.names import APPROVED_TAG, CHAMPION, HELD_TAG, REASON_TAG
from flows.registry.references import ModelRef
from flows.registry.statements import log_of, state

Register = Callable[..., ModelRef]
Be = Callable[..., None]
MODEL = "desk-reward-model"


@pytest.fixture(autouse=True)
def no_key_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RLHF_OWN_KEY", raising=False)


@pytest.fixture
def be(desk: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Be:
    """Be a person, whose key the pipeline introduces; `known_as` is another name that it goes by."""

    def become(name: str, known_as: str | None = None, *, introduced: bool = True) -> None:
        path = tmp_path / "people" / f"{name}.pem"
        if not path.exists():
            key = make_key(path).public_key
            if introduced:
                subject = Subject(name=name, digest={"sha256": key.keyid})
                state(desk, KEYS, [subject], {"introduces": {known_as or name: public_pem(key)}}, {})
        monkeypatch.setenv("RLHF_OWN_KEY", str(path))

    return become


@pytest.fixture
def version(register: Register) -> ModelRef:
    return register(MODEL, gate_status="passed")


@pytest.fixture
def look(desk: Registry, tmp_path: Path) -> Callable[[Wanted], str]:
    """Let the receiver look; what it holds against the newest promotion, or its status."""
    outbox = Outbox(tmp_path / "receiver" / "ledger.db")

    def looked(wanted: Wanted) -> str:
        detect(desk.client, outbox, desk.storage, None, wanted)
        newest = outbox.last(MODEL)
        assert newest is not None
        return newest.reason or newest.status

    return looked


def two_people(desk: Registry) -> LadderConfig:
    return LadderConfig.model_validate(
        {"project": "desk", "storage": desk.storage, "promotion": {"two_people": True}, "gates": {"mode": "advisory"}}
    )


def audited(desk: Registry) -> list[str]:
    """What an audit says of who signed for the champion."""
    keys = [signer.public_key for signer in log_of(desk).signers]
    findings = prove(Archive(desk.client), None, keys, two_people=True)
    return [f"{each.status}: {each.detail}" for each in findings if each.of == f"alias {MODEL}@{CHAMPION}"]


def test_nothing_starts_from_a_champion_until_another_person_signs(
    desk: Registry, version: ModelRef, be: Be, look: Callable[[Wanted], str]
) -> None:
    be("Ada")
    promote(desk, propose(desk, version.label), by="ada@desk")
    only = f"only Ada signed for it: somebody else must type `rlhf approve {version.label}`"
    assert look(Wanted(two_people=True)) == only
    assert desk.client.get_model_version(MODEL, version.version).tags[HELD_TAG] == only
    with pytest.raises(InputError, match=f"^{version.label}: only Ada signed"):
        require_startable(version, desk, two_people(desk))
    assert f"unsigned: {version.label}: Ada signed for it by a key of their own" in audited(desk)
    approve(desk, version, by="ada@desk", why="")  # who signs twice is one person all the same
    assert look(Wanted(two_people=True)) == only
    be("Bob")
    assert approve(desk, version, by="bob@desk", why="looked at fifty answers") == ["Ada", "Bob"]
    assert look(Wanted(two_people=True)) == "open"
    require_startable(version, desk, two_people(desk))
    assert audited(desk) == [f"holds: {version.label}: Ada, Bob signed for it by a key of their own"]
    assert desk.client.get_model_version(MODEL, version.version).tags[APPROVED_TAG] == "Ada, Bob"
    newest = history(desk, MODEL, with_approvals=True)[0]
    assert (newest.how, newest.by, newest.why) == ("rlhf approve", "bob@desk", "looked at fifty answers")
    desk.take_alias([version], CHAMPION)


def test_a_tag_or_another_key_of_the_same_person_is_no_second_signature(
    desk: Registry, version: ModelRef, be: Be
) -> None:
    be("Ada")
    approve(desk, version, by="ada@desk", why="")
    desk.client.set_model_version_tag(MODEL, version.version, APPROVED_TAG, "Ada, Bob")
    assert people_for(desk, version) == ["Ada"]
    be("second key", known_as="Ada")
    approve(desk, version, by="ada@desk", why="")
    assert people_for(desk, version) == ["Ada"]


def test_who_has_no_key_or_one_that_nobody_introduced_cannot_sign(desk: Registry, version: ModelRef, be: Be) -> None:
    with pytest.raises(InputError, match="needs a key of their own"):
        require_person(desk)
    be("Mallory", introduced=False)
    with pytest.raises(InputError, match="is nobody's yet"):
        approve(desk, version, by="mallory@desk", why="")
    assert people_for(desk, version) == []


def test_a_person_introduces_nobody(desk: Registry, be: Be, tmp_path: Path) -> None:
    be("Ada")
    ada, double = (make_key(tmp_path / "keys" / f"{name}.pem") for name in ("ada", "double"))
    log = log_of(desk)
    subject = Subject(name="key", digest={"sha256": ada.public_key.keyid})
    log.append(KEYS, [subject], {"introduces": {"Eve": public_pem(ada.public_key)}})
    forger = type(log)(tmp_path / "other", "desk", (desk.storage / "artifacts").as_uri(), signers=[ada])
    forger.append(KEYS, [subject], {"introduces": {"Bob": public_pem(double.public_key)}})
    verified = verify_log(log.read(), [signer.public_key for signer in log.signers])
    assert verified.people[ada.public_key.keyid] == "Eve"
    assert double.public_key.keyid not in verified.keys


def test_an_approval_of_other_files_counts_for_nothing(desk: Registry, version: ModelRef, be: Be) -> None:
    be("Ada")
    approve(desk, version, by="ada@desk", why="")
    assert people_for(desk, version.model_copy(update={"digest": "0" * 64})) == []


def test_going_back_counts_those_who_signed_then(desk: Registry, register: Register, be: Be) -> None:
    first, second = (register("desk-value", gate_status="passed") for _ in range(2))
    for person, ref in (("Ada", first), ("Bob", second)):
        be(person)
        promote(desk, propose(desk, ref.label), by=person)
        approve(desk, ref, by=person, why="")
    be("Bob")
    assert earlier_champion(desk, "desk-value") == first  # which approvals are no moves of
    roll_back(desk, first, past=second, by="bob@desk")
    assert people_for(desk, first) == ["Ada", "Bob"]


@pytest.fixture
def promoted_in_mlflow(desk: Registry, version: ModelRef, look: Callable[[Wanted], str]) -> ModelRef:
    desk.set_alias(version, CHAMPION)
    assert look(Wanted(reason_minutes=10)).startswith("it waits until ")
    return version


def test_a_promotion_in_mlflow_is_passed_on_once_a_reason_is_given_in_time(
    desk: Registry, promoted_in_mlflow: ModelRef, look: Callable[[Wanted], str]
) -> None:
    desk.client.set_model_version_tag(MODEL, promoted_in_mlflow.version, REASON_TAG, "the best of the week")
    assert look(Wanted(reason_minutes=10)) == "open"
    assert history(desk, MODEL)[0].why == "the best of the week"
    keys = [signer.public_key for signer in log_of(desk).signers]
    run = history(desk, MODEL)[0].run_id
    assert [each for each in prove(Archive(desk.client), None, keys) if each.of == f"run {run}"] == []
    other = desk.reference(MODEL, "1")
    desk.set_alias(other, CHAMPION)
    look(Wanted())
    desk.set_alias(promoted_in_mlflow, CHAMPION)  # once more, with the reason of the time before
    assert look(Wanted(reason_minutes=10)).startswith("it waits until ")
    desk.take_alias([promoted_in_mlflow], CHAMPION)


def test_without_a_reason_in_time_it_is_held_until_a_person_signs_one(
    desk: Registry,
    promoted_in_mlflow: ModelRef,
    look: Callable[[Wanted], str],
    be: Be,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = promoted_in_mlflow
    later = datetime.now(UTC) + timedelta(minutes=11)
    monkeypatch.setattr("flows.promotion.wanted.datetime", Later(later))
    desk.client.set_model_version_tag(MODEL, version.version, REASON_TAG, "too late")
    assert f"sign one by `rlhf approve {version.label} --why`" in look(Wanted(reason_minutes=10))
    be("Ada")
    approve(desk, version, by="ada@desk", why="the best of the week")
    assert look(Wanted(reason_minutes=10)) == "open"
    desk.take_alias([version], CHAMPION)


class Later:
    """A clock that tells a later time."""

    def __init__(self, time: datetime) -> None:
        self.time = time

    def now(self, _: object) -> datetime:
        return self.time

    fromisoformat = staticmethod(datetime.fromisoformat)
