"""What was made from what: content keys of stages, tags of versions, descriptions that people read."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.entities import Dataset

from flows.registry.keys import code_version
from flows.registry.references import DatasetRef, ModelRef

SOURCES_SHOWN = 50

DIGEST_TAG = "rlhf.digest"

SOURCE_TAG = "source."

ORIGIN_TAG, ANNOTATOR_TAG = "origin.", "annotator."  # of a dataset that a version was made from

COMMIT, DIRTY = "mlflow.source.git.commit", "mlflow.source.git.dirty"  # MLflow's page shows the commit of a run

NAME_TAG, SNAPSHOT_TAG, CONTRACT_TAG = "dataset.name", "dataset.digest", "dataset.contract"  # of a snapshot's run

PACKAGES, HARDWARE, SECONDS, COST = "rlhf.packages", "rlhf.hardware", "rlhf.seconds", "rlhf.cost"


def data_experiment(project: str) -> str:
    """Name of the experiment that keeps the snapshots of a project."""
    return f"{project}-data"


def lineage_tags(
    parents: Mapping[str, ModelRef], datasets: Mapping[str, DatasetRef], sources: Mapping[str, str]
) -> dict[str, str]:
    """Tags of a version that name all that went in, because the registry page shows tags and not model inputs."""
    tags = {"rlhf.code": code_version(), **{f"{SOURCE_TAG}{name}": digest for name, digest in sources.items()}}
    for role, parent in parents.items():
        tags[f"parent.{role}"] = parent.label
        tags[f"parent.{role}.digest"] = parent.digest
    for use, dataset in datasets.items():
        tags[f"dataset.{use}"] = f"{dataset.name}:{dataset.digest}"
        for role, origin in dataset.origins.items():
            tags[f"{ORIGIN_TAG}{use}.{role}"] = origin.label
            tags[f"{ORIGIN_TAG}{use}.{role}.digest"] = origin.digest
        if dataset.annotator:
            tags[f"{ANNOTATOR_TAG}{use}"] = dataset.annotator
    return tags


def describe(what: str, parents: Mapping[str, ModelRef], datasets: Mapping[str, DatasetRef]) -> str:
    """Description of a version: what it is and what it was made from."""
    made_from = [f"{role} {parent.label}" for role, parent in parents.items()]
    made_from += [f"{dataset.name} {dataset.digest[:12]}{_made_by(dataset)}" for dataset in datasets.values()]
    return f"{what}. Made from {', '.join(made_from)}." if made_from else f"{what}."


def _made_by(dataset: DatasetRef) -> str:
    policy = dataset.origins.get("sampled-from")
    return "" if policy is None else f" (answers of {policy.label}, labelled by {dataset.annotator})"


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
