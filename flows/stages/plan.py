"""The plan of a stage: its training, inputs and artifacts, and the content key of its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.registry.keys import Identity, identify, inputs_of
from flows.registry.names import registered_name
from flows.registry.packaging import Serving
from flows.registry.references import DatasetRef, ModelRef
from rlhf_core.config import Frozen
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Stage


@dataclass(frozen=True)
class Plan:
    """What a stage is going to do.

    Attributes:
        start: begins the training; called with the folder to write to and the states to go on from. Reads its data and
            models itself, on every rank.
        main: the artifact that later stages take, registered as `<project>-<stage>`.
        models: what each artifact is, by artifact name; the others are registered as `<project>-<name>`.
        uses: what each does for who loads it through MLflow, by artifact name.
        parents: models that go in, by role.
        datasets: snapshots that go in, by use.
        sources: digests of what else goes in and no registry keeps, such as code of users, by name.
        tags: what else its versions are to say of themselves.
        key_metrics: metrics that the live view prefers, those that matter most first.
        alone: whether one process does it, whatever the configuration says.
    """

    stage: str
    config: Frozen
    seed: int
    start: Callable[[Path, Checkpoints], Stage]
    main: str
    models: Mapping[str, str]
    uses: Mapping[str, Serving]
    parents: Mapping[str, ModelRef] = field(default_factory=dict)
    datasets: Mapping[str, DatasetRef] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    key_metrics: tuple[str, ...] = ()
    alone: bool = False

    @property
    def identity(self) -> Identity:
        """What decides the result of the stage."""
        models = {role: ref.digest for role, ref in self.parents.items()}
        datasets = {use: ref.digest for use, ref in self.datasets.items()}
        return identify(self.stage, self.config, inputs_of(models, datasets, self.sources), self.seed)

    @property
    def key(self) -> str:
        """Content key of the stage."""
        return self.identity.key

    def registered_name(self, project: str, artifact: str) -> str:
        """Registered name of an artifact of this stage."""
        return registered_name(project, self.stage if artifact == self.main else artifact.replace("_", "-"))
