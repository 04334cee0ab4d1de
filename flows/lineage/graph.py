"""The lineage graph: registered versions and the snapshots that went into them."""

from collections.abc import Iterable
from functools import cached_property

import networkx as nx

from flows.config.errors import InputError
from flows.registry.lookup import DATASET
from rlhf_core.config import Frozen


class Version(Frozen):
    """A registered version, as its tags describe it.

    Attributes:
        digest: of its files.
        key: content key of the stage that made it.
        model_id: identity of the logged model in MLflow.
        run_id: the run that made it.
        created: seconds since the epoch.
        gates: status by gate, and `status` for all of them.
        parents: `name/version` by role.
        parent_digests: what their files were then, by role.
        datasets: `name:digest` by use.
        sources: digests of what else went in, such as code of users, by name.
        origins: `name/version` by use of a dataset and role, such as `training-2.sampled-from`: what made its rows.
        origin_digests: what their files were then, by the same.
        annotators: who labelled a dataset, by use.
        card: name that its model card states, of one that was taken with it.
        licence: the same, its licence.
        template_day: to which its chat template is pinned, empty where that reads no clock.
        evidence: SHA-256 of the files of held-out rows that its figures rest on, by name.
        trained_by: what trained it elsewhere, empty of a version that was trained here.
        withdrawn: what of its data was withdrawn, when and why, by the id of the withdrawal.
    """

    name: str
    version: str
    description: str
    digest: str
    key: str
    code: str
    model_id: str
    run_id: str
    created: float
    aliases: tuple[str, ...]
    gates: dict[str, str]
    parents: dict[str, str]
    parent_digests: dict[str, str]
    datasets: dict[str, str]
    sources: dict[str, str] = {}
    origins: dict[str, str] = {}
    origin_digests: dict[str, str] = {}
    annotators: dict[str, str] = {}
    card: str = ""
    licence: str = ""
    template_day: str = ""
    evidence: dict[str, str] = {}
    trained_by: str = ""
    withdrawn: dict[str, str] = {}

    @property
    def label(self) -> str:
        """The version as people write it: `name/version`."""
        return f"{self.name}/{self.version}"

    @property
    def dataset_digests(self) -> dict[str, str]:
        """Digests of the snapshots that went in, by use."""
        return {use: dataset.partition(":")[2] for use, dataset in self.datasets.items()}

    @property
    def inputs(self) -> dict[str, str]:
        """Nodes that went in, by role or use."""
        return self.parents | {use: DATASET + digest for use, digest in self.dataset_digests.items()}

    @property
    def roles(self) -> list[tuple[str, str, str]]:
        """What went in, into what, and as what: into this version, and into the datasets that it was made from."""
        made = [(node, self.label, role) for role, node in self.inputs.items()]
        for name, label in self.origins.items():
            use, _, role = name.partition(".")
            made.append((label, self.inputs[use], role))
        return made


class Graph:
    """Versions, and edges from what went in to what came out.

    A node is `name/version` or `dataset:digest`. A version that others name as a parent, but that is not among those
    given, is a node without a version.
    """

    def __init__(self, versions: Iterable[Version]) -> None:
        self.versions = {version.label: version for version in versions}
        self._edges = nx.DiGraph()
        self._edges.add_nodes_from(self.versions)
        self._edges.add_edges_from((start, end) for start, end, _ in self.roles)

    @property
    def roles(self) -> list[tuple[str, str, str]]:
        """What went in, into what, and as what, each once."""
        return list(dict.fromkeys(role for version in self.versions.values() for role in version.roles))

    @property
    def nodes(self) -> list[str]:
        """All nodes."""
        return list(self._edges)

    @property
    def missing(self) -> list[str]:
        """Versions that are named as parents and are not there."""
        return sorted(node for node in self._edges if node not in self.versions and not node.startswith(DATASET))

    @cached_property
    def names(self) -> dict[str, str]:
        """Names of the datasets by node."""
        return {
            version.inputs[use]: dataset.partition(":")[0]
            for version in self.versions.values()
            for use, dataset in version.datasets.items()
        }

    def before(self, nodes: Iterable[str]) -> set[str]:
        """Everything that went into some nodes, themselves included."""
        ancestors: set[str] = set()
        for node in nodes:
            if node not in ancestors:
                ancestors |= {node, *nx.ancestors(self._edges, node)}
        return ancestors

    def after(self, node: str) -> list[Version]:
        """All versions that a node went into: those that hold an alias first, then the newest first."""
        versions = [self.versions[other] for other in nx.descendants(self._edges, node) if other in self.versions]
        return sorted(versions, key=lambda version: (not version.aliases, -version.created, version.label))

    def path(self, start: str, end: str) -> list[str]:
        """A shortest way from a node to one that it went into, both included."""
        return list(nx.shortest_path(self._edges, start, end))

    @property
    def order(self) -> list[str]:
        """All nodes, each after everything that went into it.

        Raises:
            InputError: if something went into itself, as no stage does, but a tag may say.
        """
        try:
            return list(nx.lexicographical_topological_sort(self._edges))
        except nx.NetworkXUnfeasible:
            circle = " -> ".join(start for start, _ in nx.find_cycle(self._edges))
            raise InputError(
                f"the lineage goes in a circle, {circle}: a tag `parent.…` was altered; `rlhf audit` says which"
            ) from None

    @property
    def edges(self) -> list[tuple[str, str]]:
        """What went in, and what came out."""
        return list(self._edges.edges)

    def find_dataset(self, prefix: str) -> str:
        """The node of the dataset whose digest starts with a prefix.

        Raises:
            InputError: if no dataset does, or several do.
        """
        nodes = [node for node in self._edges if node.startswith(DATASET + prefix)]
        if len(nodes) != 1:
            reason = (
                f"starts {len(nodes)} digests; give more of it" if nodes else "starts no digest that a version names"
            )
            raise InputError(f"dataset:{prefix}: {reason}")
        return str(nodes[0])
