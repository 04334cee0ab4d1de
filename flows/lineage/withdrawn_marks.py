"""Marks of versions on withdrawn data: tags that say what was withdrawn, when and why, for whoever promotes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from mlflow import MlflowClient

from flows.attestation.statement import REMOVAL
from flows.config.errors import InputError
from flows.lineage.archive import Archive
from flows.lineage.data_names import DataBook
from flows.lineage.graph import Version
from flows.registry.client import Registry
from flows.registry.held import alias_address, version_address
from flows.registry.names import CHALLENGER, WITHDRAWN_PREFIX
from flows.registry.references import ModelRef
from flows.registry.statements import holds_versions, state, version_subject
from flows.registry.withdrawals import all_withdrawals

SENTENCE = 4000
"""Characters of a mark; MLflow's databases hold a little more."""


def settle_marks(
    archive: Archive, project: str, registry: Registry, *, again: bool = False
) -> dict[str, list[Version]]:
    """Have every version say which withdrawals of a project it was trained on, and no other; no challenger stays.

    Args:
        archive: of the registry.
        project: whose withdrawals.
        registry: where the marks are made.
        again: whether what was marked already, or is no more, is stated too, as whoever did so was cut off.

    Returns:
        The versions that each withdrawal in force touches, by its id.
    """
    withdrawals = all_withdrawals(archive.client, project)
    if not withdrawals:
        return {}
    book, graph = DataBook(archive, [project]), archive.everything()
    ever = {item.id: book.versions(graph, item.data) for item in withdrawals if again or not item.restored}
    touched = {item.id: ever[item.id] for item in withdrawals if not item.restored}
    anew = {version.label for versions in ever.values() for version in versions} if again else set[str]()
    ours, marks = {item.short_id for item in withdrawals}, defaultdict[str, dict[str, str]](dict)
    for item in withdrawals:
        for version in touched.get(item.id, ()):
            marks[version.label][item.short_id] = item.sentence
    for label, version in graph.versions.items():
        others = {name: text for name, text in version.withdrawn.items() if name not in ours}
        changed = _mark(archive.client, version, others | marks[label])
        ref = registry.reference(version.name, version.version)
        taken = registry.take_alias([ref], CHALLENGER) if marks[label] else []
        if label in anew and CHALLENGER not in archive.client.get_registered_model(version.name).aliases:
            taken = [ref]
        if changed or taken or label in anew:
            _state(registry, ref, taken)
    return touched


def mark_made(archive: Archive, refs: Iterable[ModelRef], project: str, registry: Registry) -> list[str]:
    """Have versions that a climb stands on say what of their data, or that of their parents, was withdrawn.

    Returns:
        A sentence for each withdrawal.
    """
    withdrawals = all_withdrawals(archive.client, project)
    holding = [item for item in withdrawals if not item.restored]
    book = DataBook(archive, [project] if holding else [])
    said: dict[str, str] = {}
    for ref in refs:
        version = archive.find(ref.label)
        marks = _inherited(archive, version)
        digests = set(version.dataset_digests.values())
        marks |= {item.short_id: item.sentence for item in holding if digests & book.digests(item.data)}
        ours = {item.short_id for item in withdrawals}
        others = {name: text for name, text in version.withdrawn.items() if name not in ours}
        if _mark(archive.client, version, others | marks):
            _state(registry, ref, [])
        said |= marks
    return list(said.values())


def _inherited(archive: Archive, version: Version) -> dict[str, str]:
    """The marks of what a version was made from."""
    marks: dict[str, str] = {}
    for label in {*version.parents.values(), *version.origins.values()}:
        with suppress(InputError):  # gone, which an audit says
            marks |= archive.find(label).withdrawn
    return marks


def _mark(client: MlflowClient, version: Version, marks: Mapping[str, str]) -> bool:
    """Have a version bear these marks and no others; whether that changed it."""
    gone = version.withdrawn.keys() - marks.keys()
    new = {name: text[:SENTENCE] for name, text in marks.items() if version.withdrawn.get(name) != text[:SENTENCE]}
    for mark in gone:
        client.delete_model_version_tag(version.name, version.version, f"{WITHDRAWN_PREFIX}{mark}")
    for mark, sentence in new.items():
        client.set_model_version_tag(version.name, version.version, f"{WITHDRAWN_PREFIX}{mark}", sentence)
    return bool(gone or new)


def _state(registry: Registry, ref: ModelRef, taken: Sequence[ModelRef]) -> None:
    """Leave a statement of the marks that a version bears from now on, and of the alias that it lost."""
    held = holds_versions(registry, [ref], "tags")
    tags = held[version_address(ref.label)]["tags"]
    marks = {name: text for name, text in tags.items() if name.startswith(WITHDRAWN_PREFIX)}
    lost = {alias_address(each.name, CHALLENGER): None for each in taken}
    state(registry, REMOVAL, [version_subject(ref)], {"withdrawn": marks, "alias": sorted(lost)}, held | lost)
