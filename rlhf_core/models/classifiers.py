"""Sequence classifiers of every family: that of `transformers`, or the same head on a trunk where it has none.

What is put together here is saved with a few lines of code beside it, so that stock `transformers` loads it without
this project (decision 0016). No code that lies in a model's folder is run here.
"""

import inspect
from functools import cache
from pathlib import Path

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

CODE = Path("modeling_reward.py")
"""The file beside a saved classifier that `transformers` has no class for."""

SUFFIX = "ForSequenceClassification"

CODE_MAP = "auto_map"
"""Key in a model's `config.json`: where `transformers` finds classes that it has not itself."""

CODE_TEXT = '''"""A linear `score` head on a trunk for whose family transformers has no sequence classifier."""

from transformers.modeling_layers import GenericForSequenceClassification
from {module} import {family}


class {name}(GenericForSequenceClassification, {family}):
    base_model_prefix = "{prefix}"
'''


def classifier_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The sequence classifier of a family: the stock one, else one that is put together of stock parts.

    Raises:
        ValueError: if `transformers` has no trunk of this family.
    """
    if _is_stock(config):
        stock: type[PreTrainedModel] = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
        return stock
    if type(config) not in MODEL_MAPPING:
        raise ValueError(f"transformers has no model of text of the family '{config.model_type}'")
    return _put_together(MODEL_MAPPING[type(config)])


def weightless_classifier(config: PreTrainedConfig) -> PreTrainedModel:
    """The classifier of a configuration, with shapes only."""
    with torch.device("meta"):
        model: PreTrainedModel = classifier_class(config)._from_config(config)
    return model


def write_code(model: PreTrainedModel, folder: Path) -> None:
    """Write beside a classifier what `transformers` needs to load it, and name that in its configuration.

    Code that the configuration of a base names is forgotten: it was not run here, and who loads what was made shall not
    run it either.
    """
    if hasattr(model.config, CODE_MAP):
        delattr(model.config, CODE_MAP)
    if _is_stock(model.config) or not isinstance(model, GenericForSequenceClassification):
        return
    made = classifier_class(model.config)
    family = _family(made)
    text = CODE_TEXT.format(
        module=family.__module__, family=family.__name__, name=made.__name__, prefix=made.base_model_prefix
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CODE).write_text(text, encoding="utf-8")
    model.config.auto_map = {"AutoModelForSequenceClassification": f"{CODE.stem}.{made.__name__}"}


def _is_stock(config: PreTrainedConfig) -> bool:
    """Whether `transformers` itself brings a classifier, and not code that was loaded into this process."""
    return config.model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES


@cache
def _put_together(trunk: type[PreTrainedModel]) -> type[PreTrainedModel]:
    family = _family(trunk)
    name = f"{trunk.__name__.removesuffix('Model')}{SUFFIX}"
    return type(name, (GenericForSequenceClassification, family), {"base_model_prefix": family.base_model_prefix})


def _family(model: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The class that all models of a family inherit from, with its initialisation and its prefix."""
    return next(kind for kind in inspect.getmro(model)[1:] if kind.__name__.endswith("PreTrainedModel"))
