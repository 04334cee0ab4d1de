"""Marks of versions on withdrawn data: tags that say what was withdrawn, when and why, for whoever promotes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress

from mlflow import MlflowClient

from flows.attestation.statement import REMOVAL
from flows.config.errors import InputError
from flows.lineage.archive import Archive
from flows.lineage.data_names import DataBook
from flows.lineage.graph import Version
from flows.registry.client import Registry
from flows.registry.held import alias_address
from flows.registry.names import CHALLENGER, WITHDRAWN_PREFIX
from flows.registry.references import ModelRef
from flows.registry.statements import state, version_subject
from flows.registry.withdrawals import all_withdrawals

SENTENCE = 4000
"""Characters of a mark; MLflow's databases hold a little more."""


def settle_marks(archive: Archive, project: str, registry: Registry) -> dict[str, list[Version]]:
    """Have every version say which withdrawals of a project it was trained on, and no other; no challenger stays.

    Args:
        archive: of the registry.
        project: whose withdrawals.
        registry: where the marks are made.

    Returns:
        The versions that each withdrawal in force touches, by its id.
    """
    withdrawals = all_withdrawals(archive.client, project)
    if not withdrawals:
        return {}
    book, graph = DataBook(archive, [project]), archive.everything()
    touched = {item.id: book.versions(graph, item.data) for item in withdrawals if not item.restored}
    ours, marks = {item.short_id for item in withdrawals}, defaultdict[str, dict[str, str]](dict)
    for item in withdrawals:
        for version in touched.get(item.id, ()):
            marks[version.label][item.short_id] = item.sentence
    for label, version in graph.versions.items():
        others = {name: text for name, text in version.withdrawn.items() if name not in ours}
        _mark(archive.client, version, others | marks[label])
        if marks[label]:
            registry.take_alias([registry.reference(version.name, version.version)], CHALLENGER)
    _state(registry, [version for label, version in graph.versions.items() if marks[label]])
    return touched


def _state(registry: Registry, touched: Iterable[Version]) -> None:
    """Leave a statement of the challengers that are none any longer."""
    lost = [version for version in touched if CHALLENGER in version.aliases]
    if lost:
        subjects = [version_subject(registry.reference(version.name, version.version)) for version in lost]
        holds = dict.fromkeys(alias_address(version.name, CHALLENGER) for version in lost)
        state(registry, REMOVAL, subjects, {"alias": CHALLENGER, "how": "trained on withdrawn data"}, holds)


def mark_made(archive: Archive, refs: Iterable[ModelRef], project: str) -> list[str]:
    """Have versions that a climb stands on say what of their data, or that of their parents, was withdrawn.

    Returns:
        A sentence for each withdrawal.
    """
    withdrawals = all_withdrawals(archive.client, project)
    holding = [item for item in withdrawals if not item.restored]
    book = DataBook(archive, [project] if holding else [])
    said: dict[str, str] = {}
    for version in map(archive.find, (ref.label for ref in refs)):
        marks = _inherited(archive, version)
        digests = set(version.dataset_digests.values())
        marks |= {item.short_id: item.sentence for item in holding if digests & book.digests(item.data)}
        ours = {item.short_id for item in withdrawals}
        _mark(
            archive.client,
            version,
            {name: text for name, text in version.withdrawn.items() if name not in ours} | marks,
        )
        said |= marks
    return list(said.values())


def _inherited(archive: Archive, version: Version) -> dict[str, str]:
    """The marks of what a version was made from."""
    marks: dict[str, str] = {}
    for label in {*version.parents.values(), *version.origins.values()}:
        with suppress(InputError):  # gone, which an audit says
            marks |= archive.find(label).withdrawn
    return marks


def _mark(client: MlflowClient, version: Version, marks: Mapping[str, str]) -> None:
    """Have a version bear these marks and no others."""
    for mark in version.withdrawn.keys() - marks.keys():
        client.delete_model_version_tag(version.name, version.version, f"{WITHDRAWN_PREFIX}{mark}")
    for mark, sentence in marks.items():
        if version.withdrawn.get(mark) != sentence[:SENTENCE]:
            client.set_model_version_tag(
                version.name, version.version, f"{WITHDRAWN_PREFIX}{mark}", sentence[:SENTENCE]
            )
