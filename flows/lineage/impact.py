"""Impact of data or of a version: everything that it went into."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from flows.lineage.archive import Archive
from flows.lineage.data_names import DataBook
from flows.lineage.graph import Graph, Version
from flows.lineage.story import SHORT, when
from flows.registry.lookup import DATASET, names_version
from flows.registry.withdrawals import DataName


def render(archive: Archive, source: str) -> Group:
    """Every version that something went into, those that hold an alias first, with when and why it was withdrawn.

    Args:
        archive: the registry.
        source: `dataset:` and the start of a digest; `source:`, `annotator:` or `group:` and a name, or the name alone;
            or a version.

    Raises:
        InputError: if it names nothing, or several things.
    """
    graph = archive.everything()
    name, ways = _ways(archive, graph, source)
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("version", "alias", "gates", "registered", "by way of"):
        table.add_column(column, overflow="fold")
    for version, nodes in ways:
        way = " → ".join(_named(graph, step) for step in nodes)
        gates = version.gates.get("status", "")
        aliases = ", ".join(version.aliases)
        table.add_row(version.label, f"[cyan]{escape(aliases)}[/cyan]", gates, when(version.created), way or "directly")
    aliased = sum(bool(version.aliases) for version, _ in ways)
    summary = f"{name} went into {len(ways)} of {len(graph.versions)} versions, {aliased} of which hold an alias"
    withdrawn = {said: None for version, _ in ways for said in version.withdrawn.values()}
    return Group(escape(summary), *([table] if ways else []), *(escape(f"trained on {said}") for said in withdrawn))


def _ways(archive: Archive, graph: Graph, source: str) -> tuple[str, list[tuple[Version, list[str]]]]:
    """What a person names, in words, and the versions that it went into with the way to each."""
    if source.startswith(DATASET) or names_version(source):
        node = find(archive, graph, source)
        name = f"{graph.names[node]} {node}" if node.startswith(DATASET) else node
        return name, [(version, graph.path(node, version.label)[1:-1]) for version in graph.after(node)]
    book = DataBook(archive)
    data = book.find(source)
    nodes = sorted({DATASET + digest for digest in book.digests(data)} & set(graph.nodes))
    ways = [(version, _shortest(graph, nodes, version)) for version in book.versions(graph, data)]
    return _called(data, source), ways


def _called(data: DataName, source: str) -> str:
    return f"{data.kind} {source.removeprefix(f'{data.kind}:')}"


def _shortest(graph: Graph, nodes: list[str], version: Version) -> list[str]:
    """The shortest way to a version from the first of some datasets that it has one from."""
    return min(_paths(graph, nodes, version), key=len)[:-1]


def _paths(graph: Graph, nodes: list[str], version: Version) -> Iterator[list[str]]:
    for node in nodes:
        if version in graph.after(node):
            yield graph.path(node, version.label)


def _named(graph: Graph, node: str) -> str:
    """A step on the way: a version, or a dataset by its name and the start of its digest."""
    return f"{graph.names[node]} {node.removeprefix(DATASET)[:SHORT]}" if node.startswith(DATASET) else node


def find(archive: Archive, graph: Graph, source: str) -> str:
    """The node that a person names, as `render` says."""
    if source.startswith(DATASET):
        return graph.find_dataset(source.removeprefix(DATASET))
    return archive.find(source).label
