"""A new project: what `rlhf init` writes into its folder."""

import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from data_contracts.records import COLUMNS
from flows.config.errors import InputError
from flows.config.folders import make_folder
from flows.config.ladder import PROJECT
from flows.config.schema import file_schema
from flows.deploy.scaffold.sizes import Sizes, fit
from flows.deploy.scaffold.sources import DataSource, from_folder, read_source, tables_of, to_be_written
from rlhf_core.models.model_files import check_files

HUB = re.compile(r"(?P<model>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?")

EXAMPLES = "flows.configs"
"""Where the configurations lie that come with this project."""

ALWAYS = {
    ".github/workflows/configuration.yaml": "workflow.yaml.jinja",
    ".gitignore": "gitignore.jinja",
    "README.md": "README.md.jinja",
    "requirements.txt": "requirements.txt.jinja",
    "rewards.py": "rewards.py.jinja",
}


class NewProject(NamedTuple):
    """What was written.

    Attributes:
        files: their names, in the project's folder.
        sources: what the data were taken for; none where an example was taken.
        sizes: what was chosen for them, None for an example.
    """

    folder: Path
    files: list[str]
    sources: list[DataSource]
    sizes: Sizes | None


def start_project(folder: Path, data: Sequence[Path], model: str) -> NewProject:
    """Write the folder of a project on a team's own data and model.

    Args:
        folder: made unless it is there; its name is the project's.
        data: files, folders or globs.
        model: a folder that `from_pretrained` reads, a `.gguf` file, or owner/name of the hub, with @revision or not.

    Raises:
        InputError: before anything is written, if the name is none, a file is in the way, or data or model cannot be
            read.
    """
    project = _project(folder)
    base, local = _base(model, folder)
    sources = [read_source(path, folder) for path in data]
    names = {source.path: f"source{number}" for number, source in enumerate(sources, start=1)}
    sizes, tables, missing = fit(sources, local), tables_of(sources), to_be_written(sources)
    values = {
        "project": project,
        "base": base,
        "missing": missing,
        "sizes": sizes,
        "sources": sources,
        "tables": {kind: [(names[source.path], source.settings) for source in tables[kind]] for kind in COLUMNS},
        "imitates_pairs": not any(source.gives("demonstrations") for source in tables["demonstrations"]),
        "several_annotators": any(source.votes for source in tables["preferences"]),
    }
    texts = {"ladder.yaml": _rendered("ladder.yaml.jinja", values), **_always(values)}
    if missing:
        texts["formats.py"] = _rendered("formats.py.jinja", values)
    return NewProject(folder, _write(folder, texts), sources, sizes)


def start_from_example(folder: Path, name: str) -> NewProject:
    """Write the folder of a project whose configuration is one that comes with this one.

    Args:
        folder: made unless it is there; its name is the project's.
        name: of the example, such as `embedded`.

    Raises:
        InputError: before anything is written, if there is no such example, or as of `start_project`.
    """
    project, known = _project(folder), examples()
    if name not in known:
        raise InputError(f"--like {name}: there is no such example; there are {', '.join(known)}")
    text = files(EXAMPLES).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    text = SCHEMA_LINE + "\n" + re.sub(r"^project: .*$", f"project: {project}", text, flags=re.MULTILINE)
    values = {"project": project, "missing": [], "sources": []}
    return NewProject(folder, _write(folder, {"ladder.yaml": text, **_always(values)}), [], None)


def examples() -> list[str]:
    """Names of the configurations that come with this project."""
    return sorted(path.name.removesuffix(".yaml") for path in files(EXAMPLES).iterdir() if path.name.endswith(".yaml"))


SCHEMA_LINE = "# yaml-language-server: $schema=./ladder.schema.json"
"""By which editors find what completes and checks a configuration."""


def _project(folder: Path) -> str:
    name = folder.resolve().name
    if not re.fullmatch(PROJECT, name):
        better = re.sub(r"[^a-z0-9]+", "-", name.lower())[:100].strip("-") or "my-assistant"
        raise InputError(
            f"{name!r} cannot be the name of a project: write {better}, up to 100 small letters, digits and hyphens"
        )
    return name


def _base(model: str, folder: Path) -> tuple[dict[str, str], Path | None]:
    """The base as the configuration names it, and where it lies on this machine."""
    path = Path(model)
    if path.is_dir():
        _check_model(path)
        return {"kind": "folder", "path": from_folder(path, folder)}, path
    if path.suffix == ".gguf" and path.is_file():
        return {"kind": "gguf", "path": from_folder(path.parent, folder), "file": path.name}, None
    hub = HUB.fullmatch(model)
    if hub is None or path.exists():
        raise InputError(
            f"--model {model}: is no folder here; name one that `save_pretrained` wrote, a .gguf file, or owner/name "
            "of the hub"
        )
    return {"kind": "hub", "model": hub["model"], "revision": hub["revision"] or "main"}, None


def _check_model(folder: Path) -> None:
    try:
        check_files(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"--model {' '.join(str(error).split())}") from None


def _flow(value: Any) -> str:
    """A value as YAML in one line."""
    listed = yaml.safe_dump([value], sort_keys=False, default_flow_style=True, allow_unicode=True, width=10_000)
    return listed.strip()[1:-1]


def _always(values: dict[str, Any]) -> dict[str, str]:
    schema = json.dumps(file_schema(), indent=1, ensure_ascii=False) + "\n"
    return {"ladder.schema.json": schema, **{name: _rendered(template, values) for name, template in ALWAYS.items()}}


def _rendered(template: str, values: dict[str, Any]) -> str:
    environment = Environment(  # noqa: S701 (YAML, Python and Markdown)
        loader=PackageLoader("flows.deploy.scaffold"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["flow"] = _flow
    environment.globals.update(version=version("rlhf-ladder"), schema_line=SCHEMA_LINE)
    return environment.get_template(template).render(values)


def _write(folder: Path, texts: dict[str, str]) -> list[str]:
    """Write all files or none."""
    if there := [name for name in texts if (folder / name).exists()]:
        raise InputError(f"{folder} has {', '.join(there)} already: name another folder, or move what is there")
    make_folder(folder)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return sorted(texts)
