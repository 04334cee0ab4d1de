"""How members make one score, how far they disagree, and what a folder remembers of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.reward_model import Aggregate, RewardModelConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.models.ensembles import Aggregation, aggregation, disagreement, store_aggregation
from rlhf_core.models.forward import response_scores, response_values
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.loading import load_reward_model, save
from rlhf_core.models.precision import device
from rlhf_core.models.scoring import score_ensemble, score_trees
from rlhf_core.ppo.actor_critic import as_value_model

MEMBERS = torch.tensor([[1.0, 4.0, -2.0], [0.5, 0.5, 0.5]], dtype=torch.float64)
TREES = [Tree([3, 5, 4], [[8, 2], [9, 7, 2]]), Tree([3, 6, 4], [[7, 2]])]


def test_one_score_of_three_members_by_hand() -> None:
    assert Aggregation("mean").of(MEMBERS).tolist() == [1.0, 0.5]
    assert Aggregation("min").of(MEMBERS).tolist() == [-2.0, 0.5]
    assert Aggregation("uncertainty", 0.5).of(MEMBERS).tolist() == [1.0 - 0.5 * 6.0, 0.5]  # (0 + 9 + 9) / 3
    assert Aggregation("min", centre=-0.75).of(MEMBERS).tolist() == [-1.25, 1.25]


def test_disagreement_is_the_standard_deviation_over_members_and_unknown_of_one() -> None:
    assert disagreement(MEMBERS).tolist() == pytest.approx([6.0**0.5, 0.0])
    assert disagreement(MEMBERS[:, :1]).isnan().all()


@given(
    scores=st.lists(st.floats(-20, 20), min_size=1, max_size=6),
    shift=st.floats(-5, 5),
    price=st.floats(0, 3),
    how=st.sampled_from(["mean", "min", "uncertainty"]),
)
def test_a_score_is_at_most_the_mean_and_moves_with_all_members(
    scores: list[float], shift: float, price: float, how: Aggregate
) -> None:
    members, rule = torch.tensor([scores], dtype=torch.float64), Aggregation(how, price)
    found = float(rule.of(members))
    assert found <= np.mean(scores) + 1e-9
    assert float(rule.of(members + shift)) == pytest.approx(found + shift, abs=1e-9)
    if len(scores) == 1:
        assert found == scores[0]


# Folders


@pytest.fixture
def ensemble(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Path:
    """Three heads, worst case, a centre and a temperature."""
    torch.manual_seed(0)
    model = load_reward_model(base, tokenizer, heads=3)
    store_aggregation(model.config, Aggregation("min", centre=0.3))
    setattr(model.config, TEMPERATURE, 1.6)
    return save(model, tokenizer, tmp_path / "ensemble")


def test_heads_start_apart_and_are_one_stock_layer(ensemble: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    stock = AutoModelForSequenceClassification.from_pretrained(ensemble)
    assert stock.config.num_labels == 3
    weight = stock.score.weight.detach()
    assert weight.shape == (3, 16)
    assert np.abs(np.corrcoef(weight.numpy())[np.triu_indices(3, 1)]).max() < 0.9
    assert weight.std() == pytest.approx(17**-0.5, rel=0.3)


def test_whoever_asks_an_ensemble_gets_its_stored_score(ensemble: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_reward_model(ensemble, tokenizer)
    assert aggregation(model.config) == Aggregation("min", centre=0.3)
    stock = AutoModelForSequenceClassification.from_pretrained(ensemble).eval()
    whole = [tree.prompt + response for tree in TREES for response in tree.responses]
    with torch.no_grad():
        logits = torch.cat([stock(input_ids=torch.tensor([ids])).logits for ids in whole]).numpy()
    found = score_ensemble(model, TREES, OptimiserConfig(max_tokens=4))
    assert found.score.cpu().numpy() == pytest.approx((logits.min(axis=1) - 0.3) / 1.6, abs=1e-5)
    assert found.disagreement.cpu().numpy() == pytest.approx(logits.std(axis=1) / 1.6, abs=1e-5)
    assert found.disagreement.min() > 0.01
    torch.testing.assert_close(score_trees(model, TREES, OptimiserConfig()), found.score, rtol=0, atol=1e-5)


def test_a_value_model_starts_as_the_mean_of_the_members_with_one_label(
    ensemble: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    value, members = as_value_model(load_reward_model(ensemble, tokenizer)), load_reward_model(ensemble, tokenizer)
    row = lay(TREES, device())
    torch.testing.assert_close(response_scores(value, row)[:, 0], response_scores(members, row).mean(dim=1))
    assert response_values(value, row).shape == (7,)
    stock = AutoModelForSequenceClassification.from_pretrained(save(value, tokenizer, tmp_path / "value"))
    assert stock.config.num_labels == 1
    assert aggregation(stock.config) == Aggregation()
    assert getattr(stock.config, TEMPERATURE) == 1.6


def test_a_single_head_becomes_a_value_model_as_it_is(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = load_reward_model(base, tokenizer)
    value = as_value_model(load_reward_model(save(model, tokenizer, tmp_path / "single"), tokenizer))
    torch.testing.assert_close(value.score.weight, model.score.weight, rtol=0, atol=0)


def test_a_classifier_of_several_labels_that_are_no_ensemble_is_refused(
    ensemble: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    stock = AutoModelForSequenceClassification.from_pretrained(ensemble)
    del stock.config.reward_aggregate
    stock.save_pretrained(ensemble)
    with pytest.raises(ValueError, match=r"3 labels and its config\.json does not say"):
        load_reward_model(ensemble, tokenizer)


# Configuration


@pytest.mark.parametrize(
    ("fields", "mend"),
    [
        ({"aggregate": "min"}, "set heads to 2 or more"),
        ({"debias": "length", "batch_size": 4}, "set batch_size to 8 or more"),
        ({"label_smoothing": 0.5}, "less than 0.5"),
        ({"heads": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused_with_its_mend(fields: dict[str, object], mend: str) -> None:
    with pytest.raises(ValidationError, match=mend):
        RewardModelConfig.model_validate(fields)
