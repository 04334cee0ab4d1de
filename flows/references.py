"""What stages hand to each other: names, digests and places, never tensors or tables."""

from rlhf_core.config import Frozen
from rlhf_core.evaluation.estimates import Estimate


class ModelRef(Frozen):
    """A registered model version.

    Attributes:
        model_id: identity of the logged model in MLflow, `m-...`.
        uri: `models:/name/version`.
        digest: SHA-256 over the names and contents of its files.
        run_id: the MLflow run that made it.
    """

    name: str
    version: str
    model_id: str
    uri: str
    digest: str
    run_id: str

    @property
    def label(self) -> str:
        """The version as people write it: `name/version`."""
        return f"{self.name}/{self.version}"


class DatasetRef(Frozen):
    """An immutable snapshot of a table.

    Attributes:
        digest: SHA-256 over its content.
        path: where the snapshot lies.
        splits: rows by split.
    """

    name: str
    digest: str
    path: str
    rows: int
    splits: dict[str, int]


class DataRefs(Frozen):
    """The three tables of a climb and what they were made from.

    Attributes:
        ceiling: agreement that a perfect judge would reach on the preferences, None where no pair has several votes.
        skipped: raw rows left out, by reader and reason.
        ladder_run: the climb that ingested them; a later climb that finds them here has reused them.
    """

    demonstrations: DatasetRef
    preferences: DatasetRef
    prompts: DatasetRef
    ceiling: Estimate | None
    skipped: dict[str, int]
    ladder_run: str
    seconds: float

    @property
    def tables(self) -> tuple[DatasetRef, DatasetRef, DatasetRef]:
        """The tables in the order in which the ladder uses them."""
        return self.demonstrations, self.preferences, self.prompts


class StageRecord(Frozen):
    """What is remembered of a finished stage.

    Attributes:
        key: content key of the stage: configuration, inputs, seed and code.
        models: registered versions by artifact name.
        estimates: the figures that gates judge.
        ladder_run: the climb that made it; a later climb that finds it here has reused it.
        seconds: training time in the climb that made it.
    """

    stage: str
    key: str
    ladder_run: str
    run_id: str
    models: dict[str, ModelRef]
    estimates: dict[str, Estimate]
    seconds: float = 0.0

    @property
    def model(self) -> ModelRef:
        """The first model of the stage; most stages make one."""
        return next(iter(self.models.values()))
