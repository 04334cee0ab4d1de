"""Whether the models that a configuration takes are there, and of families that can do what they are taken for."""

from contextlib import AbstractContextManager, nullcontext

from transformers import AutoModelForCausalLM

from flows.config.errors import InputError
from flows.config.hub_access import asking_hub, require_on_hub
from flows.config.ladder import LadderConfig
from flows.config.pretrained import FolderModel, HubModel, LocalModel
from flows.registry.external_models import check_local, moved, name_of, pin, refusal
from flows.registry.hub import cached, resolve
from rlhf_core.data.chat_template import settle_template
from rlhf_core.data.model_settings import read_config, read_tokenizer
from rlhf_core.models.classifiers import classifier_class
from rlhf_core.models.fitness import check_base, check_reward_model
from rlhf_core.models.weights import check_weights


def check_families(config: LadderConfig) -> None:
    """See what every model of the hub or of this machine says of itself, and refuse those that a later stage would.

    What cannot be fetched is left to who fetches the weights.

    Raises:
        InputError: naming the field, the family or weights, and the mend.
    """
    for field, source in config.pretrained_models.items():
        _check_model(field, source)


def try_local_models(config: LadderConfig) -> None:
    """See that models on this machine are there and whole, and can do what they are taken for.

    Raises:
        InputError: naming the field and the mend.
    """
    for field, source in config.pretrained_models.items():
        if isinstance(source, LocalModel):
            if source.digest is not None:
                pin(field, source)
            try:
                check_local(source)
            except InputError as error:
                raise InputError(f"field '{field}': {error}") from None
            _try_tokenizer(field, source)
            _check_model(field, source)


def try_hub_models(config: LadderConfig) -> list[str]:
    """See that the hub, or the cache of this machine, has the models that are taken from it, and that they are fit.

    Returns:
        Notes: that a revision may move, or that only the cache has it.

    Raises:
        InputError: naming the field and the mend.
    """
    notes = []
    for field, source in config.pretrained_models.items():
        if isinstance(source, HubModel):
            notes += _ask_for(field, source)
            _try_tokenizer(field, source)
            _check_model(field, source)
    return notes


def _ask_for(field: str, source: HubModel) -> list[str]:
    notes = []
    try:
        require_on_hub(field, "model", source.model, source.revision)
    except InputError:
        if cached(source) is None:
            raise
        notes.append(f"{field}: the hub was not reached, and the cache of this machine has {name_of(source)}")
    return [*notes, *([moved(field, resolve(source))] if source.moves else [])]


def _try_tokenizer(field: str, source: HubModel | LocalModel) -> None:
    """Read the tokenizer of a model, and see that it has one chat template which writes the same on every day."""
    try:
        with _reaching(field, source):
            settle_template(read_tokenizer(source.name, **source.loading))
    except (OSError, ValueError) as error:
        raise InputError(f"field '{field}': {refusal(source, error)}") from None


def _check_model(field: str, source: HubModel | LocalModel) -> None:
    """Read the configuration of a model, if it can be had; of a folder, the names and shapes of its weights too."""
    try:
        with _reaching(field, source):
            said = read_config(source.name, **source.loading)
    except (OSError, InputError):
        return
    try:
        (check_base if field == "base" else check_reward_model)(said)
        if isinstance(source, FolderModel):
            check_weights(AutoModelForCausalLM if field == "base" else classifier_class(said), source.path)
    except ValueError as error:
        raise InputError(f"field '{field}': {refusal(source, error)}") from None


def _reaching(field: str, source: HubModel | LocalModel) -> AbstractContextManager[None]:
    return asking_hub(f"model {name_of(source)}", field=field) if isinstance(source, HubModel) else nullcontext()
