"""Loading of configuration files: YAML and --set become a validated configuration; errors name field and mend."""

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from flows.config.errors import InputError
from flows.config.ladder import IngestConfig, LadderConfig, LadderFile
from flows.config.tree import SectionClass, fields_of, sections_in
from flows.config.unique_keys import load_yaml

Config = TypeVar("Config", bound=IngestConfig)

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
        raise InputError("\n".join(f"{path}: {_explain(item)}" for item in error.errors())) from None
    if endless := _not_finite(config.model_dump(by_alias=True)):
        raise InputError(f"{path}: field '{endless}' is not a finite number; change it")
    return config.model_copy(update={"storage": _absolute(config.storage, path)})


def _not_finite(part: Any, place: str = "") -> str | None:
    """Where in a configuration the first NaN or infinity stands."""
    if isinstance(part, float):
        return None if math.isfinite(part) else place
    named = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list | tuple) else ()
    found = (_not_finite(item, f"{place}.{name}".removeprefix(".")) for name, item in named)
    return next((where for where in found if where), None)


def _absolute(storage: Path, path: Path) -> Path:
    """The storage folder as MLflow and Prefect are told of it; SQLAlchemy ends the path of a database at a `?`."""
    try:
        absolute = storage.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: field 'storage': {str(storage)!r} is no folder ({error}); name another") from None
    if signs := sorted({sign for sign in str(absolute) if sign == "?" or not sign.isprintable()}):
        raise InputError(
            f"{path}: field 'storage': {str(absolute)!r} holds {', '.join(map(repr, signs))}, which the address of a "
            "database cannot; name a folder without"
        )
    return absolute


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a YAML file") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}: is not valid YAML{line}: {error.problem}; mend it there") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: must be a mapping of fields such as `project: my-ladder`")
    return document


def _override(document: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"--set {override}: write it as field.name=value")
    *parents, leaf = dotted.split(".")
    node = document
    for name in parents:
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            raise InputError(f"--set {override}: {name} is not a section")
    try:
        node[leaf] = load_yaml(text)
    except InputError as error:
        raise InputError(f"--set {override}: {error}") from None
    except yaml.YAMLError:
        raise InputError(f"--set {override}: '{text}' is not valid YAML; quote it") from None


def _explain(item: Any) -> str:
    """One sentence per mistake: the field as it is written in the file, what is wrong, how to mend it."""
    loc: tuple[int | str, ...] = item["loc"]
    unknown = item["type"] == "extra_forbidden"
    section, written = _locate(loc[:-1] if unknown else loc)
    field = ".".join([*written, str(loc[-1])] if unknown else written)
    if unknown:
        fields = sorted(fields_of(section))
        close = difflib.get_close_matches(str(loc[-1]), fields, n=1)
        mend = f"did you mean '{close[0]}'?" if close else f"remove it; known fields here: {', '.join(fields)}"
        return f"field '{field}' is unknown; {mend}"
    if item["type"] == "missing":
        return f"field '{field}' is missing; add it"
    message = str(item["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    if not field:
        return message
    value = f" (now {item['input']!r})" if isinstance(item["input"], str | int | float | None) else ""
    mend = "" if item["type"] == "value_error" else "; change it"
    return f"field '{field}': {message}{value}{mend}"


def _locate(loc: tuple[int | str, ...]) -> tuple[SectionClass, list[str]]:
    """The section at pydantic's location, and the location as written, without the tags of discriminated unions."""
    options: list[SectionClass] = [LadderFile]
    section, written = options[0], []
    for part in loc:
        owner = next((model for model in options if part in fields_of(model)), None)
        if isinstance(part, str) and owner is not None:
            options = sections_in(fields_of(owner)[part].annotation)
        elif part == "[key]":  # of a mapping, whose key is the part before
            continue
        elif isinstance(part, str) and options:
            options = [model for model in options if part in _tags(model)] or options
            section = options[0]
            continue
        section = options[0] if options else section
        written.append(str(part))
    return section, written


def _tags(model: SectionClass) -> list[str]:
    """By what a member of a discriminated union is told from the others."""
    return [str(model.model_fields[name].default) for name in ("kind", "method", "by") if name in model.model_fields]
