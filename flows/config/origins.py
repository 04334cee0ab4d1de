"""Where each value of a configuration comes from: a line of the file, `--set`, the environment, or the default."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from flows.config.data import DATA_FOLDER, FileData, FileSource
from flows.config.ladder import LadderFile
from flows.config.loading import load_file
from flows.config.plain_yaml import lines_of, read_yaml_text
from flows.config.shown import Place

WIDEST = 60
"""Column at which origins start at most."""


def effective_yaml(path: Path, *, overrides: Sequence[str] = ()) -> str:
    """The whole configuration that a file means, as YAML that means the same, with the origin of each value beside it.

    Args:
        path: YAML file.
        overrides: as of `load_config`.

    Raises:
        InputError: naming file, field and mend, if the file is not valid.
    """
    file = load_file(path, overrides=overrides)
    origins = _by_position(_origins(path, overrides), file)
    below = _environment(file)
    lines = list(_lines(file.model_dump(mode="json", by_alias=True), ()))
    width = min(max(len(text) for text, _ in lines), WIDEST)
    said = (
        f"{text:{width}}  # {origins.get(place, 'default')}{below.get(place, '')}" if place else text
        for text, place in lines
    )
    return "\n".join(said) + "\n"


def _origins(path: Path, overrides: Sequence[str]) -> dict[Place, str]:
    """Places that the file or an override names, with what named each last."""
    origins = {place: f"{path}:{line}" for place, line in lines_of(read_yaml_text(path)).items()}
    for override in overrides:
        dotted, _, text = override.partition("=")
        replaced: Place = tuple(dotted.split("."))
        origins = {place: origin for place, origin in origins.items() if place[: len(replaced)] != replaced}
        below = lines_of(text)
        origins |= {(*replaced, *place): f"--set {dotted}" for place in ((), *below)}
    return origins


def _by_position(origins: dict[Place, str], file: LadderFile) -> dict[Place, str]:
    """The same with gates that were changed by name at their positions in the lists that come of it."""
    positions: dict[Place, Place] = {
        ("gates", stage, gate.name): ("gates", stage, position)
        for stage, gates in file.gates
        if isinstance(gates, tuple)
        for position, gate in enumerate(gates)
    }
    return {(*positions.get(place[:3], place[:3]), *place[3:]): origin for place, origin in origins.items()}


def _environment(file: LadderFile) -> dict[Place, str]:
    """What the environment adds to values, by their places."""
    folder = os.environ.get(DATA_FOLDER)
    where = f", below {DATA_FOLDER}={folder}" if folder else f", below {DATA_FOLDER}, which is not set"
    return {
        ("data", table, position, "path"): where
        for table, sources in (file.data if isinstance(file.data, FileData) else ())
        if isinstance(sources, tuple)
        for position, source in enumerate(sources)
        if isinstance(source, FileSource) and not (Path(source.path).is_absolute() or source.begins_here)
    }


def _lines(section: dict[str, Any], place: Place, indent: str = "") -> Iterator[tuple[str, Place]]:
    """Lines of YAML, each with the place of the value that it says; those that open a section say none."""
    for name, value in section.items():
        at = (*place, name)
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:", ()
            yield from _lines(value, at, f"{indent}  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{name}:", ()
            for position, item in enumerate(value):
                (first, origin), *others = _lines(item, (*at, position), f"{indent}    ")
                yield f"{indent}  - {first.lstrip()}", origin
                yield from others
        else:
            yield f"{indent}{name}: {_written(value)}", at


def _written(value: Any) -> str:
    """A value in one line of YAML."""
    style = '"' if isinstance(value, str) and "\n" in value else None
    text: str = yaml.safe_dump(value, default_flow_style=True, default_style=style, allow_unicode=True, width=math.inf)
    return text.strip().removesuffix("\n...")
