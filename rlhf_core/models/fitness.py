"""Which families can be a policy or a reward model here at all, by their configuration, before weights are read."""

from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from rlhf_core.config.lengths import Lengths
from rlhf_core.data.model_settings import read_config
from rlhf_core.models.classifiers import weightless_classifier
from rlhf_core.models.ensembles import AGGREGATE
from rlhf_core.models.heads import check_stored, score_head
from rlhf_core.models.model_files import check_kind

UNFIT = {
    "rwkv": "rescales its own weights whenever it is evaluated, so what is trained would not be what is saved",
    "reformer": "trains only with its own backward pass and random hashes, so nothing of it can be computed twice",
    "xlnet": "is trained on permutations of a text and reads in both directions",
    "cpmant": "reads a prompt of its own in both directions before the text",
    "youtu": "sets the weights of its padding token to 0 whenever it is loaded, so training would be lost",
    **dict.fromkeys(
        ("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
        "counts positions from the number of its padding token, which is another where it is trained here",
    ),
}
"""Why no way of computing a family would be right."""

FIXED_VOCABULARY = ("deepseek_v4", "marian", "roc_bert")
"""Families with further tables of their vocabulary, which `transformers` does not enlarge with the first."""

MOST_GROWN = 2**16
"""Rows that a vocabulary may grow by."""

CAUSAL = "RLHF Ladder trains causal language models (decoder only)"


def check_family(path: Path) -> None:
    """As `check_configuration`, of a folder of a model, and as `check_kind`."""
    check_kind(path)
    try:
        check_configuration(read_config(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_growth(model: PreTrainedModel, tokens: int) -> None:
    """Refuse to enlarge the vocabulary of a model where that would leave its tables of different sizes.

    Args:
        model: with fewer rows than its tokenizer has tokens.
        tokens: of the tokenizer, one for padding included.

    Raises:
        ValueError: naming the mend.
    """
    family, rows = model.config.model_type, len(model.get_input_embeddings().get_parameter("weight"))
    if tokens > rows + MOST_GROWN:
        raise ValueError(
            f"{model.name_or_path}: its tokenizer has ids up to {tokens - 1}, and the model {rows} rows; "
            "take tokenizer and weights of one model"
        )
    if family in FIXED_VOCABULARY:
        raise ValueError(
            f"{model.name_or_path}: {family} cannot be given rows for all {tokens} tokens, as it keeps further tables "
            "of its vocabulary; name a padding token of its own vocabulary in its tokenizer"
        )


def check_configuration(config: PreTrainedConfig) -> None:
    """Refuse a family that cannot be a policy or a reward model, in a user's words.

    Raises:
        ValueError: if it is an encoder-decoder or no causal language model, reads more than text, or what is trained of
            it would not hold.
    """
    name = config.model_type
    if config.get_text_config() is not config:
        raise ValueError(f"{name} reads more than text; name a model of text only")
    if config.is_encoder_decoder:
        raise ValueError(f"{name} is an encoder-decoder model; {CAUSAL}")
    if name in UNFIT:
        raise ValueError(f"{name} {UNFIT[name]}; {CAUSAL}")
    if name not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ValueError(f"{name} has no causal language model in transformers; {CAUSAL}")


def check_base(config: PreTrainedConfig) -> None:
    """Refuse a base of which no policy or no reward model can be made.

    Raises:
        ValueError: as `check_configuration`, or if no score head stands on it.
    """
    check_configuration(config)
    try:
        score_head(weightless_classifier(config))
    except ValueError as error:
        raise ValueError(f"{error}, and the ladder needs one; name a base of another family") from None


def check_lengths(config: PreTrainedConfig, lengths: Lengths, section: str = "") -> None:
    """Refuse lengths for which a model from elsewhere has too few positions.

    Args:
        config: its own.
        lengths: at which texts are cut for it.
        section: of the configuration that holds them, where they do not stand beside what names the model.

    Raises:
        ValueError: naming the settings to lower.
    """
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    needed = sum(lengths)
    if positions is not None and needed > positions:
        prompt, response = (f"{section}.{name}".removeprefix(".") for name in lengths._fields)
        raise ValueError(
            f"it has {positions} positions, and {prompt} {lengths.max_prompt_tokens} and {response} "
            f"{lengths.max_response_tokens} need {needed}; lower these"
        )


def check_reward_model(config: PreTrainedConfig) -> None:
    """Refuse a model from elsewhere that does not give one score.

    Raises:
        ValueError: as `check_configuration`, or naming what it is instead.
    """
    architectures = config.architectures or []
    scores = config.num_labels == 1 or hasattr(config, AGGREGATE)
    if not any(name.endswith("ForSequenceClassification") for name in architectures) or not scores:
        raise ValueError(
            f"{', '.join(architectures) or 'an unnamed architecture'} with {config.num_labels} labels is no reward "
            f"model; name a sequence classifier with one label, or several and `{AGGREGATE}` in its config.json"
        )
    check_configuration(config)
    check_stored(config)
    score_head(weightless_classifier(config))
