"""The length head: its losses by hand, that it takes length away from the score, and that nobody sees it afterwards."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.pair_trees import compare
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.models.loading import load_reward_model, save
from rlhf_core.reward_model.length_debiasing import add_length_head, debiased_loss, heads_cosine, length_loss, pearson
from rlhf_core.reward_model.losses import lessons
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.training.stage import Event, StageResult

WORDS = ("how", "are", "you", "fine", "thanks")
PROMPTS = [" ".join(words) for words in product(WORDS, repeat=2)]
OPTIMISER = OptimiserConfig(lr=0.02, eps=1e-3, schedule="constant")
CONFIG = RewardModelConfig(
    debias="length", epochs=4, batch_size=8, max_prompt_tokens=8, max_response_tokens=10, optimiser=OPTIMISER
)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Losses


def test_the_correlation_of_each_column_is_that_of_scipy() -> None:
    scores, lengths = drawn(1, 20, 3), drawn(2, 20).exp()
    expected = [pearsonr(column, lengths.numpy()).statistic for column in scores.T.numpy()]
    assert pearson(scores, lengths).tolist() == pytest.approx(expected, abs=1e-9)


def test_what_does_not_vary_has_no_correlation_and_a_finite_slope() -> None:
    scores = drawn(3, 6, 2).requires_grad_()
    flat = torch.zeros(6, 2, dtype=torch.float64, requires_grad=True)
    for values, lengths in ((scores, torch.full((6,), 4.0)), (flat, torch.arange(6.0))):
        found = pearson(values, lengths.double())
        assert found.tolist() == [0.0, 0.0]
        found.sum().backward()
        assert values.grad is not None
        assert values.grad.isfinite().all()


def test_the_length_loss_is_least_where_one_head_is_length_and_the_other_knows_nothing_of_it() -> None:
    lengths = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    blind = torch.tensor([[1.0], [-1.0], [-1.0], [1.0]], dtype=torch.float64)
    assert float(length_loss(blind, lengths[:, None], lengths)) == pytest.approx(-1.0, abs=1e-9)
    assert float(length_loss(lengths[:, None], blind, lengths)) == pytest.approx(1.0, abs=1e-9)
    assert float(length_loss(-lengths[:, None], -lengths[:, None], lengths)) == pytest.approx(2.0, abs=1e-9)


def test_the_cosine_of_heads_knows_no_norm() -> None:
    quality, length = torch.tensor([[3.0, 0.0], [-1.0, 1.0]]), torch.tensor([[0.01, 0.0]])
    assert float(heads_cosine(quality, length)) == pytest.approx((1.0 + 0.5**0.5) / 2)


# Training


def biased_pairs(seed: int = 0, a_prompt: int = 4) -> list[Pair]:
    """People like long answers and those that end in thanks, each as much, and neither tells the other."""
    rng = np.random.default_rng(seed)
    pairs = []
    while len(pairs) < a_prompt * len(PROMPTS):
        long, thanks = rng.integers(0, 2, 2), rng.integers(0, 2, 2)
        texts = [
            " ".join([*rng.choice(WORDS[:3], 5 if one else 2), "thanks" if ends else "fine"])
            for one, ends in zip(long, thanks, strict=True)
        ]
        worth = 2.0 * (long + thanks)
        if texts[0] != texts[1]:
            first = rng.random() < 1.0 / (1.0 + np.exp(worth[1] - worth[0]))
            pairs.append(Pair(PROMPTS[len(pairs) % len(PROMPTS)], *(texts if first else texts[::-1])))
    return pairs


def train(
    base: Path, out: Path, config: RewardModelConfig, pairs: list[Pair] | None = None
) -> tuple[list[Event], StageResult]:
    demonstrations = [Demonstration(prompt, f"{start} thanks") for prompt in PROMPTS for start in ("fine", "you are")]
    stage = train_reward_model(
        config,
        init_from=base,
        train=pairs or biased_pairs(),
        held_out=biased_pairs(1, 12),
        demonstrations=demonstrations,
        out=out,
        seed=1,
    )
    events = []
    while True:
        try:
            events.append(next(stage))
        except StopIteration as end:
            return events, end.value


@pytest.mark.parametrize("heads", [1, 3])
def test_the_gradient_is_that_of_the_whole_batch(base: Path, tokenizer: PreTrainedTokenizerBase, heads: int) -> None:
    """Parts of three prompts give together what the three losses give on all scores at once."""
    config = CONFIG.model_copy(
        update={"heads": heads, "length_coef": 0.7, "orthogonality_coef": 0.4, "centring_coef": 0.1}
    )
    torch.manual_seed(2)
    model = load_reward_model(base, tokenizer, heads=heads)
    add_length_head(model)
    pairs = biased_pairs()[:32]
    batch = lessons(compare(tokenizer, pairs, Lengths(8, 10)), heads, seed=3)
    loss = debiased_loss(config, model, batch)
    figures: dict[str, float] = {}
    for start in range(0, len(batch), 3):
        part, told = loss(model, list(range(start, min(start + 3, len(batch)))))
        part.backward()
        figures = {name: figures.get(name, 0.0) + float(value) for name, value in told.items()}
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()

    rows = [
        (item.comparison.tree.prompt + response, len(response))
        for item in batch
        for response in item.comparison.tree.responses
    ]
    states = torch.stack([model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1] for ids, _ in rows])
    quality, length = states @ model.score.weight.T, states @ model.length.weight.T
    lengths = torch.tensor([float(size) for _, size in rows])
    starts = np.cumsum([0] + [len(item.comparison.tree.responses) for item in batch])
    sides = [
        (start + chosen, start + rejected, weights)
        for start, item in zip(starts, batch, strict=False)
        for chosen, rejected, weights in zip(
            item.comparison.chosen, item.comparison.rejected, item.weights, strict=True
        )
    ]
    both = quality + length
    nll = torch.stack(
        [(torch.nn.functional.softplus(both[b] - both[a]) * torch.tensor(w)).mean() for a, b, w in sides]
    ).mean()
    centred = torch.stack([(quality[a] + quality[b]).square().mean() for a, b, _ in sides]).mean()

    def rho(column: torch.Tensor) -> torch.Tensor:
        return torch.corrcoef(torch.stack([column, lengths]))[0, 1]

    quality_rho = torch.stack([rho(column).abs() for column in quality.T]).mean()
    cosine = torch.stack(
        [(row @ model.length.weight[0]).abs() / row.norm() / model.length.weight.norm() for row in model.score.weight]
    ).mean()
    total = nll + 0.1 * centred + 0.7 * (quality_rho - rho(length[:, 0])) + 0.4 * cosine
    total.backward()
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-4)
    assert figures == pytest.approx(
        {
            "loss_nats": float(nll.detach()),
            "quality_length_correlation": float(quality_rho.detach()),
            "length_head_correlation": float(rho(length[:, 0]).detach()),
            "heads_cosine": float(cosine.detach()),
        },
        abs=1e-4,
    )


def test_micro_batches_do_not_change_what_a_debiased_model_learns(base: Path, tmp_path: Path) -> None:
    learned = []
    for max_tokens in (20, 4096):
        optimiser = OPTIMISER.model_copy(update={"max_tokens": max_tokens})
        events, result = train(base, tmp_path / str(max_tokens), CONFIG.model_copy(update={"optimiser": optimiser}))
        learned.append((events[-1].metrics, result.series["delta_uncalibrated"]))
    assert learned[0][0] == pytest.approx(learned[1][0], abs=1e-3)
    assert learned[0][1] == pytest.approx(learned[1][1], abs=1e-2)


def test_length_leaves_the_score_and_what_else_was_preferred_stays(base: Path, tmp_path: Path) -> None:
    """About half of the pairs of like length differ in the last word, and 0.88 of these go by it: 0.69 at best."""
    annealed = OPTIMISER.model_copy(update={"schedule": "cosine"})
    config = CONFIG.model_copy(update={"epochs": 12, "optimiser": annealed})
    pairs = biased_pairs(0, 16)
    _, plain = train(base, tmp_path / "plain", config.model_copy(update={"debias": "none"}), pairs)
    events, debiased = train(base, tmp_path / "debiased", config, pairs)
    before, after = (run.estimates["length_correlation"].value for run in (plain, debiased))
    assert before > 0.5  # .64 and .63
    assert abs(after) < 0.25  # -.09 and .05
    assert debiased.estimates["length_correlation_with_length_head"].value > 0.4  # .55 and .67
    assert "length_correlation_with_length_head" not in plain.estimates
    assert debiased.estimates["length_matched_agreement"].value > 0.6  # .68 and .65, plain .70
    assert events[-1].metrics["length_head_correlation"] > 0.9
    assert events[-1].metrics["quality_length_correlation"] < 0.3


def test_the_length_head_is_not_saved_and_nobody_misses_it(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    train(base, tmp_path / "out", CONFIG)
    stock, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    assert stock.config.num_labels == 1
    assert json.loads((tmp_path / "out" / "config.json").read_text()).get("reward_aggregate") is None
    model = load_reward_model(base, tokenizer)
    add_length_head(model)
    again = save(model, tokenizer, tmp_path / "again")
    assert not hasattr(load_reward_model(again, tokenizer), "length")
