"""YAML in which no mapping names a key twice; PyYAML itself lets the last one win without a word."""

from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from flows.config.errors import InputError

Place = tuple[str | int, ...]
"""Keys and positions that lead to a value of a document."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """Looks at keys as they are written, before merge keys (`<<`) bring in others that they may replace."""

    def compose_mapping_node(self, anchor: dict[Any, Node]) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key in (key for key, _ in node.value if isinstance(key, ScalarNode)):
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise InputError(f"key '{key.value}' stands twice, in lines {lines[name]} and {line}; keep one")
            lines[name] = line
        return node


def load_yaml(text: str) -> Any:
    """The one document of a text, in YAML's safe subset.

    Raises:
        InputError: naming key and both lines, if a mapping of any depth names a key twice.
        YAMLError: if it is no YAML.
    """
    return yaml.load(text, Loader=_UniqueKeyLoader)


def lines_of(text: str) -> dict[Place, int]:
    """The line of each key and list item, by its place; of what a merge key brings in, where that is written.

    Raises:
        InputError, YAMLError: as of `load_yaml`.
    """
    loader = _UniqueKeyLoader(text)
    lines: dict[Place, int] = {}

    def visit(node: Node, place: Place) -> None:
        parts: list[tuple[Node, str | int, Node]] = []
        if isinstance(node, MappingNode):
            loader.flatten_mapping(node)
            parts = [(key, key.value, value) for key, value in node.value if isinstance(key, ScalarNode)]
        elif isinstance(node, SequenceNode):
            parts = [(item, position, item) for position, item in enumerate(node.value)]
        for start, name, value in parts:
            lines[*place, name] = start.start_mark.line + 1
            visit(value, (*place, name))

    if (root := loader.get_single_node()) is not None:
        visit(root, ())
    return lines
