"""Adapters against Hu et al. (2021) by hand, against the gradient of all weights, and against peft and transformers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D

from benchmarks.families.configurations import configuration
from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.generation.sampling import ENGINES, sample
from rlhf_core.models.attention import ragged_states
from rlhf_core.models.ensembles import Aggregation, store_aggregation
from rlhf_core.models.forward import response_logprobs, response_scores
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.loading import load_policy, load_reward_model, save, weights_digest
from rlhf_core.models.lora import ADAPTER, add_adapter, merged, twin
from rlhf_core.models.ways import choose_way
from rlhf_core.training.optimiser import Optimiser

TREES = [Tree([3, 5, 6, 7, 4], [[8, 9, 2]]), Tree([3, 5, 4], [[8], [9, 2]]), Tree([3], [[7, 4]])]
ROW = lay(TREES, torch.device("cpu"))
LORA = AdapterConfig(rank=3, alpha=4.5)
IDS = torch.tensor([[3, 5, 6, 7, 4, 8, 9, 2]])


def learned(model: PreTrainedModel, config: AdapterConfig = LORA) -> PreTrainedModel:
    """A model with an adapter of which no part is 0, as after some steps."""
    add_adapter(model, config, seed=3)
    torch.manual_seed(4)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                nn.init.normal_(weight, std=0.3)
    return model


def layers(model: nn.Module) -> dict[str, LoraLayer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def trained(model: nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def addresses(model: nn.Module) -> dict[int, int]:
    """Where weights lie, with how many numbers each has."""
    return {weight.data_ptr(): weight.numel() for weight in model.parameters()}


# The layer


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1.0), (2, 8.0), (5, 2.5)])
def test_a_layer_adds_alpha_over_rank_times_b_a_x(
    base: Path, tokenizer: PreTrainedTokenizerBase, rank: int, alpha: float
) -> None:
    model = learned(load_policy(base, tokenizer), AdapterConfig(rank=rank, alpha=alpha))
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: seen.update({name: (inputs[0], output)})

    found = layers(model)
    for name, layer in found.items():
        layer.register_forward_hook(note(name))
    response_logprobs(model, ROW)
    assert set(seen) == set(found)
    for name, (inputs, output) in seen.items():
        layer = found[name]
        stock = layer.get_base_layer()
        weight = stock.weight.detach().double().numpy()
        a, b = (part["default"].weight.detach().double().numpy() for part in (layer.lora_A, layer.lora_B))
        assert a.shape[0] == b.shape[1] == rank
        x = inputs[0].detach().double().numpy()
        plain = x @ (weight if isinstance(stock, Conv1D) else weight.T)
        bias = 0.0 if stock.bias is None else stock.bias.detach().double().numpy()
        by_hand = plain + bias + (alpha / rank) * (b @ (a @ x.T)).T
        assert np.abs(by_hand - plain - bias).max() > 0.01
        np.testing.assert_allclose(output[0].detach().numpy(), by_hand, rtol=0, atol=1e-4)


def test_every_linear_layer_of_the_trunk_has_an_adapter_and_nothing_else_has(
    base: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    stock = AutoModelForCausalLM.from_pretrained(base)
    linear = {name for name, part in stock.base_model.named_modules() if isinstance(part, nn.Linear | Conv1D)}
    model = load_policy(base, tokenizer)
    add_adapter(model, LORA, seed=0)
    assert set(layers(model.base_model)) == linear
    assert len(layers(model)) == len(linear) > 7


def test_named_layers_alone_have_one(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_policy(base, tokenizer)
    name = "c_attn" if model.config.model_type == "gpt2" else "self_attn.v_proj"
    add_adapter(model, LORA.model_copy(update={"target_modules": (name,)}), seed=0)
    assert len(layers(model)) == 2
    assert all(found.endswith(name) for found in layers(model))


@pytest.mark.parametrize("name", ["proj", "lm_head", "attention"])
def test_a_layer_that_is_not_there_is_refused(base: Path, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    config = LORA.model_copy(update={"target_modules": (name,)})
    with pytest.raises(ValueError, match=rf"adapter.target_modules: .* has no linear layer '{name}'; take some of .+"):
        add_adapter(load_policy(base, tokenizer), config, seed=0)


def tiny(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(configuration(family)).eval()
    choose_way(model)
    return model


@pytest.mark.parametrize(
    ("family", "adapted", "left_alone"),
    [
        ("deepseek_v3", "self_attn.o_proj", "down_proj"),  # peft would adapt all experts, which is not merged
        ("phimoe", "self_attn.o_proj", "router"),  # a linear layer by its class that gives two tensors
        ("falcon", "dense_4h_to_h", "lm_head"),  # a class of its own that is a linear layer
    ],
)
def test_mixtures_of_experts_have_adapters_on_what_is_a_layer_and_are_saved_whole(
    family: str, adapted: str, left_alone: str
) -> None:
    model = learned(tiny(family))
    names = list(layers(model))
    assert any(name.endswith(adapted) for name in names) and not any(left_alone in name for name in names)
    plain = merged(model)
    assert plain.state_dict().keys() == tiny(family).state_dict().keys()
    torch.testing.assert_close(logits(plain), logits(model), rtol=0, atol=1e-4)


def refusal(model: PreTrainedModel, config: AdapterConfig) -> str:
    """Why a model gets no adapter; empty where it has one now."""
    try:
        add_adapter(model, config, seed=1)
    except ValueError as error:
        return str(error)
    return ""


def test_a_layer_whose_adapter_would_be_lost_is_refused() -> None:
    refused = refusal(tiny("jamba"), LORA)
    assert "JambaForCausalLM does not call its layers dt_proj as layers, so an adapter on them would be lost" in refused
    others = tuple(refused.partition("such as ")[2].split(", "))
    assert {"q_proj", "x_proj"} < set(others)
    assert refusal(tiny("jamba"), LORA.model_copy(update={"target_modules": others})) == ""


@pytest.mark.parametrize(
    ("family", "names", "reason"),
    [
        (
            "deepseek_v3",
            ("down_proj",),
            "no linear layer 'down_proj'; take some of kv_a_proj",
        ),
        ("llama4_text", None, "does not name its trunk"),
    ],
)
def test_what_no_adapter_can_be_on_is_refused(family: str, names: tuple[str, ...] | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        add_adapter(tiny(family), LORA.model_copy(update={"target_modules": names}), seed=0)


def test_a_new_adapter_changes_nothing_and_its_seed_decides_it(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    plain = load_policy(base, tokenizer)
    found = []
    for seed in (1, 1, 2):
        model = load_policy(base, tokenizer)
        torch.manual_seed(int(torch.randint(100, ())))  # other chance around it
        add_adapter(model, LORA, seed=seed)
        assert torch.equal(logits(model), logits(plain))
        found.append(weights_digest(model))
    assert found[0] == found[1] != found[2]


# Gradients


def full_gradients(model: PreTrainedModel) -> dict[str, Tensor]:
    """Of the sum of log-probabilities by every weight of the trunk, with the adapter merged."""
    whole = merged(model)
    whole.requires_grad_(True)
    response_logprobs(whole, ROW)[0].sum().backward()
    return {name: weight.grad for name, weight in whole.named_parameters()}


def test_gradients_of_a_and_b_follow_from_the_gradient_of_all_weights(
    base: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    """With W' = W + s B A and G = dL/dW': dL/dB = s G A', dL/dA = s B' G."""
    model = learned(load_policy(base, tokenizer))
    expected = full_gradients(model)
    model.zero_grad()
    response_logprobs(model, ROW)[0].sum().backward()
    scale = LORA.alpha / LORA.rank
    for name, layer in layers(model).items():
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        whole = expected[f"{name}.weight"]
        whole = whole.T if isinstance(layer.get_base_layer(), Conv1D) else whole
        assert whole.norm() > 1e-3
        torch.testing.assert_close(b.grad, scale * whole @ a.T, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(a.grad, scale * b.T @ whole, rtol=1e-4, atol=1e-4)


def test_nothing_but_adapters_and_heads_is_trained(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_reward_model(base, tokenizer, heads=2)
    add_adapter(model, LORA, seed=0)
    assert trained(model) == {name for name in model.state_dict() if ".lora_" in name} | {"score.weight"}
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimiser = Optimiser(model, OptimiserConfig(lr=0.1, weight_decay=0.1), 4)
    for _ in range(2):
        optimiser.accumulate([1], lambda model, _: (response_scores(model, ROW).square().sum(), {}))
        assert {name for name, weight in model.named_parameters() if weight.grad is not None} == trained(model)
        optimiser.step()
    moved = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert moved == trained(model)


def test_a_state_holds_adapters_and_heads_only(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_reward_model(base, tokenizer)
    add_adapter(model, LORA, seed=0)
    state = Optimiser(model, OptimiserConfig(), 4).state_dict()
    assert set(state["model"]) == set(state["adamw"]["state"]) == trained(model)
    policy = load_policy(base, tokenizer)
    add_adapter(policy, LORA, seed=0)
    assert set(Optimiser(policy, OptimiserConfig(), 4).weights()) == trained(policy)  # no head that is tied either


# Dropout


def total(model: PreTrainedModel) -> float:
    with torch.no_grad():
        return float(response_logprobs(model, ROW)[0].sum())


def test_dropout_is_active_in_a_step_only_and_differs_from_step_to_step(
    base: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    config = LORA.model_copy(update={"dropout": 0.5})

    def losses(state: dict[str, object] | None = None) -> tuple[list[float], dict[str, object]]:
        model = learned(load_policy(base, tokenizer), config)
        optimiser = Optimiser(model, OptimiserConfig(lr=1e-12, schedule="constant"), 9)
        quiet = total(model)
        assert quiet == pytest.approx(total(merged(model)), abs=1e-3)
        if state is not None:
            optimiser.load_state_dict(state)
        found = []
        for _ in range(2):
            told = optimiser.accumulate(
                [1], lambda model, _: ((part := response_logprobs(model, ROW)[0].sum()), {"sum": part.detach()})
            )
            optimiser.step()
            found.append(told["sum"])
            assert total(model) == pytest.approx(quiet, abs=1e-3)
        return found, optimiser.state_dict()

    first, state = losses()
    again, _ = losses()
    later, _ = losses(state)
    assert first == again
    assert len({*first, *later}) == 4


# One trunk


def test_twins_share_what_is_frozen_and_a_policy_that_learns_leaves_its_reference_alone(
    base: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    reference = load_policy(base, tokenizer).requires_grad_(False)
    before = logits(reference)
    policy = twin(reference)
    add_adapter(policy, LORA, seed=0)
    held = addresses(reference) | addresses(policy)
    own = sum(weight.numel() for weight in policy.parameters() if weight.requires_grad)
    assert sum(held.values()) == reference.num_parameters() + own
    optimiser = Optimiser(policy, OptimiserConfig(lr=0.1, schedule="constant", warmup_share=0.0), 3)
    for _ in range(3):
        optimiser.accumulate([1], lambda model, _: (response_logprobs(model, ROW)[0].sum(), {}))
        optimiser.step()
    assert (logits(policy) - before).abs().max() > 0.1
    assert torch.equal(logits(reference), before)
    for layer in layers(policy).values():
        layer.enable_adapters(False)
    assert torch.equal(logits(policy), before)


def test_a_merged_model_says_what_the_adapter_says_and_the_trunk_stays_as_it_was(
    base: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = learned(load_policy(base, tokenizer))
    stock = AutoModelForCausalLM.from_pretrained(base)
    for _ in range(3):  # nothing adds up
        found = merged(model)
        assert set(found.state_dict()) == set(stock.state_dict())
        torch.testing.assert_close(logits(found), logits(model), rtol=0, atol=1e-4)
        torch.testing.assert_close(ragged_states(found, ROW), ragged_states(model, ROW), rtol=0, atol=1e-4)
    for name, layer in layers(model).items():
        assert torch.equal(layer.get_base_layer().weight, stock.get_submodule(name).weight)
    assert (logits(model) - logits(stock)).abs().max() > 0.1
    plain = load_policy(base, tokenizer)
    assert merged(plain) is plain


def test_merging_adds_alpha_over_rank_times_b_a() -> None:
    """By hand, on a model of its own, so that mutants can be tried on it."""
    shape = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(num_attention_heads=2, **shape))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert refusal(model, AdapterConfig(rank=2, alpha=5.0)) == ""
    learned_parts = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in learned_parts.values():
            nn.init.normal_(weight)
    after = merged(model).state_dict()
    assert set(after) == set(before)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "proj" in name}
    for name in moved:
        layer = name.removesuffix(".weight")
        a, b = (learned_parts[f"{layer}.lora_{part}.default.weight"].detach() for part in "AB")
        torch.testing.assert_close(after[name], before[name] + 5.0 / 2.0 * b @ a, rtol=0, atol=1e-5)


# On disk


def test_a_saved_policy_is_a_stock_model_and_its_adapter_is_one_of_peft(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = learned(load_policy(base, tokenizer))
    out = save(model, tokenizer, tmp_path / "out")
    stock, told = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(told.values())
    torch.testing.assert_close(logits(stock), logits(model), rtol=0, atol=1e-4)
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out / ADAPTER).eval()
    torch.testing.assert_close(logits(peft), logits(model), rtol=0, atol=1e-5)


@pytest.fixture
def adapted(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> PreTrainedModel:
    """A reward model of two heads as an adapter, and its folder `reward`."""
    torch.manual_seed(5)
    model = learned(load_reward_model(base, tokenizer, heads=2))
    store_aggregation(model.config, Aggregation("min", centre=0.25))
    setattr(model.config, TEMPERATURE, 1.7)
    save(model, tokenizer, tmp_path / "reward")
    return model


def test_a_saved_reward_model_scores_alike_merged_by_peft_and_beside_its_trunk(
    base: Path, adapted: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    expected = response_scores(adapted, ROW)
    reference = load_policy(base, tokenizer)
    alone = load_reward_model(tmp_path / "reward", tokenizer)
    beside = load_reward_model(tmp_path / "reward", tokenizer, beside=reference)
    assert not layers(alone) and layers(beside)
    assert not trained(beside)
    for found in (alone, beside):
        torch.testing.assert_close(response_scores(found, ROW), expected, rtol=0, atol=1e-5)
        assert (found.config.num_labels, getattr(found.config, TEMPERATURE)) == (2, 1.7)
        assert found.config.reward_centre == 0.25
    assert not set(addresses(alone)) & set(addresses(reference))
    own = {index: size for index, size in addresses(beside).items() if index not in addresses(reference)}
    assert sum(own.values()) == sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    whole = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    peft = PeftModel.from_pretrained(whole, tmp_path / "reward" / ADAPTER).eval()
    with torch.no_grad():
        told = peft(input_ids=IDS[:, :7]).logits
    torch.testing.assert_close(told, adapted(input_ids=IDS[:, :7]).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("index", ["first", "last"])
def test_beside_another_trunk_a_reward_model_has_its_own(
    base: Path, adapted: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, index: str
) -> None:
    other = load_policy(base, tokenizer)
    weights = list(other.base_model.parameters())
    with torch.no_grad():
        weights[0 if index == "first" else -1].view(-1)[0] += 1e-6
    found = load_reward_model(tmp_path / "reward", tokenizer, beside=other)
    assert not layers(found)
    torch.testing.assert_close(response_scores(found, ROW), response_scores(adapted, ROW), rtol=0, atol=1e-5)


# Reading


@pytest.mark.parametrize("engine", ["eager", "graphs", "continuous"])
def test_engines_sample_with_the_adapter(base: Path, tokenizer: PreTrainedTokenizerBase, engine: str) -> None:
    model = learned(load_policy(base, tokenizer))
    config = SamplingConfig(max_prompt_tokens=8, max_response_tokens=6, engine=engine)  # type: ignore[arg-type]
    assert engine in ENGINES
    drawn = sample(model, tokenizer, ["how are you", "fine"], config, generator=torch.Generator().manual_seed(1))
    for one in drawn:
        with torch.no_grad():
            said = merged(model)(input_ids=torch.tensor([one.prompt_ids + one.response_ids])).logits[0]
        logs = said[len(one.prompt_ids) - 1 : -1].log_softmax(dim=-1)
        forced = logs.gather(1, torch.tensor(one.response_ids)[:, None])[:, 0]
        assert one.logprobs == pytest.approx(forced.tolist(), abs=1e-3)


def test_bfloat16_reads_the_adapter_too(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    plain, model = load_policy(base, tokenizer), learned(load_policy(base, tokenizer))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        rough = response_logprobs(model, ROW)[0]
    exact, without = response_logprobs(model, ROW)[0], response_logprobs(plain, ROW)[0]
    assert (rough - exact).abs().mean() < 0.25 * (without - exact).abs().mean()
