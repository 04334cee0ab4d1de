"""Prompts that versions have learned from, read back through lineage, so that none of them is judged by these.

Two prompts are the same as in the contracts: without regard to case, white space and the form of their Unicode. Nearly
the same ones are not looked for here: ingestion has kept those of one set of data apart. Prompts of a group that was
learned from count as well.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from mlflow.entities import Dataset
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from numpy.typing import NDArray

from data_contracts.records import SPLIT
from flows.config.errors import InputError
from flows.outages import unless_away
from flows.registry.client import Registry
from flows.registry.dataset_uploads import fetch_snapshot
from flows.registry.names import EVIDENCE, ORIGIN_PREFIX, PARENT_PREFIX
from flows.registry.references import ModelRef
from flows.storage.snapshots import SnapshotDamaged, read_parts, verify
from flows.storage.text_hashes import loose_hashes
from rlhf_core.data.records import HALVED_BY, tuning_half

ONLY_MEASURED = ("evaluation", "demonstrations")
"""Uses of a table that teach nothing."""

UNTAUGHT = "-base"
"""End of the names of models that may have been made from no table."""

Keys = NDArray[np.uint64]


class TrainingUnknown(InputError):
    """What a version has learned from cannot be known, so that nothing can be said of it."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(
            f"{label}: what it was trained on cannot be known ({reason}), so no row is known to be held out from it; "
            "restore that, or train the version again"
        )


class UsedTable(NamedTuple):
    """A table as the run of a version names it.

    Attributes:
        use: what it was used for.
        path: where it lay then.
        contract: version of the contract that it met.
        halved_by: the rule by which held-out prompts tuned or judged, as of `tuning_half`; empty in early versions.
    """

    use: str
    name: str
    digest: str
    path: Path
    contract: str
    halved_by: str = ""


class SeenRows(NamedTuple):
    """Held-out rows that judge nothing, since a model that takes part has learned from their prompts.

    Attributes:
        prompts: theirs, as the table has them.
        rows: how many rows these are.
        of: rows that were held out.
        by: rows by the version that has learned from them; several may have from one.
    """

    prompts: frozenset[str]
    rows: int
    of: int
    by: dict[str, int]

    def sentence(self, what: str) -> str:
        """What is said of them, empty where there are none; `what` the rows are, such as held-out pairs."""
        if not self.rows:
            return ""
        versions = ", ".join(f"{label} ({rows})" for label, rows in self.by.items())
        return f"{self.rows} of {self.of} {what} left out, which these were trained on: {versions}"


def learned_prompts(versions: Iterable[ModelRef], registry: Registry) -> dict[str, Keys]:
    """Hashes of the prompts and groups that versions, and all that they were made from, have learned from.

    Args:
        versions: all that take part in a judgement.
        registry: where they are.

    Returns:
        By the label of each version in their lineage that was trained on anything, sorted.

    Raises:
        TrainingUnknown: if a version, its run or a table of these is gone.
    """
    learned: dict[str, Keys] = {}
    waiting = [*versions]
    while waiting:
        version = waiting.pop()
        if version.label in learned:
            continue
        learned[version.label] = _learned(version, registry)
        waiting += _made_from(version, registry)
    return {label: keys for label, keys in sorted(learned.items()) if len(keys)}


def tuned_prompts(version: ModelRef, registry: Registry) -> Keys:
    """Hashes of the held-out prompts on which the temperature of a version was fitted, or its state chosen, sorted.

    Raises:
        TrainingUnknown: as of `learned_prompts`.
    """
    name = "prompts" if version.name.endswith("-policy") else "preferences"
    tables = [table for table in tables_of(version, registry) if table.name == name and "-" not in table.use]
    asked = [(table, _column(version, table, registry, "prompt", "test")) for table in tables]
    keys = [loose_hashes(sorted(_tuning_half(table, prompts))) for table, prompts in asked]
    taken = [ref for role, ref in _parents(version, registry) if role == "taken"]
    return np.unique(np.concatenate([_NONE, *keys, *(tuned_prompts(ref, registry) for ref in taken)]))


def _tuning_half(table: UsedTable, prompts: Iterable[str]) -> set[str]:
    return tuning_half(prompts) if table.halved_by == HALVED_BY else set(list(dict.fromkeys(prompts))[::2])


def leave_out(frame: pd.DataFrame, learned: dict[str, Keys]) -> SeenRows:
    """Which rows have prompts that were learned from.

    Args:
        frame: held-out rows with their `prompt`, and their `group` if they have one.
        learned: by version, as of `learned_prompts`.
    """
    columns = [loose_hashes(frame[name].tolist()) for name in ("prompt", "group") if name in frame]
    by = {label: np.any([np.isin(column, keys) for column in columns], axis=0) for label, keys in learned.items()}
    known = np.any([np.zeros(len(frame), dtype=bool), *by.values()], axis=0)
    prompts = frozenset(frame.loc[known, "prompt"].tolist())
    rows = int(frame["prompt"].isin(prompts).sum())
    return SeenRows(prompts, rows, len(frame), {label: int(rows.sum()) for label, rows in by.items() if rows.any()})


def matching(prompts: Iterable[str], keys: Keys) -> set[str]:
    """Those prompts that are among the hashed ones."""
    texts = list(dict.fromkeys(prompts))
    return {text for text, known in zip(texts, np.isin(loose_hashes(texts), keys), strict=True) if known}


def tables_of(version: ModelRef, registry: Registry) -> list[UsedTable]:
    """The tables that the run of a version names.

    Raises:
        TrainingUnknown: if the run is gone.
    """
    run = None
    with unless_away():
        run = registry.client.get_run(version.run_id)
    if run is None:
        raise TrainingUnknown(version.label, f"its run {version.run_id} is gone")
    inputs = run.inputs
    return [
        _used(tag.value, item.dataset)
        for item in (inputs.dataset_inputs if inputs else ())
        for tag in item.tags
        if tag.key == MLFLOW_DATASET_CONTEXT and tag.value != EVIDENCE
    ]


def _used(use: str, dataset: Dataset) -> UsedTable:
    profile, source = json.loads(dataset.profile or "{}"), json.loads(dataset.source)
    return UsedTable(
        use,
        dataset.name,
        str(profile["digest"]),
        Path(source["uri"]),
        str(profile["contract_version"]),
        str(profile.get("halved_by", "")),
    )


_NONE = np.empty(0, dtype=np.uint64)


def _learned(version: ModelRef, registry: Registry) -> Keys:
    """What a version itself learned from, not what it was made from."""
    tables = tables_of(version, registry)
    if not tables and not version.name.endswith(UNTAUGHT):
        raise TrainingUnknown(version.label, "its run names no data")
    keys = []
    for table in tables:
        if table.use not in ONLY_MEASURED:
            judges = version.name.endswith("-judge") and table.name == "preferences"
            split = "judge" if judges else "train"
            keys += [loose_hashes(_column(version, table, registry, name, split)) for name in ("prompt", "group")]
    return np.unique(np.concatenate([_NONE, *keys]))


def _column(version: ModelRef, table: UsedTable, registry: Registry, name: str, split: str) -> Sequence[str]:
    """A column of a split, in the order of the table; nothing where the table has no such column."""
    try:
        path = fetch_snapshot(table.digest, table.path, version, registry)
        verify(path, table.digest, table.contract)
        return _texts(path, name, split)
    except (FileNotFoundError, SnapshotDamaged) as error:
        raise TrainingUnknown(version.label, f"{table.name} {table.digest[:12]}: {error}") from None


@lru_cache(maxsize=16)
def _texts(path: Path, name: str, split: str) -> Sequence[str]:
    """A snapshot does not change under its name."""
    parts = [part for part in read_parts(path, [name, SPLIT]) if name in part]
    return [text for part in parts for text in part.loc[part[SPLIT] == split, name].tolist()]


def _made_from(version: ModelRef, registry: Registry) -> Iterator[ModelRef]:
    for _, ref in _parents(version, registry):
        yield ref


def _parents(version: ModelRef, registry: Registry) -> Iterator[tuple[str, ModelRef]]:
    """Versions that went into one, or into the tables that it was made from, by role."""
    tags = registry.client.get_model_version(version.name, version.version).tags
    for key, label in tags.items():
        prefix = next((prefix for prefix in (PARENT_PREFIX, ORIGIN_PREFIX) if key.startswith(prefix)), None)
        if prefix is None or key.endswith(".digest"):
            continue
        try:
            yield key.removeprefix(prefix), registry.pin(label)
        except InputError:
            raise TrainingUnknown(version.label, f"{label}, which went into it, is gone") from None
