"""Whether the models that a configuration takes from the hub are of families that can do what they are taken for."""

from collections.abc import Callable, Iterator

from transformers import AutoConfig, PreTrainedConfig

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import HubBase, HubModel
from rlhf_core.models.fitness import check_base, check_reward_model


def hub_models(config: LadderConfig) -> Iterator[tuple[str, HubBase | HubModel]]:
    """Fields with models of the hub."""
    if isinstance(config.base, HubBase):
        yield "base", config.base
    for field, source in config.taken_models.items():
        if isinstance(source, HubModel):
            yield field, source


def check_families(config: LadderConfig) -> None:
    """Read the `config.json` of every model of the hub, and refuse those that a later stage would.

    What cannot be fetched is left to who fetches the weights.

    Raises:
        InputError: naming the field, the family and the mend.
    """
    for field, source in hub_models(config):
        check: Callable[[PreTrainedConfig], None] = check_base if isinstance(source, HubBase) else check_reward_model
        try:
            check(AutoConfig.from_pretrained(source.model, revision=source.revision))
        except OSError:
            continue
        except ValueError as error:
            reason = str(error).splitlines()[0].removeprefix(f"{source.model}: ")
            raise InputError(f"field '{field}': {source.model}@{source.revision[:8]}: {reason}") from None
