"""Whether the models that a configuration takes are of families that can do what they are taken for."""

from collections.abc import Callable

from transformers import AutoConfig, PreTrainedConfig

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.registry.external_models import name_of
from rlhf_core.models.fitness import check_base, check_reward_model


def check_families(config: LadderConfig) -> None:
    """Read the configuration of every model of the hub or of this machine, and refuse those that a later stage would.

    What cannot be fetched is left to who fetches the weights.

    Raises:
        InputError: naming the field, the family and the mend.
    """
    for field, source in config.pretrained_models.items():
        check: Callable[[PreTrainedConfig], None] = check_base if field == "base" else check_reward_model
        try:
            check(AutoConfig.from_pretrained(source.name, **source.loading))
        except OSError:
            continue
        except ValueError as error:
            name = name_of(source)
            reason = str(error).splitlines()[0].removeprefix(f"{name}: ")
            raise InputError(f"field '{field}': {name}: {reason}") from None
