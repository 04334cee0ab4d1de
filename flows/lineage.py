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
DIGEST_TAG = "rlhf.digest"
SOURCE_TAG = "source."
ORIGIN_TAG, ANNOTATOR_TAG = "origin.", "annotator."  # of a dataset that a version was made from
IDENTITY = "identity.json"
COMMIT, DIRTY = "mlflow.source.git.commit", "mlflow.source.git.dirty"  # MLflow's page shows the commit of a run
NAME_TAG, SNAPSHOT_TAG, CONTRACT_TAG = "dataset.name", "dataset.digest", "dataset.contract"  # of a snapshot's run
PACKAGES, HARDWARE, SECONDS, COST = "rlhf.packages", "rlhf.hardware", "rlhf.seconds", "rlhf.cost"


@functools.cache
def code_version() -> str:
    """Version of the package and a hash of the sources of the recipe, so that changed code is never taken for old."""
    root = Path(rlhf_core.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{version('rlhf-ladder')}+{total.hexdigest()[:16]}"


class Identity(Frozen):
    """What decides the result of a stage; the same identity means the same training.

    Attributes:
        stage: name of the stage, which starts the key.
        config: everything that steers it.
        inputs: digests of what goes in, by role.
        seed: seed of the stage.
        code: version of the code.
    """

    stage: str
    config: dict[str, Any]
    inputs: dict[str, str]
    seed: int
    code: str

    @property
    def key(self) -> str:
        """A hash of all of it, safe as a file name."""
        parts = [self.stage, self.config, self.inputs, self.seed, self.code]
        text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
        return f"{self.stage}-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def identify(stage: str, config: Frozen, inputs: Mapping[str, str], seed: int) -> Identity:
    """Identity of a stage under the code of this process; arguments as the attributes of `Identity`."""
    settings = config.model_dump(mode="json")
    return Identity(stage=stage, config=settings, inputs=dict(inputs), seed=seed, code=code_version())


def content_key(stage: str, config: Frozen, inputs: Mapping[str, str], seed: int) -> str:
    """Key of what `identify` describes."""
    return identify(stage, config, inputs, seed).key


def inputs_of(models: Mapping[str, str], datasets: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, str]:
    """Digests of models by role, of datasets by use and of other sources by name, as an identity names them."""
    kinds = {"model": models, "dataset": datasets, "source": sources}
    return {f"{kind}.{name}": digest for kind, digests in kinds.items() for name, digest in digests.items()}


def files_artifact(name: str) -> str:
    """Where a run keeps the digest of each file of a model that it registered."""
    return f"digests/{name}.json"


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
