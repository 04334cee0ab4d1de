"""Sequence classifiers of every family: that of `transformers`, or the same head on a trunk where it has none.

What is put together here is saved with a few lines of code beside it, so that stock `transformers` loads it without
this project (decision 0016). No code that lies in a model's folder is run here.
"""

import copy
import inspect
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from rlhf_core.data.model_settings import in_words
from rlhf_core.models.model_files import writing
from rlhf_core.models.trunk import trunk

CODE = Path("modeling_reward.py")
"""The file beside a saved classifier that `transformers` has no class for."""

SUFFIX = "ForSequenceClassification"

CODE_MAP = "auto_map"
"""Key in a model's `config.json`: where `transformers` finds classes that it has not itself."""

CODE_TEXT = '''"""A linear `score` head on a trunk for whose family transformers has no sequence classifier."""

from transformers.modeling_layers import GenericForSequenceClassification
from {config.__module__} import {config.__name__}
from {family.__module__} import {family.__name__}


class {name}(GenericForSequenceClassification, {family.__name__}):
    base_model_prefix = "{prefix}"
    config_class = {config.__name__}

    @classmethod
    def is_custom_code(cls):
        return False  # all parts are those of transformers, and so is what they start with
'''


def classifier_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The sequence classifier of a family: the stock one, else one that is put together of stock parts.

    Raises:
        ValueError: if the trunk of the family's language model is none that a head could stand on.
    """
    if _is_stock(config):
        return cast(type[PreTrainedModel], MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)])
    with in_words(config), torch.device("meta"):
        language_model = cast(PreTrainedModel, AutoModelForCausalLM.from_config(copy.deepcopy(config)))
    if type(config) not in MODEL_MAPPING or not isinstance(trunk(language_model), _trunk(type(config))):
        raise ValueError(
            f"transformers has no classifier for the family '{config.model_type}', and no trunk that a score head "
            "could stand on, so it cannot be a reward model"
        )
    if not _gives_cache(_trunk(type(config))):
        raise ValueError(
            f"{config.model_type} gives no cache beside its states, and every classifier of transformers reads one, so "
            "it cannot be a reward model"
        )
    kind: Any = type(config)
    made: type[PreTrainedModel] = _put_together(kind)
    return made


def weightless_classifier(config: PreTrainedConfig) -> PreTrainedModel:
    """The classifier of a configuration, with shapes only."""
    with in_words(config), torch.device("meta"):
        model: PreTrainedModel = classifier_class(config)._from_config(config)
    return model


def write_model(model: PreTrainedModel, folder: Path) -> None:
    """Write a model as a folder that `transformers` loads; beside a classifier that it has not goes the code of it.

    Code that the configuration of a base names is forgotten: it was not run here, and who loads what was made shall not
    run it either. Weights of such a classifier keep the names that they have in memory, since `transformers` translates
    those of its own classes only.

    Raises:
        OSError: whatever the disk said.
    """
    if hasattr(model.config, CODE_MAP):
        delattr(model.config, CODE_MAP)
    made = isinstance(model, GenericForSequenceClassification) and not _is_stock(model.config)
    if made:
        config, body = type(model.config), _trunk(type(model.config))
        name = _name(body)
        text = CODE_TEXT.format(name=name, config=config, family=_family(body), prefix=body.base_model_prefix)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CODE).write_text(text, encoding="utf-8")
        model.config.auto_map = {"AutoModelForSequenceClassification": f"{CODE.stem}.{name}"}
    with writing(folder):
        model.save_pretrained(folder, save_original_format=not made)


def _is_stock(config: PreTrainedConfig) -> bool:
    """Whether `transformers` itself brings a classifier, and not code that was loaded into this process."""
    return config.model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES


@cache
def _put_together(config: type[PreTrainedConfig]) -> type[PreTrainedModel]:
    body = _trunk(config)
    family = _family(body)
    members = {
        "__module__": family.__module__,  # whose text tells `transformers` which attention it may set
        "base_model_prefix": body.base_model_prefix,
        "config_class": config,
    }
    return type(_name(body), (GenericForSequenceClassification, family), members)


def _gives_cache(body: type[PreTrainedModel]) -> bool:
    given = get_type_hints(inspect.unwrap(body.forward)).get("return")
    fields = (getattr(kind, "__dataclass_fields__", ()) for kind in get_args(given) or [given])
    return any(name in names for names in fields for name in ("cache", "past_key_values"))


def _trunk(config: type[PreTrainedConfig]) -> type[PreTrainedModel]:
    return cast(type[PreTrainedModel], MODEL_MAPPING[config])


def _name(body: type[PreTrainedModel]) -> str:
    return f"{body.__name__.removesuffix('Model')}{SUFFIX}"


def _family(body: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The class that all models of a family inherit from, with their initialisation and prefix."""
    return next(kind for kind in inspect.getmro(body)[1:] if kind.__name__.endswith("PreTrainedModel"))
