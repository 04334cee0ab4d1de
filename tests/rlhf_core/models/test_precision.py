"""What is no number is an error where it is first seen: scores, losses, log-probabilities, figures of training."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2LMHeadModel, PreTrainedModel

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.records import Demonstration
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.evaluators.reward_model import score
from rlhf_core.evaluators.sft import held_out_losses
from rlhf_core.generation.sampling import generate
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.precision import NotFiniteError, check_finite
from rlhf_core.sft import train_sft
from rlhf_core.training.optimiser import Optimiser

ITEMS = [Demonstration("how are you", "fine thanks"), Demonstration("how", "fine")]
SAMPLING = SamplingConfig(max_prompt_tokens=8, max_response_tokens=4)


def test_what_is_not_finite_is_counted() -> None:
    check_finite("scores", torch.tensor([[-1e30, 0.0], [3.0, 1e30]]))
    check_finite("scores", torch.tensor([]))
    raised = ""
    try:
        check_finite("scores", torch.tensor([0.0, float("nan"), float("inf"), float("-inf")]))
    except NotFiniteError as error:
        raised = str(error)
    assert raised.startswith("scores are not finite, 3 of 4: ")


def test_a_reward_model_without_numbers_gives_no_scores(base: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    model = load_reward_model(base, tokenizer)
    nn.init.constant_(model.score.weight, torch.finfo(torch.float32).max)  # finite, or it would not be loaded
    save(model, tokenizer, tmp_path / "broken")
    config = RewardModelConfig(max_prompt_tokens=8, max_response_tokens=4)
    with pytest.raises(NotFiniteError, match="the model's scores are not finite, 2 of 2"):
        score(tmp_path / "broken", ITEMS, config)


@pytest.fixture
def language_model(base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Damaged after it was loaded: the check of its head at load would refuse it before."""
    load = load_policy

    def damaged(*args: object) -> PreTrainedModel:
        model = load(*args)  # type: ignore[arg-type]
        norm = model.transformer.ln_f if isinstance(model, GPT2LMHeadModel) else model.model.norm
        nn.init.constant_(norm.weight, float("nan"))
        return model

    for module in ("rlhf_core.evaluators.sft", "rlhf_core.generation.sampling", "rlhf_core.sft"):
        monkeypatch.setattr(f"{module}.load_policy", damaged)
    return base


def test_a_language_model_without_numbers_is_neither_measured_nor_trained_nor_asked(
    language_model: Path, tmp_path: Path
) -> None:
    config = SFTConfig(sampling=SAMPLING)
    with pytest.raises(NotFiniteError, match="the model's losses are not finite, 2 of 2"):
        held_out_losses(language_model, ITEMS, config)
    with pytest.raises(NotFiniteError, match="the model's losses are not finite"):
        list(train_sft(config, base=language_model, train=ITEMS, held_out=ITEMS, out=tmp_path / "out", seed=0))
    assert not (tmp_path / "out").exists()
    with pytest.raises(NotFiniteError, match="the model's log-probabilities are not finite"):
        generate(language_model, ["how"], SAMPLING, seed=0)


def test_a_loss_that_is_no_number_moves_no_weight(base: Path) -> None:
    model = load_policy(base, load_tokenizer(str(base)))
    before = [weight.clone() for weight in model.parameters()]

    def loss(reader: PreTrainedModel, _: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        total = next(reader.parameters()).sum() * float("inf")
        return total, {"loss_nats": total.detach()}

    with pytest.raises(NotFiniteError, match=r"figures of training \(loss_nats\) are not finite, 1 of 1"):
        Optimiser(model, OptimiserConfig(), 1).accumulate([1], loss)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_a_gradient_that_is_no_number_moves_no_weight_and_is_named(base: Path) -> None:
    model = load_policy(base, load_tokenizer(str(base)))
    names = [name for name, _ in model.named_parameters()]
    before = [weight.clone() for weight in model.parameters()]

    def loss(reader: PreTrainedModel, _: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        first, second, *_ = reader.parameters()
        total = first.sum() + (second.sum() * 0).sqrt()  # a number, whose derivative is 0 * infinity
        return total, {"loss_nats": total.detach()}

    optimiser = Optimiser(model, OptimiserConfig(), 1)
    optimiser.accumulate([1], loss)
    with pytest.raises(NotFiniteError, match=f"gradients are not finite, the first is that of {re.escape(names[1])};"):
        optimiser.step()
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
