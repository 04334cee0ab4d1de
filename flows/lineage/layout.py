"""Layout of a directed acyclic graph on a page: in layers, with few crossings (Sugiyama et al., 1981)."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

SWEEPS = 4


Waypoint = tuple[str, str, int]
"""Where an edge, from and to a node, passes a layer that it only crosses."""

LaneItem = str | Waypoint


class Layout(NamedTuple):
    """Where everything lies.

    Attributes:
        places: layer and position within it, by node; positions count in rows from the top and may lie between two.
        ways: the same for every layer that an edge passes, its ends included, by edge.
        rows: rows of the largest layer.
    """

    places: dict[str, tuple[int, float]]
    ways: dict[tuple[str, str], list[tuple[int, float]]]
    layers: int
    rows: int


def lay_out(order: Sequence[str], edges: Iterable[tuple[str, str]]) -> Layout:
    """Lay nodes out in layers, so that every edge leads to a later one and those with nothing before them wait.

    Args:
        order: the nodes, each after all that lead to it.
        edges: pairs of nodes.
    """
    edges = sorted(edges)
    layer = _layers(order, edges)
    layers: list[list[LaneItem]] = [[] for _ in range(max(layer.values()) + 1)]
    for node in order:
        layers[layer[node]].append(node)
    ways: dict[tuple[str, str], list[tuple[int, LaneItem]]] = {}
    for start, end in edges:
        between = range(layer[start] + 1, layer[end])
        crossed: list[tuple[int, LaneItem]] = [(step, (start, end, step)) for step in between]
        for step, waypoint in crossed:
            layers[step].append(waypoint)
        ways[start, end] = [(layer[start], start), *crossed, (layer[end], end)]
    _uncross(layers, [[item for _, item in way] for way in ways.values()])
    rows = max(map(len, layers))
    row = {item: index + (rows - len(items)) / 2 for items in layers for index, item in enumerate(items)}
    return Layout(
        places={node: (layer[node], row[node]) for node in order},
        ways={edge: [(step, row[item]) for step, item in way] for edge, way in ways.items()},
        layers=len(layers),
        rows=rows,
    )


def _layers(order: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The layer of each node: just after the last that leads to it, or just before the first that needs it."""
    layer = dict.fromkeys(order, 0)
    for node in order:
        layer[node] = max((layer[start] + 1 for start, end in edges if end == node), default=0)
    led_to = {end for _, end in edges}
    for node in order:
        if node not in led_to:
            layer[node] = min((layer[end] - 1 for start, end in edges if start == node), default=0)
    return layer


def _uncross(layers: list[list[LaneItem]], ways: Sequence[Sequence[LaneItem]]) -> None:
    """Sort each layer by the mean place of its neighbours in the one before, then in the one after, a few times."""
    before: dict[LaneItem, list[LaneItem]] = {}
    after: dict[LaneItem, list[LaneItem]] = {}
    for way in ways:
        for start, end in pairwise(way):
            before.setdefault(end, []).append(start)
            after.setdefault(start, []).append(end)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        neighbours = before if forward else after
        for items in layers if forward else reversed(layers):
            index = {item: (row + 0.5) / len(layer) for layer in layers for row, item in enumerate(layer)}
            means = {item: _mean([index[near] for near in neighbours.get(item, [item])]) for item in items}
            items.sort(key=means.__getitem__)


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
