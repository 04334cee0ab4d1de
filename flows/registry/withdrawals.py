"""Withdrawals: data that later ingestions leave out, each a run in the experiment `<project>-withdrawals`.

So they are where the versions are, whichever machine they were made from, and can be read in MLflow.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run
from numpy.typing import NDArray

from flows.config.errors import InputError
from flows.registry.names import withdrawals_experiment
from rlhf_core.config import Frozen

if TYPE_CHECKING:
    from flows.registry.client import Registry  # which imports more than whoever only reads needs

WithdrawnKind = Literal["source", "annotator", "group", "dataset"]

KEYS = "rows.npy"
"""Artifact of a withdrawn dataset: the sorted keys of its rows, which no text can be read from."""

SHORT_ID = 12

LOCK = "withdrawals"
"""Whoever withdraws data, or gives the alias to versions, holds the lock of this name."""

RUNS_PER_PAGE = 1000


class DataName(NamedTuple):
    """Data that a person named.

    Attributes:
        kind: what the name is of.
        name: of a source or an annotator; digest of a dataset; `hashed_group` of a group.
        table: of a dataset, which kind of rows it holds.
    """

    kind: WithdrawnKind
    name: str
    table: str = ""

    @property
    def target(self) -> str:
        """As a withdrawal of it is called."""
        return f"{self.kind}:{self.name}"


class Withdrawal(Frozen):
    """Data that are left out from a day on.

    Attributes:
        id: the MLflow run that keeps it.
        kind: what `name` is of.
        name: of a source or an annotator; digest of a dataset; `hashed_group` of a group.
        table: of a dataset, which kind of rows it holds; else empty.
        by: who withdrew it, as user@host.
        when: in UTC.
        restored: when, by whom and why it was taken back; empty while it holds.
    """

    id: str
    kind: WithdrawnKind
    name: str
    table: str
    why: str
    by: str
    when: datetime
    restored: str = ""

    @property
    def short_id(self) -> str:
        """What tags name it by."""
        return self.id[:SHORT_ID]

    @property
    def data(self) -> DataName:
        """What is withdrawn."""
        return DataName(self.kind, self.name, self.table)

    @property
    def target(self) -> str:
        """What is withdrawn, as commands take it."""
        return self.data.target

    @property
    def subject(self) -> str:
        """What is withdrawn, in words."""
        return f"{self.kind} {self.name[:SHORT_ID] if self.kind in ('group', 'dataset') else self.name}"

    @property
    def sentence(self) -> str:
        """What was withdrawn, when, by whom and why."""
        return f"{self.subject}, withdrawn {self.when:%Y-%m-%d %H:%M} UTC by {self.by}: {self.why}"


def hashed_group(group: str) -> str:
    """What stands for a group, which may be a text of the data: its SHA-256."""
    return hashlib.sha256(group.encode("utf-8", "surrogatepass")).hexdigest()


def withdraw(
    kept: "Registry",
    project: str,
    data: DataName,
    *,
    why: str,
    by: str,
    keys: NDArray[np.uint64] | None = None,
) -> Withdrawal:
    """Have later ingestions of a project leave data out.

    It holds once its run has finished, so that one that is cut off holds nothing. The caller has `LOCK`.

    Args:
        kept: the experiment of the withdrawals.
        project: whose data.
        data: which of them.
        why: the reason.
        by: who does it.
        keys: of a dataset, those of its rows.

    Raises:
        InputError: if the same is withdrawn already.
    """
    for earlier in withdrawals_in_force(kept.client, project):
        if earlier.target == data.target:
            raise InputError(f"{earlier.sentence}; it is left out already")
    tags = {**data._asdict(), "why": why, "by": by}
    run_id = kept.start_run(data.target[:60], tags=tags)
    if keys is not None:
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / KEYS, np.unique(keys))
            kept.client.log_artifact(run_id, str(Path(folder) / KEYS))
    kept.end_run(run_id, "FINISHED")
    return read_withdrawal(kept.client.get_run(run_id))


def restore(kept: "Registry", withdrawal: Withdrawal, *, why: str, by: str) -> Withdrawal:
    """Take a withdrawal back: later ingestions read these data again. Its record stays, with when and why."""
    said = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by {by}: {why}"
    kept.tag_run(withdrawal.id, {"restored": said})
    return withdrawal.model_copy(update={"restored": said})


def all_withdrawals(client: MlflowClient, project: str) -> list[Withdrawal]:
    """All withdrawals of a project, those taken back too, the oldest first."""
    experiment = client.get_experiment_by_name(withdrawals_experiment(project))
    found: list[Withdrawal] = []
    token = None
    while experiment is not None:
        page = client.search_runs(
            [experiment.experiment_id],
            "attributes.status = 'FINISHED'",
            max_results=RUNS_PER_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found += map(read_withdrawal, page)
        token = page.token
        if not token:
            break
    return found


def withdrawals_in_force(client: MlflowClient, project: str) -> list[Withdrawal]:
    """The withdrawals of a project that hold now, the oldest first."""
    return [withdrawal for withdrawal in all_withdrawals(client, project) if not withdrawal.restored]


def withdrawn_keys(client: MlflowClient, withdrawal: Withdrawal) -> NDArray[np.uint64]:
    """The keys of the rows of a withdrawn dataset, sorted."""
    with tempfile.TemporaryDirectory() as folder:
        keys: NDArray[np.uint64] = np.load(client.download_artifacts(withdrawal.id, KEYS, folder))
    return keys


def withdrawals_digest(withdrawals: Iterable[Withdrawal]) -> dict[str, str]:
    """What of withdrawals decides what ingestion makes, by what names it among the inputs of a key."""
    return {f"withdrawn.{withdrawal.target}": withdrawal.table for withdrawal in withdrawals}


def read_withdrawal(run: Run) -> Withdrawal:
    """The withdrawal that a run keeps."""
    tags: Mapping[str, str] = run.data.tags
    return Withdrawal.model_validate(
        {
            "id": run.info.run_id,
            **{name: tags[name] for name in ("kind", "name", "table", "why", "by")},
            "when": datetime.fromtimestamp(run.info.start_time / 1000, UTC),
            "restored": tags.get("restored", ""),
        }
    )
