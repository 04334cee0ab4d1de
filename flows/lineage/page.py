"""Lineage of a version as one page of HTML: the graph, with links to MLflow and Prefect."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import jinja2
import mlflow
from markupsafe import Markup

from flows.config.redaction import redact
from flows.lineage.graph import Version
from flows.lineage.layout import Layout, lay_out
from flows.lineage.story import SHORT, Story, facts, gates_by_status
from flows.lineage.training_record import DatasetUse
from flows.registry.lookup import DATASET
from flows.report import templates

CARD_WIDTH, CARD_HEIGHT = 264, 132

GAP_ACROSS, GAP_DOWN = 96, 26

MARGIN = 24


Role = tuple[str, str, str]
"""What went in, what came out, and as what."""


class Servers(NamedTuple):
    """Where the pages of MLflow and Prefect are, such as `http://127.0.0.1:5000`."""

    mlflow: str
    prefect: str

    def version(self, version: Version) -> str:
        """MLflow's page on a version."""
        return f"{self.mlflow}/#/models/{quote(version.name)}/versions/{version.version}"

    def run(self, experiment_id: str, run_id: str) -> str:
        """MLflow's page on a run."""
        return f"{self.mlflow}/#/experiments/{experiment_id}/runs/{run_id}"

    def flow_run(self, flow_run: str) -> str:
        """Prefect's page on a flow run."""
        return f"{self.prefect}/runs/flow-run/{flow_run}"


def servers() -> Servers:
    """The servers of the environment; where it names none, the addresses at which `rlhf ui` shows the pages."""
    mlflow_uri = mlflow.get_tracking_uri()
    api = os.environ.get("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    served = mlflow_uri.rstrip("/") if mlflow_uri.startswith("http") else "http://127.0.0.1:5000"
    return Servers(redact(served), redact(api.rstrip("/").removesuffix("/api")))


class Card(NamedTuple):
    """A node as the page draws it.

    Attributes:
        kind: `model`, `dataset` or `missing`.
        badges: style and text of each.
        lines: what is said below the title.
        links: name and address.
        facts: name and text of what stands below the graph.
        settings: every parameter of the stage.
        x, y: left upper corner in pixels.
    """

    kind: str
    anchor: str
    title: str
    badges: list[tuple[str, str]]
    lines: list[str]
    links: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    settings: dict[str, str]
    x: float
    y: float


class Edge(NamedTuple):
    """An edge as the page draws it: an SVG path, and its role at a point."""

    path: str
    role: str
    x: float
    y: float


def as_html(story: Story, servers: Servers) -> str:
    """The page: self-contained, without scripts, readable without a network."""
    cards = _cards(story, servers, lay_out(story.graph.order, story.graph.edges))
    drawn = picture(story, servers, detailed=True)
    return _template("lineage.html").render(root=story.root, cards=cards, picture=drawn)


def picture(story: Story, servers: Servers, *, detailed: bool = False) -> Markup:
    """The graph alone, for the inside of a page that has the colours.

    Args:
        story: what it is of.
        servers: where the pages of MLflow and Prefect are.
        detailed: whether the page tells more of each card below an anchor, to which its title then leads.
    """
    layout = lay_out(story.graph.order, story.graph.edges)
    right, bottom = _corner(layout.layers - 1, layout.rows - 1)
    drawn = _template("picture.html").render(
        root=story.root,
        cards=_cards(story, servers, layout),
        edges=_edges(story, layout),
        detailed=detailed,
        width=right + CARD_WIDTH + MARGIN,
        height=bottom + CARD_HEIGHT + MARGIN,
        card_width=CARD_WIDTH,
        card_height=CARD_HEIGHT,
    )
    return Markup(drawn)  # noqa: S704 rendered with autoescape


def _template(name: str) -> jinja2.Template:
    return templates("flows.lineage").get_template(name)


def _cards(story: Story, servers: Servers, layout: Layout) -> list[Card]:
    corners = {node: _corner(*corner) for node, corner in layout.places.items()}
    return [_card(node, story, servers, corners[node]) for node in story.graph.order]


def _corner(layer: int, row: float) -> tuple[float, float]:
    return MARGIN + layer * (CARD_WIDTH + GAP_ACROSS), MARGIN + row * (CARD_HEIGHT + GAP_DOWN)


def _edges(story: Story, layout: Layout) -> list[Edge]:
    """One curve for each role, with places of their own along the sides of the cards, so that none hides another."""
    roles = story.graph.roles
    ways = {item: [_corner(*index) for index in layout.ways[item[:2]]] for item in roles}
    leaving, arriving = ({item: way[step][1] for item, way in ways.items()} for step in (1, -2))
    starts = _spread(roles, lambda item: item[0], leaving)
    ends = _spread(roles, lambda item: item[1], arriving)
    return [_edge(ways[item], starts[item], ends[item], item[2]) for item in roles]


def _spread(roles: list[Role], card: Callable[[Role], str], towards: Mapping[Role, float]) -> dict[Role, float]:
    """How far down the side of its card each edge is, in the order of the heights that they lead to."""
    heights: dict[Role, float] = {}
    for name in {card(item) for item in roles}:
        together = sorted((item for item in roles if card(item) == name), key=lambda item: towards[item])
        heights |= {item: CARD_HEIGHT * (index + 1) / (len(together) + 1) for index, item in enumerate(together)}
    return heights


def _edge(corners: Sequence[tuple[float, float]], start: float, end: float, role: str) -> Edge:
    """A curve from the right side of the first card, through the middle of what it passes, to the left of the last."""
    x, y = corners[0][0] + CARD_WIDTH, corners[0][1] + start
    path = f"M {x} {y}"
    for left, top in corners[1:-1]:
        bend, middle = (x + left) / 2, top + CARD_HEIGHT / 2
        x, path = (
            left + CARD_WIDTH,
            f"{path} C {bend} {y}, {bend} {middle}, {left} {middle} L {left + CARD_WIDTH} {middle}",
        )
        y = middle
    left, height = corners[-1][0], corners[-1][1] + end
    bend = (x + left) / 2
    return Edge(f"{path} C {bend} {y}, {bend} {height}, {left} {height}", role, left - 12, height - 5)


def _card(node: str, story: Story, servers: Servers, corner: tuple[float, float]) -> Card:
    anchor = node.replace("/", "-").replace(":", "-")
    if node.startswith(DATASET):
        return _dataset_card(node, anchor, story, servers, corner)
    version = story.graph.versions.get(node)
    if version is None:
        return Card("missing", anchor, node, [("bad", "not in the registry")], [], [], [], {}, *corner)
    training = story.training(version)
    gates = gates_by_status(version)
    badges = [("alias", f"@{alias}") for alias in version.aliases]
    badges += [("good" if status == "pass" else "bad", f"{len(names)} {status}") for status, names in gates.items()]
    badges += [("bad", "data withdrawn")] if version.withdrawn else []
    links = [("version", servers.version(version))]
    lines = [f"digest {version.digest[:SHORT]}"]
    measured = []
    if training is not None:
        links.append(("run", servers.run(training.experiment_id, training.run_id)))
        if training.flow_run:
            links.append(("Prefect", servers.flow_run(training.flow_run)))
        if "temperature" in training.figures:
            measured.append(f"temperature {training.figures['temperature']:.3f}")
        if training.seconds is not None:
            measured.append(f"{training.seconds:.1f} s")
    lines.append(", ".join(measured))
    texts = [
        ("what it is", version.description.partition("\n\n")[0]),
        ("digest", version.digest),
        *facts(version, training),
    ]
    return Card(
        kind="model",
        anchor=anchor,
        title=version.label,
        badges=badges,
        lines=lines,
        links=links,
        facts=[(name, text) for name, text in texts if text],
        settings={} if training is None else training.settings,
        x=corner[0],
        y=corner[1],
    )


def _dataset_card(node: str, anchor: str, story: Story, servers: Servers, corner: tuple[float, float]) -> Card:
    digest = node.removeprefix(DATASET)
    uses = _uses(story, digest)
    kept = story.snapshots.get(digest)
    links = [] if kept is None else [("snapshot", servers.run(*kept))]
    lines, texts = [f"digest {digest[:SHORT]}"], [("digest", digest)]
    badges = []
    if uses:
        use = uses[0]
        lines += [f"{use.rows} rows, contract {use.contract}"]
        texts += [("contract", use.contract), ("rows", str(use.rows)), ("made from", ", ".join(use.sources))]
        if use.counts is not None:
            aside = use.counts.quarantined
            badges.append(("good" if aside == 0 else "warn", f"{aside} quarantined"))
            texts.append(("records", f"{use.counts.records}, of which {aside} quarantined, {use.counts.merged} merged"))
            texts.append(("quarantined", ", ".join(f"{rule}: {count}" for rule, count in use.counts.by_rule.items())))
    name = story.graph.names[node]
    return Card("dataset", anchor, name, badges, lines, links, [fact for fact in texts if fact[1]], {}, *corner)


def _uses(story: Story, digest: str) -> list[DatasetUse]:
    return [use for training in story.trainings.values() for use in training.uses.values() if use.digest == digest]
