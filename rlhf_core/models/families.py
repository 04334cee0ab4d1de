"""Whether a family of models can climb the ladder, by its configuration alone: before any weights are fetched."""

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig

from rlhf_core.models.classifiers import weightless_classifier
from rlhf_core.models.ensembles import AGGREGATE
from rlhf_core.models.heads import score_head


def check_base(config: PreTrainedConfig) -> None:
    """Test that a base can become a policy and the trunk of a reward model; weights are tried when they are loaded.

    Raises:
        ValueError: saying what it is instead, and the mend.
    """
    if config.get_text_config() is not config:
        raise ValueError(f"a {config.model_type} reads more than text; name a model of text only")
    if config.is_encoder_decoder:
        raise ValueError(
            f"a {config.model_type} is an encoder with a decoder, and the ladder trains decoders alone; name a causal "
            "language model"
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"transformers has no causal language model of the family '{config.model_type}'; name one that has"
        )
    try:
        score_head(weightless_classifier(config))
    except ValueError as error:
        raise ValueError(f"{error}; the ladder needs one on the base: name a base of another family") from None


def check_reward_model(config: PreTrainedConfig) -> None:
    """Test that a model from elsewhere gives one score.

    Raises:
        ValueError: saying what it is instead, and the mend.
    """
    architectures = config.architectures or []
    scores = config.num_labels == 1 or hasattr(config, AGGREGATE)
    if not any(name.endswith("ForSequenceClassification") for name in architectures) or not scores:
        raise ValueError(
            f"{', '.join(architectures) or 'an unnamed architecture'} with {config.num_labels} labels is no reward "
            f"model; name a sequence classifier with one label, or several and `{AGGREGATE}` in its config.json"
        )
    score_head(weightless_classifier(config))
