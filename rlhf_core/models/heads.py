"""Score heads and value heads on a trunk."""

import copy

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from rlhf_core.data.model_settings import stored_number
from rlhf_core.models.ensembles import aggregation
from rlhf_core.models.lora import HEAD, on_trunk

TEMPERATURE = "reward_temperature"
"""Key in a reward model's `config.json`: divide its score by this to get a calibrated one."""

COLDEST = 1e-6
"""Least temperature that a score is divided by."""


def score_head(model: PreTrainedModel) -> nn.Linear:
    """The head that makes a scalar of a hidden state, or one for each member of an ensemble.

    Raises:
        ValueError: if the architecture has no linear one named `score`.
    """
    head = getattr(model, HEAD, None)
    if not isinstance(head, nn.Linear):
        where, name = f"{model.name_or_path}: " if model.name_or_path else "", type(model).__name__
        raise ValueError(f"{where}{name} has no linear `score` head, so it cannot be a reward model")
    return head


def temperature(model: PreTrainedModel) -> float:
    """The temperature stored with a reward model, 1.0 where none is.

    Raises:
        ValueError: if it is no number above 0, or so small that scores would not be numbers.
    """
    return stored_number(model.config, TEMPERATURE, 1.0, least=COLDEST)


def check_stored(config: PreTrainedConfig) -> None:
    """See that what is stored with a reward model says how its members make one calibrated score.

    Raises:
        ValueError: naming the key, and what it may be.
    """
    aggregation(config)
    stored_number(config, TEMPERATURE, 1.0, least=COLDEST)


def add_value_head(policy: PreTrainedModel) -> None:
    """Give a policy the `score` head of a value model, on its own trunk; `save` leaves it out.

    The head starts at 0, as in Ziegler et al. (2019): without data no prompt is better than another.

    Raises:
        ValueError: if the classifier of the architecture has no linear `score` head.
    """
    head = score_head(as_classifier(policy)).to_empty(device=policy.device)
    for weight in head.parameters():
        nn.init.zeros_(weight)
    policy.score = head
    policy._keys_to_ignore_on_save = {f"score.{name}" for name in head.state_dict()}


def as_classifier(policy: PreTrainedModel) -> PreTrainedModel:
    """The classifier with one label that has the trunk of a policy, and its value head if there is one.

    Weights are shared; a head of its own has none.
    """
    config = copy.deepcopy(policy.config)
    config.num_labels = 1
    classifier = on_trunk(config, policy)
    classifier.score = getattr(policy, HEAD, classifier.score)
    return classifier
