"""YAML as configurations are written in it: plain values, no key twice, and little that a few lines may grow to.

PyYAML itself lets the last of equal keys win without a word, repeats what anchors name however often, and recurses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from flows.config.errors import InputError
from flows.config.shown import Place, bare, cut

MOST_BYTES = 200_000
"""Of a text; the longest configuration that is shipped has 3,000."""

MOST_VALUES = 20_000
"""Of a document, where what an anchor names counts as often as it is repeated."""

DEEPEST = 40
"""Levels of a document; settings have a dozen."""

STANDARD = "tag:yaml.org,2002:"

TAGS = {f"{STANDARD}{name}" for name in ("null", "bool", "int", "float", "str", "timestamp", "merge", "seq", "map")}

MERGE = f"{STANDARD}merge"
"""Tag of a `<<`."""

RESERVED = f"{STANDARD}value"
"""Tag of a lone `=`."""


class _PlainLoader(yaml.SafeLoader):
    """Refuses while nodes are composed, before anything is made of them and of the merge keys (`<<`) in them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0
        self._values: dict[int, int] = {}  # by the identity of a node, which the tree keeps

    def compose_node(self, parent: Node | None, index: Any) -> Node:
        line: int = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        repeats = self.check_event(yaml.AliasEvent)
        self._level += 1
        if self._level > DEEPEST:
            raise _refused(line, f"nested more than {DEEPEST} levels deep, where no setting lies; close the brackets")
        node = super().compose_node(parent, index)
        assert node is not None
        self._level -= 1
        if node.tag not in TAGS:
            what = cut(node.value) if node.tag == RESERVED else cut(node.tag.replace(STANDARD, "!!"))
            raise _refused(
                line, f"{what} stands for more than a plain value; put it in quotation marks, or leave it out"
            )
        if repeats and id(node) not in self._values:
            raise _refused(line, "an anchor (&) is repeated by * inside of itself, without end; write it out")
        if self._values.setdefault(id(node), self._count(node)) > MOST_VALUES:
            raise _refused(line, f"holds more than {MOST_VALUES:,} values, counting what * repeats of &; write fewer")
        return node

    def _count(self, node: Node) -> int:
        """Values of a node, itself included."""
        if not isinstance(node, SequenceNode | MappingNode):
            return 1
        parts = chain.from_iterable(node.value) if isinstance(node, MappingNode) else node.value
        return 1 + sum(self._values[id(part)] for part in parts)

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        self._refuse_equal(node.value)
        return node

    def flatten_mapping(self, node: MappingNode) -> None:
        super().flatten_mapping(node)
        self._refuse_equal(node.value, merged=True)

    def _refuse_equal(self, parts: list[tuple[Node, Node]], *, merged: bool = False) -> None:
        """Refuse keys of which Python would keep one, such as `1`, `yes` and `1.0`.

        Args:
            parts: keys and values of a mapping.
            merged: whether what merge keys brought in is among them, which a key of the same kind replaces.
        """
        seen: dict[Any, ScalarNode] = {}
        for key in (key for key, _ in parts if isinstance(key, ScalarNode)):
            other = seen.setdefault(MERGE if key.tag == MERGE else self.construct_object(key), key)
            if other is key or (merged and other.tag == key.tag):
                continue
            lines = f"in lines {other.start_mark.line + 1} and {key.start_mark.line + 1}"
            if (other.tag, other.value) == (key.tag, key.value):
                raise InputError(f"key {cut(key.value)} stands twice, {lines}; keep one")
            raise InputError(
                f"keys {cut(other.value)} and {cut(key.value)}, {lines}, are one value without quotation marks; put "
                "what is a text in quotation marks, or keep one"
            )

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, OverflowError):  # such as the 30th of February
            kind = node.tag.removeprefix(STANDARD)
            raise _refused(
                node.start_mark.line + 1,
                f"{cut(node.value)} is written like a value of type {kind} and is none; mend it, or put it in "
                "quotation marks",
            ) from None


def _refused(line: int, reason: str) -> InputError:
    return InputError(f"is not valid YAML at line {line}: {reason}")


def load_yaml(text: str) -> Any:
    """The one document of a text, of plain values.

    Raises:
        InputError: naming line and mend, if it is no YAML, or holds what no configuration does.
    """
    with _in_words(text):
        return yaml.load(text, Loader=_PlainLoader)


def read_yaml_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: if it cannot be read, is no text in UTF-8, or is too long to be a configuration.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(f"has more than {MOST_BYTES // 1000} kB, and no configuration has; name the YAML file")
        return content.decode()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); give the path of a YAML file") from None
    except ValueError as error:
        if not isinstance(error, UnicodeDecodeError):
            raise InputError("cannot be read (the path holds a NUL); give the path of a YAML file") from None
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused(line, f"byte {content[error.start]:#04x} is not UTF-8; save the file as UTF-8") from None


@contextmanager
def _in_words(text: str) -> Iterator[None]:
    """Tell what PyYAML says of a text in one line."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = bare(" ".join(str(error.problem).split()))
        raise _refused(mark.line + 1 if mark else 1, f"{problem}; mend it there") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _refused(line, f"character {error.character:#06x} cannot stand in it; remove it") from None


def lines_of(text: str) -> dict[Place, int]:
    """The line of each key and list item, by its place; of what a merge key brings in, where that is written.

    Raises:
        InputError: as of `load_yaml`.
    """
    loader = _PlainLoader(text)
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

    with _in_words(text):
        if (root := loader.get_single_node()) is not None:
            visit(root, ())
    return lines
