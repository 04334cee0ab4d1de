"""RunContext: what all stages of a run share, its connection to the registry among it."""

import functools
import time
from pathlib import Path

import mlflow

from flows.config.audit import AuditConfig
from flows.config.compute import ComputeConfig
from flows.config.evidence import EvidenceConfig
from flows.config.lineage import LineageConfig
from flows.registry.client import Registry, open_registry
from flows.registry.keys import code_version
from rlhf_core.config import Frozen
from rlhf_core.training.stage import OutOfTime


class RunContext(Frozen):
    """What all stages of a run share.

    Attributes:
        run_id: the MLflow run of the whole ladder.
        until: `time.monotonic()` after which the run keeps its state and stops; None for no end.
    """

    project: str
    seed: int
    storage: Path
    threads: int | None
    run_id: str
    until: float | None = None
    compute: ComputeConfig = ComputeConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    lineage: LineageConfig = LineageConfig()
    audit: AuditConfig = AuditConfig()

    @property
    def cache(self) -> Path:
        """Where stages of this code keep what frozen models say, by content; it may be deleted at any time."""
        return self.storage / "cache" / code_version()

    def see_time(self, stage: str) -> None:
        """See that there is time for a stage.

        Raises:
            OutOfTime: if the run's time is over.
        """
        if self.until is not None and time.monotonic() >= self.until:
            raise OutOfTime(f"{stage} was not begun")

    def registry(self) -> Registry:
        """The run's connection to the registry; each process of the run has one."""
        return _connection(self.project, self.storage, self.audit, self.run_id, mlflow.get_tracking_uri())


@functools.lru_cache(maxsize=1)
def _connection(project: str, storage: Path, audit: AuditConfig, run_id: str, uri: str) -> Registry:
    """Opened once for a run, not for a process, which may outlive an experiment."""
    return open_registry(project, storage, audit)
