"""YAML in which no mapping names a key twice; PyYAML itself lets the last one win without a word."""

from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from flows.config.errors import InputError


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
