"""Loading and saving of policy, reward model and value model as plain `transformers` models."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.core_model_loading import revert_weight_conversion

from rlhf_core.data.model_settings import in_words, read_config
from rlhf_core.data.stop_tokens import rows_needed, settle_stops
from rlhf_core.distributed import rank, wait, whole
from rlhf_core.models.classifiers import classifier_class, weightless_classifier, write_model
from rlhf_core.models.ensembles import AGGREGATE
from rlhf_core.models.experts import still_routers
from rlhf_core.models.fitness import check_family, check_growth
from rlhf_core.models.heads import check_stored, score_head
from rlhf_core.models.lora import HEAD, is_on, load_beside, merged, save_adapter, state_digest
from rlhf_core.models.precision import to_device
from rlhf_core.models.ways import choose_way
from rlhf_core.models.weights import complete_model


def load_policy(path: Path, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Load a causal language model in float32 with dropout off and an embedding for every token.

    Args:
        path: folder of a causal language model.
        tokenizer: the tokenizer that goes with it.

    Returns:
        The model in evaluation mode, on `device()`, with the generation settings of `settle_stops`.

    Raises:
        ValueError: if it is no causal language model, some of its weights are not there, it reads more than text, or no
            way says what its stock forward says.
    """
    check_family(path)
    model = complete_model(AutoModelForCausalLM, path, dtype=torch.float32)
    _ready(model, tokenizer)
    settle_stops(model, tokenizer)
    return model


def load_reward_model(
    path: Path, tokenizer: PreTrainedTokenizerBase, *, heads: int = 1, beside: PreTrainedModel | None = None
) -> PreTrainedModel:
    """Load scalar heads on a trunk; from a causal language model they are new, each N(0, 1/sqrt(d + 1)).

    Args:
        path: folder of a causal language model, or of a sequence classifier with one label or those of an ensemble.
        tokenizer: the tokenizer that goes with it.
        heads: how many new heads a causal language model gets; a classifier keeps its own.
        beside: a loaded model; a reward model that was trained as an adapter on its trunk shares the weights of this.

    Returns:
        The model in evaluation mode, on `device()`. The heads are the rows of one `score` layer and have no bias.

    Raises:
        ValueError: if the architecture has no linear `score` head on its final hidden states, a classifier lacks some
            of its weights, or there are several labels and nothing says how they make one score.
    """
    check_family(path)
    config = read_config(path)
    if beside is not None and is_on(path, beside):
        return load_beside(path, config, beside)
    trained = _is_classifier(path)
    labels = config.num_labels or 1 if trained else heads
    if trained and labels > 1 and not hasattr(config, AGGREGATE):
        raise ValueError(
            f"{path}: the classifier has {labels} labels and its config.json does not say how they make one score; "
            f"set {AGGREGATE} there to mean, min or uncertainty if they are an ensemble of scores"
        )
    score_head(weightless_classifier(config))
    new = () if trained else (f"{HEAD}.weight",)
    spare = () if trained else _names_in_files(_weightless_language_model(config))
    family = classifier_class(config)
    model = complete_model(family, path, new=new, spare=spare, num_labels=labels, dtype=torch.float32)
    check_stored(model.config)
    if not trained:
        head = score_head(model)
        nn.init.normal_(head.weight, std=(head.in_features + 1) ** -0.5)
    return _ready(model, tokenizer)


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    *,
    form: Callable[[PreTrainedModel], PreTrainedModel] = lambda model: model,
) -> Path:
    """Write a model with its tokenizer as a folder that `from_pretrained` reads; rank 0 does, the others wait.

    An adapter is merged into what is written, and lies beside it in the folder `adapter`.

    Args:
        model: trained, frozen or sharded.
        tokenizer: the tokenizer that goes with it.
        out: the folder.
        form: makes what is written of the whole model.

    Returns:
        The folder.
    """
    with whole(model) as reader:
        if rank() == 0:
            formed = form(reader)
            write_model(merged(formed), out)
            tokenizer.save_pretrained(out)
            save_adapter(formed, out)
    wait()
    return out


def parameters(path: Path) -> int:
    """Weights of a saved language model or classifier, tied ones counted once; none of them is loaded."""
    config = read_config(path)
    model = weightless_classifier(config) if _is_classifier(path) else _weightless_language_model(config)
    return int(model.num_parameters())


def digest(path: Path) -> str:
    """SHA-256 over the names and contents of a folder's files: the identity of a saved model."""
    total = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        total.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def weights_digest(model: PreTrainedModel) -> str:
    """SHA-256 over the names and values of all weights: the identity of a model that is not saved yet."""
    with whole(model) as reader:
        return state_digest(reader.state_dict())


def _is_classifier(path: Path) -> bool:
    architectures = read_config(path).architectures or []
    return any(name.endswith("ForSequenceClassification") for name in architectures)


def _weightless_language_model(config: PreTrainedConfig) -> PreTrainedModel:
    with in_words(config), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def _names_in_files(model: PreTrainedModel) -> set[str]:
    """Names of weights in files, where those of a head may be others than in the model, as in those of GPT-NeoX."""
    weights = model.state_dict()
    head = {name: weight for name, weight in weights.items() if not name.startswith(f"{model.base_model_prefix}.")}
    return {*weights, *revert_weight_conversion(model, head)}


def _drop_nothing(module: nn.Module) -> None:
    """Turn dropout off, in training too; architectures keep it as a module or as a plain number."""
    if isinstance(module, nn.Dropout):
        module.p = 0.0
    for name in ("dropout", "attention_dropout", "layerdrop"):
        if isinstance(getattr(module, name, None), float):
            setattr(module, name, 0.0)


def _ready(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    if (rows := rows_needed(tokenizer)) > len(model.get_input_embeddings().get_parameter("weight")):
        check_growth(model, rows)
        with torch.random.fork_rng():
            torch.manual_seed(0)  # new rows are drawn around the mean of the others
            model.resize_token_embeddings(rows)
    for module in model.modules():
        _drop_nothing(module)
        still_routers(module)
    if isinstance(embeddings := model.get_input_embeddings(), nn.Embedding):
        embeddings.padding_idx = None  # the base may pad with its end, whose row must learn
    model.eval()
    to_device(model)
    choose_way(model)
    return model
