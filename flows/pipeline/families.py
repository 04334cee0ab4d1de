"""Whether the models that a configuration takes are there, and of families that can do what they are taken for."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from transformers import AutoModelForCausalLM, PreTrainedConfig

from flows.config.errors import InputError
from flows.config.hub_access import asking_hub, require_on_hub
from flows.config.imported_policy import ImportedPolicy
from flows.config.ladder import LadderConfig
from flows.config.pretrained import FolderModel, HubModel, LocalModel, ModelSource
from flows.data.audits.cut_texts import readings
from flows.registry.client import Registry
from flows.registry.external_models import check_local, files_of, moved, name_of, pin, refusal
from flows.registry.hub import cached, resolve
from flows.registry.references import DataRefs, StageRecord
from flows.storage.records import read_prompts
from rlhf_core.config.lengths import Lengths
from rlhf_core.data.chat_template import pinned_day
from rlhf_core.data.model_settings import read_config
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.imported_policy import check_writes_alike
from rlhf_core.models.classifiers import classifier_class
from rlhf_core.models.fitness import check_base, check_configuration, check_lengths, check_reward_model
from rlhf_core.models.weights import check_weights

POLICY = "policy.from"

FIT: dict[str, Callable[[PreTrainedConfig], None]] = {"base": check_base, POLICY: check_configuration}
"""Fields that take a language model, and what it must be fit for; the others take reward models."""

ASKED = ("How do I mend a kettle?", "Write a short story. It should have two\nlines.")
"""Prompts that a policy from elsewhere and the base must write alike, where there are no data yet."""

COMPARED = 64
"""Prompts of the data that both are to write alike."""


def check_families(config: LadderConfig) -> None:
    """See what every model of the hub or of this machine says of itself, and refuse those that a later stage would.

    What cannot be fetched is left to who fetches the weights.

    Raises:
        InputError: naming the field, the family or weights, and the mend.
    """
    for field, source in config.pretrained_models.items():
        _check_model(field, source, config)
    _check_tokens(config)


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
            _check_model(field, source, config)
    _check_tokens(config)


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
            _check_model(field, source, config)
    _check_tokens(config)
    return notes


def check_policy_tokens(config: LadderConfig, data: DataRefs, base: StageRecord, registry: Registry) -> None:
    """See that a policy from elsewhere, if one is named, writes the tokens of the base, before anything learns from it.

    Args:
        config: which may name one.
        data: whose prompts it is to answer.
        base: which was made or taken.
        registry: where base and registered policies are.

    Raises:
        InputError: saying what differs.
    """
    if isinstance(config.policy, ImportedPolicy):
        policy, prompts = config.policy.source, read_prompts(data.prompts, "train")[:COMPARED]
        _compare_tokens(policy, files_of(policy, registry), registry.folder(base.model), prompts)


def _ask_for(field: str, source: HubModel) -> list[str]:
    notes = []
    try:
        require_on_hub(field, "model", source.model, source.revision)
    except InputError:
        if cached(source) is None:
            raise
        notes.append(f"{field}: the hub was not reached, and the cache of this machine has {name_of(source)}")
    return [*notes, *([moved(field, resolve(source))] if source.moves else [])]


def _check_model(field: str, source: HubModel | LocalModel, config: LadderConfig) -> None:
    """Read what a model says of itself, if it can be had; of a folder, the names and shapes of its weights too."""
    try:
        with reaching(field, source):
            said = read_config(source.name, **source.loading)
    except (OSError, InputError):
        return
    try:
        FIT.get(field, check_reward_model)(said)
        for lengths, section in _lengths(config, field):
            check_lengths(said, lengths, section)
        if isinstance(source, FolderModel):
            check_weights(AutoModelForCausalLM if field in FIT else classifier_class(said), source.path)
    except ValueError as error:
        raise InputError(f"field '{field}': {refusal(source, error)}") from None


def _lengths(config: LadderConfig, field: str) -> list[tuple[Lengths, str]]:
    """Where texts are cut for a model that is taken, and the section that says so."""
    if field == POLICY:
        return [(config.policy.sampling.lengths, "policy.sampling")]
    return [(reading.lengths, reading.section) for reading in readings(config) if reading.model == field]


def _check_tokens(config: LadderConfig) -> None:
    """As `check_policy_tokens`, where both tokenizers are on this machine already."""
    policy, base = (config.pretrained_models.get(field) for field in (POLICY, "base"))
    source, other = _folder(policy), _folder(base)
    if policy is not None and source is not None and other is not None:
        _compare_tokens(policy, source, other, ASKED)


def _compare_tokens(policy: ModelSource | LocalModel, source: Path, base: Path, prompts: Sequence[str]) -> None:
    """Compare tokenizers; a template that reads the clock is pinned in either as it is in the other."""
    try:
        check_writes_alike(source, load_tokenizer(str(base), day=pinned_day(source)), prompts, day=pinned_day(base))
    except (OSError, ValueError) as error:
        raise InputError(f"field '{POLICY}': {refusal(policy, error)}") from None


def _folder(source: HubModel | LocalModel | None) -> Path | None:
    """Where the tokenizer of a model lies on this machine as `transformers` reads it; None where it does not."""
    if isinstance(source, HubModel):
        return cached(source)
    return source.path if isinstance(source, FolderModel) else None


def reaching(field: str, source: HubModel | LocalModel) -> AbstractContextManager[None]:
    """What tells of a hub that does not answer, where a model is on it."""
    return asking_hub(f"model {name_of(source)}", field=field) if isinstance(source, HubModel) else nullcontext()
