"""Content keys: what decides the result of a stage."""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.config.pretrained import IDENTITY_CONTEXT
from rlhf_core.config import Frozen

IDENTITY = "identity.json"

STAGE_CODE = ("rlhf_core", "flows/registry", "flows/stages", "flows/storage")
"""What a stage is made of: the recipe, and the rooms of the pipeline on this side of the seam."""

DATA_CODE = ("rlhf_core", "data_contracts", "flows/data", "flows/storage")
"""What makes data: contracts, and all that reads, divides, measures and labels them."""

LADDER_CODE = (*STAGE_CODE, "data_contracts", "flows/data", "flows/pipeline")
"""What decides the verdicts of a climb: all of it, and what leads from stage to stage."""

SHOWING = ("climb_page", "figures.py", "lineage_events.py", "model_card.py", "progress.py")
"""Modules, and a folder of them, that only show what a stage or a climb makes."""

_HOME = Path(__file__).parents[2]

_SOURCES = (".json", ".py")


def code_version(rooms: tuple[str, ...] = STAGE_CODE) -> str:
    """Version of the package and a hash of the sources in some rooms, so that changed code is never taken for old."""
    return f"{version('rlhf-ladder')}+{_digest_at_start(rooms)[:16]}"


@functools.cache
def _digest_at_start(rooms: tuple[str, ...]) -> str:
    """One digest for the whole process, however its sources are edited meanwhile."""
    return code_digest(_HOME, rooms)


def code_digest(home: Path, rooms: Iterable[str]) -> str:
    """SHA-256 over what all sources in some rooms say, whatever they are called and wherever in these they lie.

    Configurations need no room: what they say is in the key itself.

    Args:
        home: folder of the packages.
        rooms: folders in it; modules that only show something are left out.
    """
    sources = [path for room in rooms for path in (home / room).rglob("*") if path.suffix in _SOURCES]
    deciding = [path for path in sources if not {*SHOWING} & {*path.relative_to(home).parts}]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in deciding]
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


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


def identify(
    stage: str, config: Frozen, inputs: Mapping[str, str], seed: int, rooms: tuple[str, ...] = STAGE_CODE
) -> Identity:
    """Identity of a result under the code of this process, of which `rooms` decides it; else as in `Identity`."""
    settings = config.model_dump(mode="json", context=IDENTITY_CONTEXT)
    return Identity(stage=stage, config=settings, inputs=dict(inputs), seed=seed, code=code_version(rooms))


def content_key(
    stage: str, config: Frozen, inputs: Mapping[str, str], seed: int, rooms: tuple[str, ...] = STAGE_CODE
) -> str:
    """Key of what `identify` describes."""
    return identify(stage, config, inputs, seed, rooms).key


def inputs_of(models: Mapping[str, str], datasets: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, str]:
    """Digests of models by role, of datasets by use and of other sources by name, as an identity names them."""
    kinds = {"model": models, "dataset": datasets, "source": sources}
    return {f"{kind}.{name}": digest for kind, digests in kinds.items() for name, digest in digests.items()}


def files_artifact(name: str) -> str:
    """Where a run keeps the digest of each file of a model that it registered."""
    return f"digests/{name}.json"
