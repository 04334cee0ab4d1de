"""The bundle of evidence: all papers of a version and what they rest on, in one file that anyone can verify."""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from mlflow.exceptions import MlflowException
from securesystemslib.signer import CryptoSigner

from flows.attestation.keys import public_pem
from flows.attestation.statement import FOLDER, Statement, Subject, seal
from flows.attestation.store import STATEMENTS, LogStore, log_address
from flows.lineage.archive import Archive
from flows.outages import gave_up
from flows.papers.bill import bill_of_materials
from flows.papers.card import dataset_card, model_card, words_of
from flows.papers.cover import cover_page
from flows.papers.dossier import Dossier
from flows.registry.names import EVIDENCE, RATERS_RECORD, STATEMENT

COVER, CARD, BILL, KEY, MANIFEST = "index.html", "README.md", "bom.cdx.json", "pipeline.pub", "manifest.json"

RUN, RUNS, VERSIONS, DATASETS = "run.json", "runs", "versions", "datasets"

CONTENTS = "urn:rlhf-ladder:evidence:v1"
"""Predicate of the manifest: which version the files of a bundle are the evidence of."""

OFTEN_READ = (".json", ".parquet")
"""What is taken of the files of a run; pictures, pages and quarantined rows stay where they are."""

UNPROVING = ("docs", "figures")
"""Folders of runs that no proof rests on."""

OF_TEXTS = (EVIDENCE, "samples.json")
"""Parts of runs that hold what people and models wrote, where texts are kept; the names of raters go with them."""

KEPT, LEFT_OUT = "kept", "left out"
"""What a manifest says of the held-out rows."""

DAWN = (1980, 1, 1, 0, 0, 0)
"""Time of every file of a bundle, so that the same evidence is the same bytes."""


def write_bundle(
    archive: Archive,
    dossier: Dossier,
    out: Path,
    *,
    words: Path | None = None,
    signer: CryptoSigner | None = None,
    rows: bool = True,
) -> list[str]:
    """Gather everything and write it, whole or not at all.

    Args:
        archive: where all of it is.
        dossier: of the version.
        out: the file, which is replaced if it is there.
        words: a person's Markdown for the model card.
        signer: who signs the list of its files; None leaves it unsigned.
        rows: whether the held-out rows behind the figures go along, or only their digests.

    Returns:
        Names of the files in it.

    Raises:
        InputError: if the person's words cannot be read.
    """
    files = dict(_papers(dossier, words)) | dict(_records(archive, dossier, rows=rows))
    if signer is not None:
        files[KEY] = public_pem(signer.public_key).encode()
    files[MANIFEST] = seal(_manifest(dossier, files, rows=rows), [] if signer is None else [signer])
    with tempfile.NamedTemporaryFile(dir=out.absolute().parent, prefix=f".{out.name}.", delete=False) as draft:
        try:
            _pack(files, Path(draft.name))
            draft.flush()
            os.fsync(draft.fileno())
            os.chmod(draft.name, 0o644)
            os.replace(draft.name, out)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise
    return sorted(files)


def _papers(dossier: Dossier, words: Path | None) -> Iterator[tuple[str, bytes]]:
    """What is made for people and tools to read."""
    yield COVER, cover_page(dossier, words_of(words)).encode()
    yield CARD, model_card(dossier, words).content.encode()
    yield BILL, _json(bill_of_materials(dossier))
    for each in dossier.datasets:
        yield f"{DATASETS}/{each.use.name}-{each.use.digest[:12]}.md", dataset_card(each).encode()


def _records(archive: Archive, dossier: Dossier, *, rows: bool) -> Iterator[tuple[str, bytes]]:
    """What the papers rest on: versions and runs as MLflow has them, their files, and the statements about them."""
    for each in dossier.versions:
        registered = archive.client.get_model_version(each.version.name, each.version.version)
        yield f"{VERSIONS}/{each.version.label}.json", _message(registered.to_proto())
    experiments = set()
    for run_id in dossier.runs:
        run = archive.client.get_run(run_id)
        experiments.add(run.info.experiment_id)
        yield f"{RUNS}/{run_id}/{RUN}", _message(run.to_proto())
        for path in _listed(archive, run_id, rows=rows):
            with archive.file(run_id, path) as file:
                if file is not None:
                    yield f"{RUNS}/{run_id}/{path}", file.read_bytes()
    for experiment_id in sorted(experiments):
        experiment = archive.client.get_experiment(experiment_id)
        with LogStore(log_address(experiment.artifact_location, experiment.name)).copied() as folder:
            for file in sorted(folder.iterdir()):
                yield f"{STATEMENTS}/{experiment.name}/{file.name}", file.read_bytes()


def _listed(archive: Archive, run_id: str, *, rows: bool, below: str = "") -> Iterator[str]:
    """Paths of the files of a run that go along."""
    try:
        items = archive.client.list_artifacts(run_id, below or None)
    except (MlflowException, OSError) as error:
        if gave_up(error):
            raise
        return
    for item in items:
        top, _, _ = item.path.partition("/")
        if item.path == STATEMENT or ((top in OF_TEXTS or item.path == RATERS_RECORD) and not rows):
            continue
        if item.is_dir and item.path.rpartition("/")[2] not in UNPROVING:
            yield from _listed(archive, run_id, rows=rows, below=item.path)
        elif item.path.endswith(OFTEN_READ):
            yield item.path


def _manifest(dossier: Dossier, files: Mapping[str, bytes], *, rows: bool) -> Statement:
    """A statement of all files by their digests, for whom they are the evidence of."""
    root = dossier.story.root
    subjects = [
        Subject(name=name, digest={"sha256": hashlib.sha256(files[name]).hexdigest()}) for name in sorted(files)
    ]
    predicate = {"version": root.label, "digest": {FOLDER: root.digest}, "rows": KEPT if rows else LEFT_OUT}
    return Statement(subjects=tuple(subjects), kind=CONTENTS, predicate=predicate)


def _pack(files: Mapping[str, bytes], path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, DAWN)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, files[name])


def _message(message: Message) -> bytes:
    return _json(MessageToDict(message, preserving_proto_field_name=True))


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()
