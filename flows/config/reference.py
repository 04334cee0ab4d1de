"""The page that lists every setting, made from the configuration classes and their JSON schema."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import jinja2
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows.config.ladder import LadderFile
from flows.config.schema import Schema, allowed, file_schema
from flows.config.tree import SectionClass, fields_of, sections_in


class Setting(NamedTuple):
    """A row of the page; its cells are Markdown."""

    name: str
    meaning: str
    unit: str
    default: str
    range: str


class Chapter(NamedTuple):
    """The settings of one configuration class.

    Attributes:
        places: where in a file it may stand.
        source: the file that declares it.
    """

    heading: str
    places: list[str]
    source: str
    meaning: str
    settings: list[Setting]


def settings_page() -> str:
    """The page, in Markdown."""
    schema = file_schema()
    places = _places(LadderFile)
    headings = {section.__name__: _heading(section, places) for section in places}
    chapters = []
    for section, where in places.items():
        part = schema if section is LadderFile else schema["$defs"][section.__name__]
        settings = [_setting(name, field, part, headings) for name, field in fields_of(section).items()]
        source = section.__module__.replace(".", "/") + ".py"
        chapters.append(Chapter(headings[section.__name__], where, source, part["description"], settings))
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)  # noqa: S701 (Markdown)
    template = environment.from_string(Path(__file__).with_name("settings.md").read_text(encoding="utf-8"))
    return template.render(chapters=chapters)


def _places(root: SectionClass) -> dict[SectionClass, list[str]]:
    """Where in a file each section may stand, in the order of the file."""
    found: dict[SectionClass, list[str]] = {root: []}

    def visit(section: SectionClass, place: str) -> None:
        for name, field in fields_of(section).items():
            for inner in sections_in(field.annotation):
                where = f"{place}.{name}".removeprefix(".")
                known = found.setdefault(inner, [])
                if where not in known:
                    known.append(where)
                    visit(inner, where)

    visit(root, "")
    return found


def _heading(section: SectionClass, places: dict[SectionClass, list[str]]) -> str:
    """Where a section first stands, and what tells it from others that may stand there: its tag, else its name."""
    if not places[section]:
        return "The file"
    place = places[section][0]
    tags = [f" (`{name}: {field.default}`)" for name, field in fields_of(section).items() if _is_tag(field)]
    alone = sum(where[:1] == [place] for where in places.values()) == 1
    return f"`{place}`" + ("".join(tags) or ("" if alone else f" ({section.__name__})"))


def _anchor(heading: str) -> str:
    """Of a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _setting(name: str, field: FieldInfo, part: Schema, headings: dict[str, str]) -> Setting:
    node = part["properties"][name]
    cells = (
        node["description"],
        ", ".join(dict.fromkeys(_units(node))),
        "needed" if name in part.get("required", ()) else _default(field.get_default(call_default_factory=True)),
        allowed(node, lambda section: f"[{headings[section]}](#{_anchor(headings[section])})"),
    )
    return Setting(f"`{name}`", *(cell.replace("|", r"\|") for cell in cells))


def _units(node: Schema) -> Iterator[str]:
    """Units of a number, or of the numbers that are listed."""
    if node.get("unit", "none") != "none":
        yield node["unit"]
    for inner in (*node.get("anyOf", ()), *node.get("prefixItems", ()), node.get("additionalProperties")):
        yield from _units(inner) if isinstance(inner, dict) else ()


def _default(value: Any) -> str:
    """A default as a file would say it; of a section, what differs from its own chapter."""
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return ", ".join(f"`{item.name}`" for item in value)
    written = _said(value)
    if written == {} and isinstance(value, BaseModel):
        return "as there"
    text = yaml.safe_dump(written, default_flow_style=True, sort_keys=False, width=math.inf)
    return f"`{text.strip().removesuffix('...').strip()}`"


def _said(value: Any) -> Any:
    """What a file would have to say to mean a value."""
    if not isinstance(value, BaseModel):
        return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    return {
        field.alias or name: _said(getattr(value, name))
        for name, field in type(value).model_fields.items()
        if _is_tag(field) or getattr(value, name) != field.get_default(call_default_factory=True)
    }


def _is_tag(field: FieldInfo) -> bool:
    """Whether a field tells a section from the others of a union."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
