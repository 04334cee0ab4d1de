"""Content keys: what decides the result of a stage."""

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rlhf_core
from rlhf_core.config import Frozen

IDENTITY = "identity.json"


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
