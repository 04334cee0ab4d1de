"""Papers of toys on a real registry: a model card, a bill of materials, and a bundle that anyone verifies."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import ModelCard
from mlflow import MlflowClient
from securesystemslib.signer import CryptoSigner

from flows.attestation.keys import load_key, pipeline_key_file
from flows.attestation.statement import JUDGEMENT, seal, unseal
from flows.config.errors import InputError
from flows.lineage.archive import Archive
from flows.lineage.finding import DOUBTS
from flows.lineage.proof import prove
from flows.papers.bill import bill_of_materials
from flows.papers.bundle import BILL, CARD, COVER, MANIFEST, write_bundle
from flows.papers.bundle_archive import read_bundle
from flows.papers.card import dataset_card, model_card
from flows.papers.cover import cover_page
from flows.papers.dossier import Dossier, read_dossier
from flows.papers.limits import limits
from flows.papers.signing import sign_model
from flows.papers.verification import verify_bundle
from flows.registry.client import open_registry
from flows.registry.names import RATERS_RECORD, STAGE_PREFIX, STAGE_TAG
from flows.registry.references import ModelRef
from flows.registry.statements import conclude, holds_versions, state, version_subject
from flows.registry.withdrawals import DataName, Withdrawal, withdraw
from rlhf_core.gates.gate import Gate, judge
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.raters import LIKES_LENGTH, RANDOM, RaterFigures
from tests.conftest import ROOT
from tests.flows.toys import Toys
from tests.forked import RLHF

HOSTILE = "<img src=x onerror=alert(1)>|[a](b)`c"

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("papers")


@pytest.fixture(autouse=True)
def registry_of_the_module(shelf: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage != shelf  # the test's own storage is set first, and replaced here
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shelf / 'mlflow.db'}")


@pytest.fixture(scope="module")
def made() -> list[tuple[Toys, ModelRef]]:
    return []


@pytest.fixture
def toys(made: list[tuple[Toys, ModelRef]], shelf: Path) -> Toys:
    """A project whose SFT model was made from a table, and whose run came to its end."""
    if not made:
        toys = Toys("paper", shelf)
        table = toys.table("demonstrations", "first").model_copy(update={"sources": (HOSTILE, "b.jsonl")})
        base = toys.stage("base", "first")
        sft = toys.stage("sft", "first", {"base": base}, {"training": table})
        conclude(toys.registry, toys.registry, toys.context.run_id, "ladder", "FINISHED")
        made.append((toys, sft))
    return made[0][0]


@pytest.fixture
def archive(toys: Toys) -> Archive:
    return Archive(MlflowClient())


@pytest.fixture
def dossier(archive: Archive) -> Dossier:
    return read_dossier(archive, "paper-sft/1")


@pytest.fixture
def signer(toys: Toys, shelf: Path) -> CryptoSigner:
    return load_key(pipeline_key_file(shelf))


@pytest.fixture
def bundle(archive: Archive, dossier: Dossier, signer: CryptoSigner, tmp_path: Path) -> Path:
    out = tmp_path / "bundle.zip"
    write_bundle(archive, dossier, out, signer=signer)
    return out


def judged(dossier: Dossier, **figures: Estimate) -> Dossier:
    """The same with gates on figures."""
    gates = [
        Gate(name=f"on-{name}", metric=name, direction="above", threshold=0.5, failure="bad", reason="Made up.")
        for name in (*figures, "never_measured")
    ]
    subject = dossier.subject._replace(figures=figures, verdicts=tuple(judge(gates, figures)))
    return dossier._replace(versions=(*dossier.versions[:-1], subject))


def test_a_card_is_what_the_hub_reads(dossier: Dossier, tmp_path: Path) -> None:
    figures = {"held_out_loss": Estimate(0.6, 0.55, 0.65, 300), "eos_rate": Estimate(0.51, 0.4, 0.6, 90)}
    path = tmp_path / "README.md"
    path.write_text(model_card(judged(dossier, **figures)).content)
    card = ModelCard.load(path)
    assert card.data.pipeline_tag == "text-generation"
    [loss, _] = card.data.eval_results
    assert (loss.metric_type, loss.metric_value, loss.dataset_name) == ("held_out_loss", 0.6, "demonstrations")
    assert loss.metric_args == {"interval": "95 %", "lower": 0.55, "upper": 0.65, "samples": 300}
    assert "Gate on-never_measured abstained" in card.text
    assert "of 3 records 1 were set aside (too_odd 1)" in card.text.replace("\\", "")
    assert "<img" not in card.text
    assert "licence: not stated" in card.text


def test_a_person_has_the_last_word_on_a_card(dossier: Dossier, tmp_path: Path) -> None:
    words = tmp_path / "words.md"
    words.write_text("---\nlicense: cc-by-4.0\nlanguage: en\n---\nFor the help desk only.\n")
    card = model_card(dossier, words)
    assert (card.data.license, card.data.language) == ("cc-by-4.0", "en")
    assert "For the help desk only." in card.text
    words.write_text("---\na: [\n---\nwords")
    with pytest.raises(InputError, match=r"field 'model_card\.words'"):
        model_card(dossier, words)
    with pytest.raises(InputError, match="cannot be read"):
        model_card(dossier, tmp_path / "none.md")


def test_limits_tell_what_gates_could_not(dossier: Dossier) -> None:
    said = "\n".join(limits(judged(dossier, close=Estimate(0.7, 0.505, 0.9, 120), bad=Estimate(0.4, 0.3, 0.45, 120))))
    assert "Gate on-bad failed" in said
    assert "Gate on-never_measured abstained" in said
    assert "Gate on-close passed closely: " in said
    assert "not measured by them" in said
    assert "No gate has judged it." in limits(dossier)


def test_what_people_write_stays_text_on_the_cover(dossier: Dossier) -> None:
    page = cover_page(dossier, "<script>alert(1)</script> *ours*")
    assert "<script>" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; *ours*" in page
    assert "<img" not in page


def test_a_bill_meets_the_schema_and_is_the_same_each_time(dossier: Dossier) -> None:
    bill = bill_of_materials(dossier)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    assert bill == bill_of_materials(dossier)
    subject = bill["metadata"]["component"]
    weights = hashlib.sha256(b"first").hexdigest()
    [file] = [part for part in subject["components"] if part["name"] == "weights"]
    assert file["hashes"] == [{"alg": "SHA-256", "content": weights}]
    [needs] = [item["dependsOn"] for item in bill["dependencies"] if item["ref"] == "model:paper-sft/1"]
    digest = dossier.datasets[0].use.digest
    assert {"model:paper-base/1", f"dataset:{digest}"} < {*needs}
    assert any(need.startswith("pkg:pypi/torch@") for need in needs)


def test_the_same_evidence_is_the_same_bytes_and_replaces_the_file_whole(
    archive: Archive, dossier: Dossier, signer: CryptoSigner, bundle: Path, tmp_path: Path
) -> None:
    first = bundle.read_bytes()
    write_bundle(archive, dossier, bundle, signer=signer)
    assert bundle.read_bytes() == first
    with pytest.raises(InputError):
        write_bundle(archive, dossier, bundle, words=tmp_path / "none.md", signer=signer)
    assert bundle.read_bytes() == first
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def doubts(files: Mapping[str, bytes], *signers: CryptoSigner) -> set[tuple[str, str]]:
    findings = verify_bundle(files, [signer.public_key for signer in signers])
    return {(finding.status, finding.what) for finding in findings if finding.status in DOUBTS}


def test_a_bundle_holds(bundle: Path, signer: CryptoSigner) -> None:
    files = read_bundle(bundle)
    assert {COVER, CARD, BILL, MANIFEST} < {*files}
    assert doubts(files, signer) == set()


def test_a_bundle_without_rows_has_no_texts_and_holds(
    archive: Archive, dossier: Dossier, signer: CryptoSigner, bundle: Path, tmp_path: Path
) -> None:
    write_bundle(archive, dossier, tmp_path / "bare.zip", signer=signer, rows=False)
    whole, bare = read_bundle(bundle), read_bundle(tmp_path / "bare.zip")
    left = {name.rpartition("/")[2] for name in whole.keys() - bare.keys()}
    assert left == {"samples.json"}, "toys keep no rows"
    assert unseal(bare[MANIFEST])[0].predicate["rows"] == "left out"
    assert doubts(bare, signer) == set()


@pytest.mark.parametrize("ended", [False, True])
def test_the_run_of_a_climb_that_was_killed_is_doubted_no_more_than_by_an_audit(
    ended: bool, shelf: Path, tmp_path: Path
) -> None:
    project = f"killed-{ended}".lower()
    toys = Toys(project, shelf)
    sft = toys.stage("sft", "first", {"base": toys.stage("base", "first")})
    run_id = toys.context.run_id
    toys.registry.tag_run(run_id, {STAGE_TAG: "ladder", f"{STAGE_PREFIX}sft": sft.label})
    state(
        toys.registry, JUDGEMENT, [version_subject(sft)], {"run": run_id}, holds_versions(toys.registry, [sft], "tags")
    )
    if ended:
        toys.registry.client.set_terminated(run_id)
    archive, key = Archive(MlflowClient()), load_key(pipeline_key_file(shelf))
    write_bundle(archive, read_dossier(archive, sft.label), tmp_path / "bundle.zip", signer=key)
    found = prove(archive, [archive.find(sft.label)], [key.public_key])
    audited = {(finding.status, finding.what) for finding in found if finding.status in DOUBTS}
    assert audited == ({("unsigned", "statement")} if ended else set())
    found_again = doubts(read_bundle(tmp_path / "bundle.zip"), key) - {("missing", "verdicts")}  # toys keep none
    assert found_again == ({("unsigned", "record")} if ended else set())


def named(files: Files, end: str) -> str:
    return next(name for name in sorted(files) if name.endswith(end) and name.startswith("runs/"))


def estimates_altered(files: Files) -> None:
    name = next(name for name in files if name.endswith("/estimates.json") and b"temperature" in files[name])
    files[name] = files[name].replace(b"1.25", b"2.25")


def tag_of_a_version_altered(files: Files) -> None:
    name = "versions/paper-sft/1.json"
    files[name] = files[name].replace(b"rlhf.key", b"rlhf.kez")


def parameter_of_a_run_altered(files: Files) -> None:
    for name in [name for name in files if name.endswith("/run.json")]:
        files[name] = files[name].replace(b'"sft.text"', b'"sft.test"')


def statement_removed(files: Files) -> None:
    del files[next(name for name in sorted(files) if name.startswith("statements/"))]


def file_removed(files: Files) -> None:
    del files[named(files, "/identity.json")]


def file_added(files: Files) -> None:
    files["more.txt"] = b"more"


def cover_altered(files: Files) -> None:
    files[COVER] += b" "


def alias_added(files: Files) -> None:
    name = "versions/paper-sft/1.json"
    files[name] = json.dumps({**json.loads(files[name]), "aliases": ["champion"]}).encode()


TAMPERS: dict[Callable[[Files], None], tuple[str, str]] = {
    estimates_altered: ("altered", "files"),
    tag_of_a_version_altered: ("altered", "version"),
    parameter_of_a_run_altered: ("altered", "record"),
    statement_removed: ("missing", "statements"),
    file_removed: ("missing", "identity.json"),
    file_added: ("altered", "more.txt"),
    cover_altered: ("altered", COVER),
    alias_added: ("altered", "alias"),
}


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda tamper: tamper.__name__)
def test_what_is_done_to_a_bundle_shows(tamper: Callable[[Files], None], bundle: Path, signer: CryptoSigner) -> None:
    files = read_bundle(bundle)
    tamper(files)
    found = doubts(files, signer)
    status, what = TAMPERS[tamper]
    assert any(kind == status and said.rpartition("/")[2].startswith(what) for kind, said in found) or (
        tamper is statement_removed and any(kind == "missing" for kind, _ in found)
    )
    manifest, _ = unseal(files[MANIFEST])
    listed = [
        subject.model_copy(update={"digest": {"sha256": hashlib.sha256(files[subject.name]).hexdigest()}})
        for subject in manifest.subjects
        if subject.name in files
    ]
    forged = manifest.model_copy(update={"subjects": tuple(listed)})
    files[MANIFEST] = seal(forged, [CryptoSigner.generate_ed25519()])
    assert ("unsigned", MANIFEST) in doubts(files, signer), "a list that someone else signed proves nothing"


def test_a_key_of_someone_else_proves_nothing(bundle: Path) -> None:
    found = doubts(read_bundle(bundle), CryptoSigner.generate_ed25519())
    assert ("unsigned", MANIFEST) in found
    assert ("unsigned", "version") in found


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 half"])
def test_what_is_no_bundle_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read as a bundle of evidence"):
        read_bundle(path)


def rater(kappa: float, **more: Any) -> RaterFigures:
    return RaterFigures(labels=50, shared=40, kappa=Estimate(kappa, kappa - 0.1, kappa + 0.1, 40), **more)


RATERS = {
    "Ada Smith": rater(0.7, accuracy=0.9),
    "Bob Jones": rater(0.5, accuracy=0.8, verdicts=(LIKES_LENGTH,)),
    "Carl Doe": rater(0.01, accuracy=0.5, verdicts=(RANDOM,), left_out=RANDOM),
}


@pytest.fixture
def withdrawn(shelf: Path) -> tuple[Dossier, Withdrawal]:
    """A reward model on pairs of three raters, of which rows were withdrawn before, and others after."""
    toys = Toys(f"rated-{len([*shelf.glob('ingests/*')])}", shelf)
    kept = open_registry(f"{toys.context.project}-withdrawals", shelf)
    name = DataName("source", "week-2.csv")
    gone = withdraw(kept, toys.context.project, name, why="labels were flipped", by="ada@desk")
    table = toys.table("preferences", toys.context.project)
    path = Path(table.report) / "counts.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "left_out": {f"withdrawn: {gone.subject}": 12}}))
    toys.registry.client.log_dict(
        toys.context.run_id, {name: each.model_dump(mode="json") for name, each in RATERS.items()}, RATERS_RECORD
    )
    ref = toys.stage("reward-model", "rated", {"sft": toys.stage("base", "rated")}, {"training": table})
    toys.registry.tag_versions([ref], {"withdrawn.abc": "annotator Eve, withdrawn 2026-11-30 10:00 UTC by ada: asked"})
    return read_dossier(Archive(MlflowClient()), ref.label), gone


def test_cards_tell_of_withdrawn_rows_and_of_raters_without_names(
    withdrawn: tuple[Dossier, Withdrawal], tmp_path: Path
) -> None:
    dossier, gone = withdrawn
    card = model_card(dossier).content.replace("\\", "")
    assert f"- 12 rows were left out: source week-2.csv, withdrawn {gone.when:%Y-%m-%d %H:%M} UTC by ada@desk: " in card
    assert "labels were flipped" in card
    assert "- 3 raters gave 150 labels under a name" in card
    assert "(Cohen's kappa): 0.01 to 0.70, median 0.50 over 3 raters" in card
    assert f"- verdict '{LIKES_LENGTH}' on 1 of them" in card
    assert f"- 1 of them and their 50 labels left out: {RANDOM}" in card
    assert limits(dossier)[0].endswith("withdrawn: annotator Eve, withdrawn 2026-11-30 10:00 UTC by ada: asked.")
    page = cover_page(dossier)
    assert "12 rows were left out" in page and "3 raters gave 150 labels" in page
    assert "12 rows were left out" in dataset_card(dossier.datasets[0])
    assert dossier.subject.training is not None
    for out, rows in ((tmp_path / "whole.zip", True), (tmp_path / "bare.zip", False)):
        write_bundle(Archive(MlflowClient()), dossier, out, rows=rows)
        texts = {name: content for name, content in read_bundle(out).items() if b"Ada Smith" in content}
        assert [*texts] == ([f"runs/{dossier.subject.training.ladder_run}/{RATERS_RECORD}"] if rows else [])
        assert f"runs/{gone.id}/run.json" in read_bundle(out)


@pytest.mark.slow
def test_a_stranger_verifies_it_with_a_key_and_without_any_server(bundle: Path, shelf: Path, tmp_path: Path) -> None:
    key = pipeline_key_file(shelf).with_suffix(".pub")
    hidden = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")
    environment = {name: text for name, text in os.environ.items() if name not in hidden} | {"PYTHONPATH": str(ROOT)}
    with zipfile.ZipFile(bundle) as whole, zipfile.ZipFile(tmp_path / "half.zip", "w") as half:
        for name in whole.namelist()[:-1]:
            half.writestr(name, whole.read(name))
    for path, code, said in ((bundle, 0, "0 missing"), (tmp_path / "half.zip", 1, "is not in the bundle")):
        command = [sys.executable, RLHF, "evidence", "verify", path, "--key", key]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert said in done.stdout
    assert not (tmp_path / ".rlhf").exists()


def test_sigstores_own_tool_verifies_a_signed_model(toys: Toys, shelf: Path, tmp_path: Path) -> None:
    pytest.importorskip("model_signing")
    signed = sign_model(toys.registry, toys.registry.reference("paper-sft", "1"), tmp_path / "model.sig")
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    verify = [sys.executable, "-m", "model_signing", "verify", "key"]
    proof = ["--signature", tmp_path / "model.sig", "--public_key", signed.public]

    def said(folder: Path) -> int:
        return subprocess.run([*verify, folder, *proof], cwd=tmp_path, env=environment, check=False).returncode

    assert said(signed.folder) == 0
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in signed.folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes() + b" ")
    assert said(copy) == 1
    assert signed.public.with_suffix(".pem").stat().st_mode & 0o077 == 0
