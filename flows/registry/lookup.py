"""Names that people type, looked up before anything heavy is imported: MLflow's local database is read as it lies.

What is there is looked at again by those who use it; what is a server is asked by them alone.
"""

import contextlib
import difflib
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from flows.config.errors import InputError
from flows.config.ladder import PROJECT
from flows.registry.names import CHALLENGER, project_of_model

SQLITE = "sqlite:///"

NAMED = re.compile(r"(?:models:/)?(?P<name>[^/@\s]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[^/@\s]+))")

DATASET = "dataset:"
"""Begins the name of a dataset, before its digest."""

DATA_KINDS = ("source", "annotator", "group", "dataset")
"""What data may be named by, before a colon."""

UNNAMED = "unnamed"
"""Stands for the project of a folder, or of a model of the hub."""


class VersionName(NamedTuple):
    """A version as people name it: by its number, or by an alias."""

    name: str
    version: str | None
    alias: str | None


def parse_version(model: str) -> VersionName:
    """What `name/version` or `name@alias`, with or without `models:/`, names.

    Raises:
        InputError: if it is neither.
    """
    match = NAMED.fullmatch(model)
    if match is None:
        raise InputError(f"{model} names no version; write name/version or name@alias")
    return VersionName(**match.groupdict())


def project_of_version(model: str) -> str:
    """The project that a model or a version is of, by its name; of one that no ladder names so, a stand-in."""
    project = project_of_model(re.split("[/@]", model.removeprefix("models:/"))[0]) or ""
    return project if re.fullmatch(PROJECT, project) else UNNAMED


def named_version(model: str) -> str:
    """A version as it is named, or the challenger of a registered model."""
    return model if "/" in model or "@" in model else f"{model}@{CHALLENGER}"


def require_project(project: str, model: str) -> None:
    """See that a model or a version is of a project.

    Raises:
        InputError: if its name says that it is not.
    """
    if project_of_model(re.split("[/@]", model.removeprefix("models:/"))[0]) != project:
        raise InputError(f"{model} is no model of project {project}; name its configuration by --config")


def require_version(model: str) -> None:
    """See that a local registry has a version.

    Raises:
        InputError: if it is written as none, or the registry that the environment names is local and has no such one.
    """
    name, version, alias = parse_version(model)
    with _local_registry(f"{model} is not in the registry") as database:
        if database is None:
            return
        versions = [number for (number,) in database.execute(_VERSIONS, (name,))]
        aliases = dict(database.execute("SELECT alias, version FROM registered_model_aliases WHERE name = ?", (name,)))
        if not versions:
            raise _unknown(model, name, database)
        if alias is not None and alias not in aliases:
            known = f"it has {', '.join(sorted(aliases))}" if aliases else "it has none"
            if alias == CHALLENGER:
                known += f"; versions get it whose gates passed, others go by number, as {name}/{max(versions)}"
            raise InputError(f"{name} has no alias '{alias}'; {known}")
        if version is not None and int(version) not in versions:
            raise InputError(f"{model} is not in the registry; the newest version of {name} is {max(versions)}")


def require_registered(models: Iterable[tuple[str, str]]) -> None:
    """See that a local registry has the versions that a configuration names.

    Args:
        models: fields, and the versions that stand there.

    Raises:
        InputError: naming the first field of which `require_version` says that it has no such one.
    """
    for field, model in models:
        try:
            require_version(model)
        except InputError as error:
            raise InputError(f"field '{field}': {error}") from None


def require_model(name: str) -> None:
    """See that a local registry has a registered model.

    Raises:
        InputError: if the name is that of a version, or the registry that the environment names is local and has no
            such one.
    """
    if NAMED.fullmatch(name):
        raise InputError(f"{name} is a version; name the registered model, {parse_version(name).name}")
    with _local_registry(f"{name} is not in the registry") as database:
        if database is not None and not list(database.execute(_VERSIONS, (name,))):
            raise _unknown(name, name, database)


def require_dataset(source: str) -> None:
    """See that a dataset whose digest starts as `dataset:` is followed by went into a version of a local registry.

    Raises:
        InputError: if it is no start of a digest, or the registry that the environment names is local and has none.
    """
    prefix = source.removeprefix(DATASET)
    if not re.fullmatch("[0-9a-f]+", prefix):
        raise InputError(f"{source}: is no start of a digest, which has the signs 0 to 9 and a to f")
    with _local_registry(f"{source} is not in the registry") as database:
        query = "SELECT 1 FROM model_version_tags WHERE key LIKE 'dataset.%' AND value LIKE ? LIMIT 1"
        if database is not None and not list(database.execute(query, (f"%:{prefix}%",))):
            raise InputError(f"{source}: starts no digest that a version names")


def names_version(text: str) -> bool:
    """Whether a person names a version, and no data."""
    return text.partition(":")[0] not in DATA_KINDS and NAMED.fullmatch(text) is not None


def require_named(text: str) -> None:
    """See that a local registry has the dataset or the version that a person names, or anything to name data of.

    Raises:
        InputError: as `require_dataset`, `require_version` and `require_registry`.
    """
    if text.startswith(DATASET):
        require_dataset(text)
    elif names_version(text):
        require_version(text)
    else:
        require_registry()


def require_registry() -> None:
    """See that anything was registered at all, where the registry is local.

    Raises:
        InputError: if there is no database yet.
    """
    with _local_registry("nothing is registered"):
        pass


_VERSIONS = "SELECT version FROM model_versions WHERE name = ? AND current_stage != 'Deleted_Internal'"


@contextmanager
def _local_registry(missing: str) -> Iterator[sqlite3.Connection | None]:
    """The database of a local registry, read only; None where a server has it, or an older MLflow made it."""
    uri = os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI") or ""
    if not uri.startswith(SQLITE):
        yield None
        return
    path = Path(uri.removeprefix(SQLITE))
    if not path.is_file():
        raise InputError(f"{missing}: there is no {path} yet; climb first with `rlhf run`")
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        try:
            database.execute("SELECT 1 FROM model_versions, registered_model_aliases LIMIT 1")
        except sqlite3.DatabaseError:  # MLflow says what is wrong, or migrates it
            yield None
        else:
            yield database


def _unknown(model: str, name: str, database: sqlite3.Connection) -> InputError:
    names = sorted(known for (known,) in database.execute("SELECT name FROM registered_models"))
    close = difflib.get_close_matches(name, names, n=1)
    others = f"it has {', '.join(names)}" if names else "it has no model yet"
    return InputError(f"{model} is not in the registry; {f'did you mean {close[0]}?' if close else others}")
