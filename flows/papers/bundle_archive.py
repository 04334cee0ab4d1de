"""A bundle read as an archive: runs and versions as they were recorded, without any server."""

import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.protos.model_registry_pb2 import ModelVersion as VersionMessage
from mlflow.protos.service_pb2 import Run as RunMessage

from flows.attestation.log import LogEntry, read_entry
from flows.attestation.store import STATEMENTS
from flows.config.errors import InputError
from flows.lineage.archive import Archive, version_of
from flows.lineage.graph import Graph, Version
from flows.lineage.training_record import Training, read_training
from flows.papers.bundle import RUN, RUNS, VERSIONS
from flows.registry.names import PARENT_RUN_TAG, STAGE_PREFIX, STAGE_TAG

MOST = 4 * 1024**3
"""Bytes that a bundle may take once it is unpacked."""


def read_bundle(path: Path) -> dict[str, bytes]:
    """The files of a bundle by their names.

    Raises:
        InputError: if it cannot be read as one.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            entries = bundle.infolist()
            if sum(entry.file_size for entry in entries) > MOST:
                raise InputError(
                    f"{path}: would unpack to more than {MOST // 1024**3} GiB; this is no bundle of evidence"
                )
            if len({entry.filename for entry in entries}) < len(entries):
                raise InputError(f"{path}: holds two files of one name; ask for another bundle")
            return {entry.filename: bundle.read(entry) for entry in entries}
    except (OSError, EOFError, RuntimeError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as a bundle of evidence ({error}); ask for it again") from None


class BundleArchive(Archive):
    """What an audit reads of a registry, taken from the files of a bundle.

    Args:
        files: by name.

    Raises:
        InputError: if what it says of a run or a version cannot be read.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.contents = files
        self.recorded = {run.info.run_id: run for run in self._messages(RUNS, _run)}
        self.registered: list[ModelVersion] = list(self._messages(VERSIONS, _version))

    def _messages(self, folder: str, read: Any) -> Iterator[Any]:
        for name, content in self.contents.items():
            parts = PurePosixPath(name).parts
            if parts[:1] == (folder,) and (folder == VERSIONS or parts[2:] == (RUN,)):
                try:
                    yield read(json.loads(content))
                except (ParseError, TypeError, ValueError, AttributeError):
                    raise InputError(
                        f"{name} of the bundle says nothing of a run or a version; ask for it again"
                    ) from None

    @property
    def graph(self) -> Graph:
        """The versions and what went into them."""
        aliases = {f"{each.name}/{each.version}": list(each.aliases or ()) for each in self.registered}
        found = (version_of(each, aliases[f"{each.name}/{each.version}"]) for each in self.registered)
        return Graph(version for version in found if version is not None)

    def log(self, project: str) -> list[LogEntry]:
        """The statements of a project."""
        start = f"{STATEMENTS}/{project}/"
        named = {name.removeprefix(start): content for name, content in self.contents.items() if name.startswith(start)}
        return [read_entry(name, content) for name, content in sorted(named.items())]

    @property
    def projects(self) -> list[str]:
        """Projects of whose log it has a copy."""
        logs = (PurePosixPath(name).parts for name in self.contents)
        return sorted({parts[1] for parts in logs if parts[0] == STATEMENTS and len(parts) == 3})

    def training(self, run_id: str) -> Training | None:
        """What a run recorded; None if the bundle lacks it."""
        run = self.recorded.get(run_id)
        return None if run is None else read_training(run, "", self._reports(run))

    def metrics(self, run_id: str, prefix: str, model_id: str | None) -> dict[str, dict[str, list[float]]]:
        """The last values of the metrics of a run whose names have a prefix; the bundle has no curves."""
        latest = self.recorded[run_id].data.metrics
        return {"its page": {name: [value] for name, value in latest.items() if name.startswith(prefix)}}

    def judged(self, version: Version, stage: str) -> list[Run]:
        """Runs of the pipeline that stood on a version of a stage, the oldest first."""
        tag = f"{STAGE_PREFIX}{stage}"
        runs = [run for run in self.recorded.values() if version.label in run.data.tags.get(tag, "").split(", ")]
        return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))

    def tags(self, run_id: str) -> dict[str, str]:
        """Tags of a run; none where the bundle lacks it."""
        run = self.recorded.get(run_id)
        return {} if run is None else dict(run.data.tags)

    def children(self, run: Run, stage: str) -> list[Run]:
        """Runs below a run that say they are a stage."""
        asked = {PARENT_RUN_TAG: run.info.run_id, STAGE_TAG: stage}
        return [each for each in self.recorded.values() if asked.items() <= each.data.tags.items()]

    @contextmanager
    def file(self, run_id: str, path: str) -> Iterator[Path | None]:
        """A copy of a file of a run, while the context lasts; None if the bundle lacks it."""
        content = self.contents.get(f"{RUNS}/{run_id}/{path}")
        with tempfile.TemporaryDirectory() as folder:
            if content is None:
                yield None
                return
            copy = Path(folder) / PurePosixPath(path).name
            copy.write_bytes(content)
            yield copy


def _run(document: Any) -> Run:
    return Run.from_proto(ParseDict(document, RunMessage()))


def _version(document: Any) -> ModelVersion:
    return ModelVersion.from_proto(ParseDict(document, VersionMessage()))
