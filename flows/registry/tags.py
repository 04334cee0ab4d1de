"""Lineage as MLflow keeps it: tags of versions, their descriptions, snapshots as dataset inputs."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset
from yaml import YAMLError

from flows.registry.keys import code_version
from flows.registry.names import (
    ANNOTATOR_PREFIX,
    CARD_TAG,
    CODE_TAG,
    DATASET_PREFIX,
    LICENCE_TAG,
    ORIGIN_PREFIX,
    PARENT_PREFIX,
    SAMPLED_FROM,
    SOURCE_PREFIX,
    TEMPLATE_DAY_TAG,
    WITHDRAWN_PREFIX,
)
from flows.registry.references import DatasetRef, ModelRef
from rlhf_core.data.chat_template import pinned_day
from rlhf_core.data.records import HALVED_BY

SOURCES_SHOWN = 50

CARD_WIDTH = 200
"""Characters of a name or a licence that are kept."""


def lineage_tags(
    parents: Mapping[str, ModelRef], datasets: Mapping[str, DatasetRef], sources: Mapping[str, str]
) -> dict[str, str]:
    """Tags of a version that name all that went in, because the registry page shows tags and not model inputs."""
    tags = {CODE_TAG: code_version(), **{f"{SOURCE_PREFIX}{name}": digest for name, digest in sources.items()}}
    for role, parent in parents.items():
        tags[f"{PARENT_PREFIX}{role}"] = parent.label
        tags[f"{PARENT_PREFIX}{role}.digest"] = parent.digest
    for use, dataset in datasets.items():
        tags[f"{DATASET_PREFIX}{use}"] = f"{dataset.name}:{dataset.digest}"
        for role, origin in dataset.origins.items():
            tags[f"{ORIGIN_PREFIX}{use}.{role}"] = origin.label
            tags[f"{ORIGIN_PREFIX}{use}.{role}.digest"] = origin.digest
        if dataset.annotator:
            tags[f"{ANNOTATOR_PREFIX}{use}"] = dataset.annotator
    return tags


def withdrawn_marks(tags: Mapping[str, str]) -> list[str]:
    """What the tags of a version say was withdrawn of its data, a sentence each, with when, by whom and why."""
    return [said for name, said in sorted(tags.items()) if name.startswith(WITHDRAWN_PREFIX)]


def template_tags(folder: Path) -> dict[str, str]:
    """The tag of a version whose chat template reads the clock: the day to which it is pinned."""
    day = pinned_day(folder)
    return {} if day is None else {TEMPLATE_DAY_TAG: day.isoformat()}


def card_tags(folder: Path) -> dict[str, str]:
    """Tags of a version that was taken with its model card: the name and the licence that the card states."""
    card = folder / "README.md"
    if not card.is_file():
        return {}
    from huggingface_hub import ModelCard  # noqa: PLC0415 for versions that are taken, when they are

    try:
        read = ModelCard.load(card, ignore_metadata_errors=True)
    except (OSError, ValueError, YAMLError):
        return {}
    heading = next((line for line in read.text.splitlines() if line.startswith("# ")), "")
    stated = {CARD_TAG: read.data.model_name or heading.removeprefix("# "), LICENCE_TAG: read.data.license}
    return {tag: textwrap.shorten(str(value), CARD_WIDTH) for tag, value in stated.items() if value}


def imported(trained_by: str, *, known: bool) -> str:
    """What is said of a policy that was trained elsewhere, and of what cannot be known of it then.

    Args:
        trained_by: what trained it, in words.
        known: whether a registry says what it was trained on.
    """
    said = f"imported, trained by {trained_by}"
    return said if known else f"{said}; its training data are unknown, so held-out prompts may be among them"


def describe(what: str, parents: Mapping[str, ModelRef], datasets: Mapping[str, DatasetRef]) -> str:
    """Description of a version: what it is and what it was made from."""
    made_from = [f"{role} {parent.label}" for role, parent in parents.items()]
    made_from += [f"{dataset.name} {dataset.digest[:12]}{_made_by(dataset)}" for dataset in datasets.values()]
    return f"{what}. Made from {', '.join(made_from)}." if made_from else f"{what}."


def _made_by(dataset: DatasetRef) -> str:
    policy = dataset.origins.get(SAMPLED_FROM)
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
                "halved_by": HALVED_BY,
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
