"""Whether the models that a configuration takes are of families that can do what they are taken for."""

from transformers import AutoConfig, AutoModelForCausalLM

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import FolderModel, HubModel, LocalModel
from flows.registry.external_models import refusal
from rlhf_core.models.classifiers import classifier_class
from rlhf_core.models.fitness import check_base, check_reward_model
from rlhf_core.models.weights import check_weights


def check_families(config: LadderConfig) -> None:
    """See what every model of the hub or of this machine says of itself, and refuse those that a later stage would.

    Raises:
        InputError: as `check_model`.
    """
    for field, source in config.pretrained_models.items():
        check_model(field, source)


def check_model(field: str, source: HubModel | LocalModel) -> None:
    """Read the configuration of a model; of a folder, the names and shapes of its weights too.

    What cannot be fetched is left to who fetches the weights.

    Raises:
        InputError: naming the field, the family or weights, and the mend.
    """
    try:
        said = AutoConfig.from_pretrained(source.name, **source.loading)
        (check_base if field == "base" else check_reward_model)(said)
        if isinstance(source, FolderModel):
            check_weights(AutoModelForCausalLM if field == "base" else classifier_class(said), source.path)
    except OSError:
        return
    except ValueError as error:
        raise InputError(f"field '{field}': {refusal(source, error)}") from None
