"""Impact of a dataset or a version: everything that it went into."""

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from flows.lineage.archive import Archive
from flows.lineage.graph import Graph
from flows.lineage.story import SHORT, when
from flows.registry.lookup import DATASET


def render(archive: Archive, source: str) -> Group:
    """Every version that something went into, those that hold an alias first.

    Args:
        archive: the registry.
        source: `dataset:` and the start of a digest, or a version.

    Raises:
        InputError: if it names nothing, or several datasets.
    """
    graph = archive.everything()
    node = find(archive, graph, source)
    versions = graph.after(node)
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("version", "alias", "gates", "registered", "by way of"):
        table.add_column(column, overflow="fold")
    for version in versions:
        way = " → ".join(_named(graph, step) for step in graph.path(node, version.label)[1:-1])
        gates = version.gates.get("status", "")
        aliases = ", ".join(version.aliases)
        table.add_row(version.label, f"[cyan]{escape(aliases)}[/cyan]", gates, when(version.created), way or "directly")
    name = f"{graph.names[node]} {node}" if node.startswith(DATASET) else node
    aliased = sum(bool(version.aliases) for version in versions)
    summary = f"{name} went into {len(versions)} of {len(graph.versions)} versions, {aliased} of which hold an alias"
    return Group(escape(summary), *([table] if versions else []))


def _named(graph: Graph, node: str) -> str:
    """A step on the way: a version, or a dataset by its name and the start of its digest."""
    return f"{graph.names[node]} {node.removeprefix(DATASET)[:SHORT]}" if node.startswith(DATASET) else node


def find(archive: Archive, graph: Graph, source: str) -> str:
    """The node that a person names, as `render` says."""
    if source.startswith(DATASET):
        return graph.find_dataset(source.removeprefix(DATASET))
    return archive.find(source).label
