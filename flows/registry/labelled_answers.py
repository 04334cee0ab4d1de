"""Labelled answers of a policy: pairs of its answers that somebody compared, whichever climb kept them."""

from collections.abc import Iterator
from typing import NamedTuple

from flows.registry.client import Registry
from flows.registry.dataset_uploads import fetch_snapshot
from flows.registry.learned_prompts import UsedTable
from flows.registry.names import (
    ANNOTATOR_PREFIX,
    CONTRACT_TAG,
    LABELLED_BY,
    NAME_TAG,
    ORIGIN_PREFIX,
    SAMPLED_FROM,
    SNAPSHOT_TAG,
    data_experiment,
)
from flows.registry.references import ModelRef
from flows.registry.withdrawals import withdrawals_in_force


class LabelledAnswers(NamedTuple):
    """A snapshot of pairs whose responses one policy gave.

    Attributes:
        table: the snapshot, as it lies on this machine.
        annotator: who compared them, in words.
        labelled_by: the version that compared them, `name/version`; empty where that was no registered model.
    """

    table: UsedTable
    annotator: str
    labelled_by: str


def labelled_answers(policy: ModelRef, project: str, registry: Registry) -> Iterator[LabelledAnswers]:
    """Every snapshot that a project keeps of labelled answers of a policy, but those that were withdrawn.

    Raises:
        FileNotFoundError: if a snapshot is neither here nor in the artifact store.
    """
    client = registry.client
    kept = client.get_experiment_by_name(data_experiment(project))
    query = f"tags.`{ORIGIN_PREFIX}{SAMPLED_FROM}` = '{policy.label}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([kept.experiment_id], query, order_by=["attributes.start_time ASC"]) if kept else []
    withdrawn = {item.name for item in withdrawals_in_force(client, project) if item.kind == "dataset"} if runs else ()
    for tags in (run.data.tags for run in runs if run.data.tags[SNAPSHOT_TAG] not in withdrawn):
        name, digest = tags[NAME_TAG], tags[SNAPSHOT_TAG]
        path = fetch_snapshot(digest, registry.storage / "snapshots" / name / f"{digest}.parquet", policy, registry)
        yield LabelledAnswers(
            table=UsedTable("evaluation", name, digest, path, tags[CONTRACT_TAG]),
            annotator=tags.get(f"{ANNOTATOR_PREFIX}name", ""),
            labelled_by=tags.get(f"{ORIGIN_PREFIX}{LABELLED_BY}", ""),
        )
