"""Lineage of a version, as a tree for a terminal and as JSON."""

import json
from datetime import UTC, datetime
from typing import NamedTuple

from rich.markup import escape
from rich.tree import Tree

from flows.config.pretrained import TAKEN
from flows.lineage.archive import Archive, Kept
from flows.lineage.graph import Graph, Version
from flows.lineage.training_record import DatasetUse, Training
from flows.registry.tags import imported

SHORT = 12

SOURCES_TAKEN = ("base", "reward-model.from", "judge.from", "policy.from")
"""Parameters of a training that took its model from elsewhere."""

FIELDS = ("model", "revision", "commit", "path", "file", "digest")
"""Of these, what says which model it was."""

UNSET = "None"
"""How MLflow keeps a parameter that has no value."""


class Story(NamedTuple):
    """How a version came to be.

    Attributes:
        root: the version that was asked for.
        graph: it and everything that went into it.
        trainings: by run; without those that are gone.
        snapshots: the runs that keep the data, by digest; without those that are gone.
    """

    root: Version
    graph: Graph
    trainings: dict[str, Training]
    snapshots: dict[str, Kept]

    def training(self, version: Version) -> Training | None:
        """The run that made a version."""
        return self.trainings.get(version.run_id)


def tell(archive: Archive, model: str) -> Story:
    """Gather how a version came to be.

    Args:
        archive: where it is registered.
        model: `name/version` or `name@alias`.

    Raises:
        InputError: if there is no such version.
    """
    root = archive.find(model)
    graph = archive.ancestry([root])
    runs = {version.run_id for version in graph.versions.values()}
    trainings = {run: training for run in runs if (training := archive.training(run)) is not None}
    projects = {use.digest: training.project for training in trainings.values() for use in training.uses.values()}
    kept = {digest: archive.snapshot(project, digest) for digest, project in projects.items()}
    return Story(
        root, graph, trainings, {digest: snapshot for digest, snapshot in kept.items() if snapshot is not None}
    )


def as_json(story: Story) -> str:
    """The whole story as one JSON document: versions with their trainings, and edges by role."""
    versions = {}
    for label, version in story.graph.versions.items():
        training = story.training(version)
        made = None if training is None else training.model_dump(mode="json")
        versions[label] = {**version.model_dump(mode="json"), "training": made}
    edges = [{"from": start, "to": end, "role": role} for start, end, role in story.graph.roles]
    document = {
        "model": story.root.label,
        "versions": versions,
        "edges": edges,
        "snapshot_runs": {digest: kept.run_id for digest, kept in story.snapshots.items()},
        "missing": story.graph.missing,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def render(story: Story) -> Tree:
    """The story as a tree; a version that goes into several others is told once."""
    tree = Tree(title(story.root))
    _grow(tree, story.root, story, set())
    return tree


def title(version: Version) -> str:
    """A version with its aliases and what its gates said, with markup for a terminal."""
    aliases = "".join(f" [cyan]@{escape(alias)}[/cyan]" for alias in version.aliases)
    withdrawn = " [red]data withdrawn[/red]" if version.withdrawn else ""
    return f"[bold]{escape(version.label)}[/bold]{aliases}{_verdict(version)}{withdrawn}"


def _verdict(version: Version) -> str:
    status = version.gates.get("status")
    return "" if status is None else f" [{'green' if status == 'passed' else 'red'}]gates {status}[/]"


def gates_by_status(version: Version) -> dict[str, list[str]]:
    """Names of the gates by what they said."""
    gates: dict[str, list[str]] = {}
    for gate, status in version.gates.items():
        if gate != "status":
            gates.setdefault(status, []).append(gate)
    return gates


def facts(version: Version, training: Training | None) -> list[tuple[str, str]]:
    """What is known of a version besides its inputs, as name and text."""
    texts = [
        ("gates", "; ".join(f"{status}: {', '.join(names)}" for status, names in gates_by_status(version).items())),
    ]
    texts += [("withdrawn", said) for said in version.withdrawn.values()]
    if version.trained_by:
        texts.append(("origin", imported(version.trained_by, known=TAKEN in version.parents)))
    if version.card or version.licence:
        texts.append(("model card", ", licence ".join([version.card, version.licence or "not stated"])))
    if version.template_day:
        texts.append(("chat template", f"pinned to {version.template_day}"))
    if training is None:
        return [*texts, ("run", f"{version.run_id} is gone")]
    if (temperature := training.figures.get("temperature")) is not None:
        texts.append(("temperature", f"{temperature:.3f}"))
    texts += [
        ("taken from", _taken_from(training)),
        ("made", f"{when(training.started)}, {_duration(training)}, {_cost(training)}"),
        ("run", training.run_id),
        ("Prefect flow run", training.flow_run or "not recorded"),
        ("configuration", _configuration(training)),
        *setting(version, training),
    ]
    return [(name, text) for name, text in texts if text]


def setting(version: Version, training: Training) -> list[tuple[str, str]]:
    """Code, packages and machine, which most versions of a climb share."""
    changed = " with changes" if training.dirty else ""
    machine = training.hardware
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB" if machine else "not recorded",
        *machine.get("accelerators", ()),
    ]
    return [
        ("code", version.code),
        ("commit", training.commit + changed if training.commit else "not recorded"),
        ("packages", ", ".join(f"{name} {number}" for name, number in training.packages.items()) or "not recorded"),
        ("machine", ", ".join(parts)),
    ]


def describe_use(use: DatasetUse) -> str:
    """Digest, contract and counts of a snapshot, in one line."""
    counts = use.counts
    aside = "quarantine unknown" if counts is None else f"{counts.quarantined} of {counts.records} records quarantined"
    rules = counts.by_rule if counts is not None else {}
    why = f" ({', '.join(f'{rule} {count}' for rule, count in rules.items())})" if rules else ""
    return f"{use.name} {use.digest[:SHORT]}, contract {use.contract}, {use.rows} rows, {aside}{why}"


def _grow(tree: Tree, version: Version, story: Story, shown: set[str]) -> None:
    shown.add(version.label)
    training, root = story.training(version), story.training(story.root)
    texts = facts(version, training)
    if version is not story.root and training is not None and root is not None:
        shared = setting(story.root, root)
        if shared == setting(version, training):
            texts = [fact for fact in texts if fact not in shared]
            texts.append(("code, packages, machine", f"as of {story.root.label}"))
    for name, text in texts:
        tree.add(f"[dim]{name}[/dim] {escape(text)}")
    for role, label in version.parents.items():
        _branch(tree, role, label, story, shown)
    for use, dataset in version.datasets.items():
        known_use = training.uses.get(use) if training is not None else None
        by = f", labelled by {version.annotators[use]}" if use in version.annotators else ""
        branch = tree.add(f"{escape(use)}: {escape((describe_use(known_use) if known_use else dataset) + by)}")
        for name, label in version.origins.items():
            if name.startswith(f"{use}."):
                _branch(branch, name.removeprefix(f"{use}."), label, story, shown)
    for name, digest in version.sources.items():
        tree.add(f"{escape(name)}: source {digest[:SHORT]}")


def _branch(tree: Tree, role: str, label: str, story: Story, shown: set[str]) -> None:
    """What went in as something: the whole of it, unless it was told before or is gone."""
    parent = story.graph.versions.get(label)
    if parent is None:
        tree.add(f"{escape(role)}: [red]{escape(label)} is not in the registry[/red]")
    elif label in shown:
        tree.add(f"{escape(role)}: {title(parent)} [dim]see above[/dim]")
    else:
        _grow(tree.add(f"{escape(role)}: {title(parent)}"), parent, story, shown)


def when(seconds: float) -> str:
    """A time since the epoch, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _duration(training: Training) -> str:
    if training.seconds is None:
        return "wall time not recorded"
    resumed = f" since it last went on ({training.resumed})" if training.resumed else ""
    return f"{training.seconds:.1f} s{resumed}"


def _cost(training: Training) -> str:
    return "cost unknown" if training.cost is None else f"cost {training.cost:.4f}"


def _taken_from(training: Training) -> str:
    """The hub model, folder or file of a model that was taken, and what it was then."""
    for section in SOURCES_TAKEN:
        fields = {name: text for name in FIELDS if (text := training.settings.get(f"{section}.{name}", UNSET)) != UNSET}
        if "model" in fields:
            then = f", which was {fields['commit']}" if "commit" in fields else ""
            return f"{fields['model']} at {fields['revision']}{then}"
        if "path" in fields:
            place = "/".join(fields[name] for name in ("path", "file") if name in fields)
            return f"{place}, content {fields.get('digest', 'unknown')}"
    return ""


def _configuration(training: Training) -> str:
    whole = f", the whole in config.json of run {training.ladder_run}" if training.ladder_run else ""
    return f"{len(training.settings)} parameters{whole}"
