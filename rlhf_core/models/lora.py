"""LoRA adapters on the layers of a trunk, by peft, and models that share the weights of one trunk.

Each model is a tree of modules of its own. What is shared are the weights that nobody trains, so that a model reads
with its own adapter and no other, and none is ever switched.
"""

import copy
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch
from peft import LoraConfig, TaskType, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.models.adaptable_layers import adaptable_layers, kinds_of
from rlhf_core.models.classifiers import weightless_classifier
from rlhf_core.models.model_files import writing
from rlhf_core.models.trial import same
from rlhf_core.models.trunk import trunk

Model = TypeVar("Model", bound=PreTrainedModel)


ADAPTER = "adapter"
"""Folder beside the weights of a saved model with the adapter that they were merged from, in the format of peft."""

HEAD = "score"
"""Module with the heads of a reward or value model, which are trained as they are."""

WEIGHTS = "adapter_model.safetensors"

TRUNK = "trunk_sha256"
"""Key in the metadata of that file: the trunk that the adapter belongs to."""


def add_adapter(model: PreTrainedModel, config: AdapterConfig, *, seed: int) -> None:
    """Freeze a model but for its heads, and give layers of its trunk an adapter, all of it in place.

    h = W x + alpha / rank * B A x (Hu et al., 2021, section 4.1). A is random and B is 0, so the model says what it
    said until the first step.

    Args:
        model: without an adapter.
        config: rank, scale and layers.
        seed: of A, which is the same on every rank.

    Raises:
        ValueError: if a name of `target_modules` is that of no linear layer that an adapter can be on, or the merged
            model would say something else, or the model does not say what its trunk is.
    """
    trunk = model.base_model
    if trunk is model:
        raise ValueError(f"adapter: {type(model).__name__} does not name its trunk, for adapters; set adapter to null")
    linear = adaptable_layers(trunk)
    targets = linear if config.target_modules is None else list(config.target_modules)
    if unknown := [name for name in targets if not any(f".{layer}".endswith(f".{name}") for layer in linear)]:
        raise ValueError(
            f"adapter.target_modules: {type(model).__name__} has no linear layer '{unknown[0]}'; take some of "
            f"{', '.join(kinds_of(linear))}"
        )
    for name, weight in model.named_parameters():
        weight.requires_grad_(_is_own(name))
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # a factor like any other
        lora_dropout=config.dropout,
        target_modules=targets,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in trunk.modules()),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(lora, trunk)
    model.eval()
    _check_merging(model)


@torch.no_grad()
def _check_merging(model: PreTrainedModel) -> None:
    """Test that a new adapter says the same when it is merged, which it does not where a layer is never called.

    Raises:
        ValueError: naming the layers.
    """
    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLinear)]
    ids = torch.randint(model.config.vocab_size, (1, 6), generator=torch.Generator().manual_seed(0)).to(model.device)

    def merges(kind: str) -> bool:
        layers = [module for name, module in adapted if f".{name}".endswith(kind)]
        matrices = [layer.lora_B["default"].get_parameter("weight") for layer in layers]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for matrix in matrices:
                nn.init.normal_(matrix, std=0.02)
        states = [
            trunk(either)(input_ids=ids, use_cache=False).last_hidden_state[0] for either in (model, merged(model))
        ]
        for matrix in matrices:
            nn.init.zeros_(matrix)
        return same(*states)

    if merges(""):
        return
    kinds = kinds_of([name for name, _ in adapted])
    lost = [kind for kind in kinds if not merges(f".{kind}")]
    raise ValueError(
        f"adapter.target_modules: {type(model).__name__} does not call its layers {', '.join(lost)} as layers, so an "
        f"adapter on them would be lost; name others, such as {', '.join(kind for kind in kinds if kind not in lost)}"
    )


def is_adapted(model: nn.Module) -> bool:
    """Whether a model has an adapter."""
    return any(isinstance(module, LoraLinear) for module in model.modules())


def twin(model: Model) -> Model:
    """A model of the same weights, held once, but for adapter and heads, of which it has copies that can be trained.

    Raises:
        ValueError: if FSDP2 has sharded the model.
    """
    if isinstance(model, FSDPModule):
        raise ValueError(
            "policy.adapter has several models share one trunk, and FSDP2 would shard it for each: "
            "set compute.strategy to ddp"
        )
    shared = chain(model.named_parameters(), model.named_buffers())
    clone = copy.deepcopy(model, {id(tensor): tensor for name, tensor in shared if not _is_own(name)})
    for name, weight in clone.named_parameters():
        if _is_own(name):
            weight.requires_grad_()
    return clone


@torch.no_grad()
def merged(model: Model) -> Model:
    """A model without adapter that says the same: W + alpha / rank * B A in place of each adapted W.

    The given one stays as it is, so no rounding adds up from one merge to the next. All other weights are shared.
    """
    if not is_adapted(model):
        return model
    shared = chain(model.parameters(), model.buffers())
    clone = copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
    layers = [(name, module) for name, module in clone.named_modules() if isinstance(module, LoraLinear)]
    for name, layer in layers:
        base = layer.get_base_layer()
        (adapter,) = layer.active_adapters
        weight = base.get_parameter("weight") + layer.get_delta_weight(adapter)
        base.weight = nn.Parameter(weight, requires_grad=False)
        clone.set_submodule(name, base)
    del clone.base_model.peft_config
    return clone


@contextmanager
def dropping(model: nn.Module, *, seed: int) -> Iterator[None]:
    """Context in which the dropout of adapters is active, by chance that the seed decides; elsewhere it never is."""
    adapted = (module for module in model.modules() if isinstance(module, LoraLinear))
    dropouts = [part for layer in adapted for part in layer.lora_dropout.values() if isinstance(part, nn.Dropout)]
    if not dropouts:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for dropout in dropouts:
            dropout.train()
        yield
        for dropout in dropouts:
            dropout.eval()


def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Write adapter and heads so that peft loads them on the trunk, whose digest goes with them; nothing without one.

    A head that `save` leaves out is left out here too.

    Args:
        model: with an adapter or without.
        folder: of the merged model; its folder `adapter` is written.
    """
    if not is_adapted(model):
        return
    trunk, folder = model.base_model, folder / ADAPTER
    state = get_peft_model_state_dict(trunk, save_embedding_layers=False)
    tensors = {f"{_prefix(model)}{name}": weight for name, weight in state.items()}
    left_out = f"{HEAD}.weight" in (model._keys_to_ignore_on_save or ())
    head = None if left_out else getattr(model, HEAD, None)
    if head is not None:
        tensors |= {f"base_model.model.{HEAD}.{name}": weight for name, weight in head.state_dict().items()}
    described: LoraConfig = copy.deepcopy(vars(trunk)["peft_config"]["default"])
    described.inference_mode = True
    described.task_type = TaskType.CAUSAL_LM if head is None else TaskType.SEQ_CLS
    described.modules_to_save = None if head is None else [HEAD]
    described.save_pretrained(str(folder))
    whole = {name: weight.detach().cpu().contiguous() for name, weight in tensors.items()}
    with writing(folder):
        save_file(whole, folder / WEIGHTS, metadata={"format": "pt", TRUNK: trunk_digest(model)})


def is_on(folder: Path, model: PreTrainedModel) -> bool:
    """Whether a saved model was trained as an adapter on the very trunk of a loaded one."""
    path = folder / ADAPTER / WEIGHTS
    if not path.exists() or isinstance(model, FSDPModule):
        return False
    with safe_open(path, framework="pt") as file:
        return bool(file.metadata()[TRUNK] == trunk_digest(model))


def load_beside(folder: Path, config: PreTrainedConfig, beside: PreTrainedModel) -> PreTrainedModel:
    """A frozen reward model on the weights of a loaded one, with the adapter and the heads that `save_adapter` wrote.

    Args:
        folder: of the merged model.
        config: of the same.
        beside: on the trunk of the adapter.
    """
    model, folder = on_trunk(config, twin(beside)), folder / ADAPTER
    trunk, lora = model.base_model, LoraConfig.from_pretrained(str(folder))
    lora.lora_dropout = 0.0  # a copy that learns values must not drop any
    with torch.random.fork_rng():
        inject_adapter_in_model(lora, trunk)
    with safe_open(folder / WEIGHTS, framework="pt", device=str(model.device)) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    prefix = _prefix(model)
    own = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
    set_peft_model_state_dict(trunk, own)
    getattr(model, HEAD).weight = nn.Parameter(tensors[f"base_model.model.{HEAD}.weight"])
    model.requires_grad_(False).eval()
    return model


def on_trunk(config: PreTrainedConfig, model: PreTrainedModel) -> PreTrainedModel:
    """The classifier of a configuration on the trunk of a model; its head has no weights yet."""
    classifier = weightless_classifier(config)
    setattr(classifier, classifier.base_model_prefix, trunk(model))
    classifier.config._attn_implementation = model.config._attn_implementation
    return classifier


def trunk_digest(model: PreTrainedModel) -> str:
    """SHA-256 over the weights of a model's trunk by the names that they have without adapters."""
    state = model.base_model.state_dict()
    return state_digest({name.replace(".base_layer.", "."): state[name] for name in state if not _is_own(name)})


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of weights."""
    total = hashlib.sha256()
    for name, weight in sorted(state.items()):
        total.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        total.update(weight.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _is_own(name: str) -> bool:
    """Whether a weight is of an adapter or a head, by its name in a model or in its trunk."""
    return ".lora_A." in name or ".lora_B." in name or name.startswith(f"{HEAD}.")


def _prefix(model: PreTrainedModel) -> str:
    """What peft writes before the names of the trunk's layers."""
    return f"base_model.model.{model.base_model_prefix}."
