"""Where a climb happens: project, seed, storage and run, and the way from there to the registry."""

from pathlib import Path

from flows.config.compute import ComputeConfig
from flows.registry.client import Registry, open_registry
from flows.registry.keys import code_version
from rlhf_core.config import Frozen


class RunContext(Frozen):
    """Where a climb happens: what every stage of it shares.

    Attributes:
        run_id: the MLflow run of the whole ladder.
    """

    project: str
    seed: int
    storage: Path
    threads: int | None
    run_id: str
    compute: ComputeConfig = ComputeConfig()

    @property
    def cache(self) -> Path:
        """Where stages of this code keep what frozen models say, by content; it may be deleted at any time."""
        return self.storage / "cache" / code_version()

    def registry(self) -> Registry:
        """A connection to the registry."""
        return open_registry(self.project, self.storage)
