"""Inputs of a reward besides the trained reward model: further reward models, and code of users."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config.errors import InputError
from flows.registry.references import ModelRef
from flows.storage.digests import folder_digest
from rlhf_core.config import Frozen
from rlhf_core.config.reward import ModelConfig, PythonConfig, RewardConfig
from rlhf_core.rewards.functions import FunctionError, source_digest, try_out

if TYPE_CHECKING:
    from flows.registry.client import Registry


FIELD = "policy.reward.terms"


class RewardInputs(Frozen):
    """What the further terms of a reward depend on, pinned.

    Attributes:
        models: registered reward models by the name of their term.
        folders: reward models that no registry has, by the name of their term.
        sources: digests of what no registry keeps, by the name of the term: those folders, and code of users.
    """

    models: dict[str, ModelRef] = {}
    folders: dict[str, Path] = {}
    sources: dict[str, str] = {}

    @property
    def parents(self) -> dict[str, ModelRef]:
        """The registered models by the role that lineage gives them."""
        return {f"reward-{name}": ref for name, ref in self.models.items()}

    def model_folders(self, registry: "Registry") -> dict[str, Path]:
        """Where all further reward models lie on this machine, by the name of their term."""
        return {name: registry.folder(ref) for name, ref in self.models.items()} | self.folders


def resolve_reward(config: RewardConfig, registry: "Registry") -> RewardInputs:
    """Pin what a reward depends on.

    Args:
        config: the reward.
        registry: where its registered models are.

    Raises:
        InputError: naming the field, if a model, folder or function cannot be had.
    """
    check_reward(config)
    functions = {term.name: source_digest(term.function) for term in config.terms if isinstance(term, PythonConfig)}
    terms = list(_model_terms(config))
    folders = {term.name: Path(term.reward_model).resolve() for _, term in terms if term.registered is None}
    return RewardInputs(
        models={
            term.name: _pin(field, term.registered, registry) for field, term in terms if term.registered is not None
        },
        folders=folders,
        sources=functions | {name: folder_digest(folder) for name, folder in folders.items()},
    )


def check_reward(config: RewardConfig) -> None:
    """Try the functions of a reward on a few responses, and look for the folders of its further reward models.

    Raises:
        InputError: naming the field and the mend.
    """
    for index, term in enumerate(config.terms):
        if isinstance(term, PythonConfig):
            try:
                try_out(term.function)
                source_digest(term.function)
            except FunctionError as error:
                raise InputError(f"field '{FIELD}.{index}.function': {error}") from None
    for field, term in _model_terms(config):
        if term.registered is None and not (Path(term.reward_model) / "config.json").is_file():
            raise InputError(
                f"field '{field}': {term.reward_model} is no folder with a model; "
                "name one that `save_pretrained` wrote, or a version as models:/name/version"
            )


def registered_models(config: RewardConfig) -> list[tuple[str, str]]:
    """Fields and versions of the further reward models that only the registry can find."""
    return [(field, term.registered) for field, term in _model_terms(config) if term.registered is not None]


def _model_terms(config: RewardConfig) -> Iterator[tuple[str, ModelConfig]]:
    for index, term in enumerate(config.terms):
        if isinstance(term, ModelConfig):
            yield f"{FIELD}.{index}.reward_model", term


def _pin(field: str, model: str, registry: "Registry") -> ModelRef:
    try:
        return registry.pin(model)
    except InputError as error:
        raise InputError(f"field '{field}': {error}") from None
