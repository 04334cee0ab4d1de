"""Mixtures of experts against stock training, which adds a load-balancing loss where the configuration asks for it."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.families.configurations import configuration
from benchmarks.families.trial import TREES, tokenizer
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.models.experts import balance_coef, balance_loss, recorded_routing, still_routers
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.loading import load_policy
from rlhf_core.models.precision import device
from rlhf_core.sft import _loss

DEMONSTRATIONS = [
    Tree([3, 5, 6, 7, 2, 4], [[8, 9, 8, 1]]),
    Tree([3, 5], [[9, 30, 5, 6, 7, 2, 14, 3, 1]]),
    Tree([11], [[4, 6]]),
]
ROWS, PADDED = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "phimoe", "granitemoe", "jetmoe"), ("jamba",)


def policy(family: str, folder: Path, **changes: object) -> PreTrainedModel:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(configuration(family, **changes)).save_pretrained(folder)
    return load_policy(folder, tokenizer())


def stock_of(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The base as stock transformers loads it, with the row for padding that ours has."""
    stock = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    stock.resize_token_embeddings(len(tokenizer()))
    stock.load_state_dict(model.state_dict())
    return stock


def stock_training(model: PreTrainedModel) -> torch.Tensor:
    """The loss that stock training would take a step on, of all demonstrations in one padded batch."""
    sequences = [[*tree.prompt, *tree.responses[0]] for tree in DEMONSTRATIONS]
    width = max(map(len, sequences))
    batch = {
        "input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids in sequences]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in sequences]),
        "labels": torch.tensor(
            [[-100] * len(tree.prompt) + tree.responses[0] + [-100] * (width - tree.size) for tree in DEMONSTRATIONS]
        ),
    }
    return model(**batch).loss


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("family", [*ROWS, *PADDED])
def test_loss_and_gradients_of_sft_are_those_of_stock_training(family: str, asked: bool, tmp_path: Path) -> None:
    model = policy(family, tmp_path, output_router_logits=asked)
    stock = stock_of(model, tmp_path)
    loss, figures = _loss(SFTConfig(), DEMONSTRATIONS)(model, [0, 1, 2])
    expected = stock_training(stock)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert (loss.item() - float(figures["loss_nats"]) > 1e-4) is asked
    loss.backward()
    expected.backward()
    routers = [name for name, weight in model.named_parameters() if weight.dim() == 2 and len(weight) == 4]
    assert routers
    for name in routers:
        ours, theirs = model.get_parameter(name).grad.cpu(), stock.get_parameter(name).grad
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_micro_batches_add_up_to_their_shares(tmp_path: Path) -> None:
    model = policy("mixtral", tmp_path, output_router_logits=True)
    loss = _loss(SFTConfig(), DEMONSTRATIONS)
    figures = [loss(model, group)[1]["expert_imbalance"] for group in ([0, 2], [1])]
    parts = ([DEMONSTRATIONS[0], DEMONSTRATIONS[2]], [DEMONSTRATIONS[1]])
    alone = [_loss(SFTConfig(), part)(model, [*range(len(part))])[1]["expert_imbalance"] for part in parts]
    assert float(sum(figures)) == pytest.approx(float(13 * alone[0] + 11 * alone[1]) / 24, rel=1e-5)


def test_imbalance_by_hand() -> None:
    """Two experts a token: routers that know no difference are even; all tokens to two of four make it 2."""
    model = AutoModelForCausalLM.from_config(configuration("mixtral"))
    row = lay(TREES, device())
    even = torch.zeros(100, 4) + 1e-6 * torch.rand(100, 4, generator=torch.Generator().manual_seed(0))
    one_sided = torch.tensor([[50.0, 50.0, 0.0, 0.0]]).repeat(100, 1)
    assert float(balance_loss(model, row, [even])) / 2 == pytest.approx(1.0, abs=1e-5)
    assert float(balance_loss(model, row, [one_sided])) / 2 == pytest.approx(2.0, abs=1e-5)


def test_the_loss_has_its_weight_only_where_the_configuration_asks_for_it() -> None:
    for family, field in (("mixtral", "router_aux_loss_coef"), ("jetmoe", "aux_loss_coef")):
        asking, silent = (
            AutoModelForCausalLM.from_config(configuration(family, output_router_logits=asks, **{field: 0.03}))
            for asks in (True, False)
        )
        assert (balance_coef(asking), balance_coef(silent)) == (0.03, 0.0)


def test_jitter_is_turned_off_and_a_threshold_is_not() -> None:
    router = torch.nn.Linear(2, 2)
    router.jitter_noise, router.input_jitter_noise, router.router_jitter_noise = 0.5, 0.5, 0.1
    still_routers(router)
    assert (router.jitter_noise, router.input_jitter_noise, router.router_jitter_noise) == (0.0, 0.0, 0.1)


def test_router_logits_that_cannot_be_had_are_refused_where_they_are_asked_for(tmp_path: Path) -> None:
    asking = policy("mixtral", tmp_path / "asking", output_router_logits=True)
    silent = policy("mixtral", tmp_path / "silent")
    row = lay(TREES, device())
    assert balance_loss(silent, row, []) is None
    with pytest.raises(ValueError, match="router logits cannot be had: set compiled to false"):
        balance_loss(asking, row, [])


def test_nothing_is_recorded_of_a_model_without_experts(tmp_path: Path) -> None:
    model = policy("llama", tmp_path)
    with recorded_routing(model) as routing:
        response_logprobs(model, lay(TREES, device()))
    assert routing == [] and balance_loss(model, lay(TREES, device()), routing) is None
    assert set(_loss(SFTConfig(), DEMONSTRATIONS)(model, [0])[1]) == {"loss_nats"}


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "noise"),
    [("mixtral", {"router_jitter_noise": 0.5}), ("minimax_m2", {"router_jitter_noise": 0.5})],
)
def test_jitter_of_a_base_is_off_in_training_too(family: str, noise: dict[str, float], tmp_path: Path) -> None:
    model = policy(family, tmp_path, **noise)
    quiet = response_logprobs(model, lay(TREES, device()))[0]
    torch.testing.assert_close(response_logprobs(model.train(), lay(TREES, device()))[0], quiet, rtol=0, atol=0)


@torch.no_grad()
def test_the_threshold_of_phimoe_is_no_noise(tmp_path: Path) -> None:
    """Its `router_jitter_noise` decides in evaluation too which expert counts, so it stays."""
    model = policy("phimoe", tmp_path, router_jitter_noise=0.3)
    stock = stock_of(model, tmp_path)
    ours = model(input_ids=torch.tensor([[3, 5, 6, 7, 2, 4]], device=device())).logits.cpu()
    torch.testing.assert_close(ours, stock(input_ids=torch.tensor([[3, 5, 6, 7, 2, 4]])).logits, rtol=1e-4, atol=1e-4)


def test_the_bias_that_balances_a_deepseek_is_no_weight_and_stays(tmp_path: Path) -> None:
    model = policy("deepseek_v3", tmp_path, first_k_dense_replace=0)
    biases = {name for name, _ in model.named_buffers() if name.endswith("e_score_correction_bias")}
    assert biases and not biases & {name for name, _ in model.named_parameters()}
