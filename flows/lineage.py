"""What was made from what: content keys of stages, tags of versions, descriptions that people read."""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset

import rlhf_core
from flows.references import DatasetRef, ModelRef
from rlhf_core.config import Frozen

SOURCES_SHOWN = 50


@functools.cache
def code_version() -> str:
    """Version of the package and a hash of the sources of the recipe, so that changed code is never taken for old."""
    root = Path(rlhf_core.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{version('rlhf-ladder')}+{total.hexdigest()[:16]}"


def content_key(stage: str, config: Frozen, inputs: Mapping[str, str], seed: int) -> str:
    """Identity of a stage's result: the same key means the same training.

    Args:
        stage: name of the stage, which starts the key.
        config: everything that steers it.
        inputs: digests of what goes in, by role.
        seed: seed of the stage.

    Returns:
        A key that is safe as a file name.
    """
    identity = json.dumps(
        [stage, config.model_dump(mode="json"), dict(inputs), seed, code_version()], sort_keys=True, ensure_ascii=True
    )
    return f"{stage}-{hashlib.sha256(identity.encode()).hexdigest()[:40]}"


def lineage_tags(parents: Mapping[str, ModelRef], datasets: Mapping[str, DatasetRef]) -> dict[str, str]:
    """Tags of a version that name its parents and data, because the registry page shows tags and not model inputs."""
    tags = {"rlhf.code": code_version()}
    for role, parent in parents.items():
        tags[f"parent.{role}"] = parent.label
        tags[f"parent.{role}.digest"] = parent.digest
    for use, dataset in datasets.items():
        tags[f"dataset.{use}"] = f"{dataset.name}:{dataset.digest}"
    return tags


def describe(what: str, parents: Mapping[str, ModelRef], datasets: Mapping[str, DatasetRef]) -> str:
    """Description of a version: what it is and what it was made from."""
    made_from = [f"{role} {parent.label}" for role, parent in parents.items()]
    made_from += [f"{dataset.name} {dataset.digest[:12]}" for dataset in datasets.values()]
    return f"{what}. Made from {', '.join(made_from)}." if made_from else f"{what}."


def dataset_digest(ref: DatasetRef) -> str:
    """The digest of a snapshot as far as the tracking API takes it."""
    return ref.digest[:36]


def dataset_entity(ref: DatasetRef) -> Dataset:
    """A snapshot as MLflow records it."""
    return Dataset(
        name=ref.name,
        digest=dataset_digest(ref),
        source_type="local",
        source=json.dumps({"uri": ref.path, "made_from": list(ref.sources)[:SOURCES_SHOWN]}),
        profile=json.dumps(
            {
                "num_rows": ref.rows,
                **{f"num_rows_{split}": n for split, n in ref.splits.items()},
                "digest": ref.digest,
                "contract_version": ref.contract,
            }
        ),
    )


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The leaves of a configuration tree by dotted name."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
