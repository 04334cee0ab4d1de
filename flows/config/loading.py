"""Loading of configuration files: YAML and --set become a validated configuration; errors name field and mend."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from flows.config.errors import InputError
from flows.config.folders import see_folder
from flows.config.ladder import IngestConfig, LadderConfig, LadderFile
from flows.config.misread import misread
from flows.config.mistakes import explain
from flows.config.plain_yaml import load_yaml, read_yaml_text
from flows.config.shown import bare, dotted, said

Config = TypeVar("Config", bound=IngestConfig)

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

OWN_CONFIG = Path("ladder.yaml")
"""What a command reads where no configuration is named, in the working folder."""


def load_config(path: Path, *, overrides: Sequence[str] = ()) -> LadderConfig:
    """Read and validate the configuration of a climb.

    Args:
        path: YAML file.
        overrides: `dotted.field=value` pairs that replace values of the file; values are YAML.

    Returns:
        The configuration, with `storage` made absolute.

    Raises:
        InputError: naming file, field and mend.
    """
    return load_file(path, overrides=overrides).climb


def load_own_config(path: Path | None, *, project: str | None, overrides: Sequence[str] = ()) -> LadderConfig:
    """Read the configuration that is named, else `ladder.yaml` of the working folder, else take the defaults.

    For commands to which a configuration only says where the registry is and how models are asked.

    Args:
        path: None where none is named.
        project: the one whose defaults are taken; None where a configuration must be there to name it.
        overrides: as of `load_config`.

    Raises:
        InputError: as of `load_config`.
    """
    if path is not None or OWN_CONFIG.exists():
        return load_config(path or OWN_CONFIG, overrides=overrides)
    if project is None:
        raise InputError(f"there is no {OWN_CONFIG} here to say which project is meant: name one by --config")
    document: dict[str, Any] = {"project": project}
    for override in overrides:
        _override(document, override)
    return _validated(LadderFile, OWN_CONFIG, document).climb


def load_file(path: Path, *, overrides: Sequence[str] = ()) -> LadderFile:
    """Read and validate a configuration file with its part on deployments; as `load_config`."""
    return _validated(LadderFile, path, _read(path, overrides))


def load_ingest_config(path: Path, *, overrides: Sequence[str] = ()) -> IngestConfig:
    """Read and validate what ingestion needs of a configuration, which may be that of a climb; as `load_config`."""
    document = _read(path, overrides)
    of_climbs = set(LadderFile.model_fields) - set(IngestConfig.model_fields)
    return _validated(IngestConfig, path, {name: part for name, part in document.items() if name not in of_climbs})


def _read(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    document = _read_yaml(path)
    for override in overrides:
        _override(document, override)
    return document


def _validated(model: type[Config], path: Path, document: dict[str, Any]) -> Config:
    try:
        config = model.model_validate(document)
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {explain(item)}" for item in error.errors())) from None
    storage = _absolute(config.storage, path)
    if wrong := list(misread(document, config.model_dump(by_alias=True))):
        raise InputError("\n".join(f"{path}: field '{dotted(place)}' {why}" for place, why in wrong))
    return config.model_copy(update={"storage": storage})


_DEEPEST = Path("x" * 140, "x" * 140)
"""As long a name as any that is made in a storage."""


def _absolute(storage: Path, path: Path) -> Path:
    """The storage folder as MLflow and Prefect are told of it; SQLAlchemy ends the path of a database at a `?`."""
    if URL.match(str(storage)):
        raise InputError(
            f"{path}: field 'storage': {bare(str(storage))} is no folder, but an address; name a folder of this "
            "machine, and servers by MLFLOW_TRACKING_URI and PREFECT_API_URL"
        )
    try:
        absolute = storage.expanduser().resolve()
        see_folder(absolute)
        with suppress(FileNotFoundError, PermissionError):
            (absolute / _DEEPEST).stat()
    except InputError as error:
        raise InputError(f"{path}: field 'storage': {error}") from None
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: field 'storage': {str(storage)[:80]!r} is no folder ({why}); name another") from None
    if signs := sorted({sign for sign in str(absolute) if sign == "?" or not sign.isprintable()}):
        raise InputError(
            f"{path}: field 'storage': {str(absolute)!r} holds {', '.join(map(repr, signs))}, which the address of a "
            "database cannot; name a folder without"
        )
    return absolute


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = load_yaml(read_yaml_text(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise InputError(
            f"{path}: must be a mapping of fields (now {said(document)}); write such as `project: my-ladder`"
        )
    return document


def _override(document: dict[str, Any], override: str) -> None:
    field, equals, text = override.partition("=")
    *parents, leaf = field.split(".")
    if not equals or not all((*parents, leaf)):
        raise InputError(f"--set {bare(override)}: write it as field.name=value")
    node: Any = document
    for name in parents:
        if node.get(name) is None:
            node[name] = {}
        node = node[name]
        if not isinstance(node, dict):
            raise InputError(f"--set {bare(override)}: {name} is not a section, but {said(node)}; replace it as one")
    try:
        node[leaf] = load_yaml(text)
    except InputError as error:
        raise InputError(f"--set {bare(override)}: {error}") from None
