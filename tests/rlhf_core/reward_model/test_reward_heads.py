"""Ensembles as whole stages: loss by plain forwards, bootstraps, one score everywhere, resuming, identical members."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig
from rlhf_core.config.reward_model import Aggregate, RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.pair_trees import compare
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.evaluators.reward_model import evaluate_reward_model, score
from rlhf_core.generation.rollout import roll_out
from rlhf_core.models.ensembles import Aggregation, store_aggregation
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.scoring import score_ensemble
from rlhf_core.ppo.train import train_policy
from rlhf_core.ppo.update import compute_advantages, rollout_metrics
from rlhf_core.reward_model.losses import Lesson, lessons, reward_loss
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.rewards.reward import Reward
from rlhf_core.training.checkpoint import NEVER, Checkpoints
from rlhf_core.training.stage import Event, Stage, StageResult

PROMPTS = [" ".join(words) for words in product(("how", "are", "you"), repeat=2)] + ["how are you fine thanks"]
ANSWERS = ("fine", "fine thanks", "you are fine thanks")
DEMONSTRATIONS = [Demonstration(prompt, answer) for prompt, answer in product(PROMPTS, ANSWERS)]
PAIRS = [
    Pair(prompt, f"{start} thanks", f"{start} how", margin, weight)
    for prompt, (start, margin, weight) in product(
        PROMPTS, (("fine", 0.0, 0.5), ("you are", 0.5, 2.0), ("are you how", 0.0, 1.0))
    )
]
ADAM = OptimiserConfig(lr=0.02, eps=1e-3, schedule="constant")
CONFIG = RewardModelConfig(heads=3, epochs=4, batch_size=4, max_prompt_tokens=8, max_response_tokens=6, optimiser=ADAM)


def finish(stage: Stage, *, events: int | None = None) -> tuple[list[Event], StageResult | None]:
    """All events, or the first few after which the stage is cut off."""
    seen: list[Event] = []
    while len(seen) != events:
        try:
            seen.append(next(stage))
        except StopIteration as end:
            return seen, end.value
    next(stage)  # it is cut off after it has kept its state
    return seen, None


def stage(base: Path, out: Path, config: RewardModelConfig = CONFIG, checkpoints: Checkpoints = NEVER) -> Stage:
    return train_reward_model(
        config,
        init_from=base,
        train=PAIRS,
        held_out=PAIRS,
        demonstrations=DEMONSTRATIONS,
        out=out,
        seed=1,
        checkpoints=checkpoints,
    )


def trained(base: Path, out: Path, config: RewardModelConfig = CONFIG) -> tuple[list[Event], StageResult]:
    events, result = finish(stage(base, out, config))
    assert result is not None
    return events, result


def learned_from(tokenizer: PreTrainedTokenizerBase, pairs: list[Pair], heads: int = 3, seed: int = 1) -> list[Lesson]:
    return lessons(compare(tokenizer, pairs, Lengths(8, 6)), heads, seed=seed)


def draws(tokenizer: PreTrainedTokenizerBase, pairs: list[Pair], heads: int, seed: int) -> NDArray[np.float64]:
    return np.array([row for item in learned_from(tokenizer, pairs, heads, seed) for row in item.weights])


@torch.no_grad()
def plain_logits(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, prompt: str, text: str) -> torch.Tensor:
    """Logits of one unpadded sequence by the model's own forward."""

    def ids_of(words: str) -> list[int]:
        found: list[int] = tokenizer.convert_tokens_to_ids(words.split())
        return found

    ids = ids_of(f"<|user|> {prompt} <|assistant|>")[-8:] + ids_of(f"{text} <|end|>")[:6]
    logits: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0]
    return logits


# Bootstraps


def many_pairs(count: int) -> Iterator[Pair]:
    words = ("how", "are", "you", "fine", "thanks")
    texts = [" ".join(text) for text in product(words, repeat=4)]
    for index in range(count):
        yield Pair(texts[index % 625], texts[(index * 7 + 1) % 625], texts[(index * 11 + 2) % 625])


def test_how_often_a_member_sees_a_pair_is_poisson_of_mean_1(tokenizer: PreTrainedTokenizerBase) -> None:
    found = draws(tokenizer, list(many_pairs(600)), heads=4, seed=1)
    assert found.mean() == pytest.approx(1.0, abs=0.08)  # 4 standard errors
    assert found.var() == pytest.approx(1.0, abs=0.15)
    assert (found == 0).mean() == pytest.approx(np.exp(-1.0), abs=0.04)
    assert np.abs(np.corrcoef(found.T)[np.triu_indices(4, 1)]).max() < 0.15  # members see other bootstraps


def test_a_bootstrap_depends_on_seed_and_pair_only(tokenizer: PreTrainedTokenizerBase) -> None:
    pairs = [pair._replace(weight=1.0) for pair in PAIRS]
    found = draws(tokenizer, pairs, heads=3, seed=1)
    backwards = draws(tokenizer, pairs[::-1], heads=3, seed=1)
    assert {tuple(row) for row in found} == {tuple(row) for row in backwards}
    alone = draws(tokenizer, pairs[4:5], heads=3, seed=1)
    assert alone[0].tolist() == found[4].tolist()
    assert draws(tokenizer, pairs[4:5], heads=5, seed=1)[0, :3].tolist() == found[4].tolist()
    assert draws(tokenizer, pairs, heads=3, seed=2).tolist() != found.tolist()


def test_a_bootstrap_multiplies_the_weights_and_a_single_head_has_none(tokenizer: PreTrainedTokenizerBase) -> None:
    plain = [pair._replace(weight=1.0) for pair in PAIRS]
    weights = np.array([pair.weight for pair in PAIRS])
    found = draws(tokenizer, PAIRS, heads=3, seed=1)
    assert found.tolist() == (weights[:, None] * draws(tokenizer, plain, heads=3, seed=1)).tolist()
    assert draws(tokenizer, PAIRS, heads=1, seed=1)[:, 0].tolist() == weights.tolist()


# Training


@pytest.mark.parametrize("max_tokens", [12, 4096])
def test_the_loss_is_the_mean_over_heads_of_the_weighted_sum_over_the_count_of_pairs(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, max_tokens: int
) -> None:
    torch.manual_seed(1)
    model = load_reward_model(base, tokenizer, heads=3)
    seen = draws(tokenizer, PAIRS, heads=3, seed=1)
    losses = []
    for (prompt, chosen, rejected, margin, *_), weight in zip(PAIRS, seen, strict=True):
        logits = [plain_logits(model, tokenizer, prompt, text).numpy() for text in (chosen, rejected)]
        gap = logits[0] - logits[1] - margin
        smoothed = -0.9 * np.log(1 / (1 + np.exp(-gap))) - 0.1 * np.log(1 / (1 + np.exp(gap)))
        losses.append((weight * smoothed).mean())
    optimiser = ADAM.model_copy(update={"max_tokens": max_tokens})
    config = CONFIG.model_copy(
        update={"epochs": 1, "batch_size": 100, "label_smoothing": 0.1, "optimiser": optimiser, "centring_coef": 0.5}
    )
    events, _ = trained(base, tmp_path / "out", config)
    assert len(events) == 1
    assert events[0].metrics["loss_nats"] == pytest.approx(np.mean(losses), abs=1e-4)


def test_the_centring_penalty_is_the_mean_square_of_the_sums_of_pairs(
    base: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    torch.manual_seed(1)
    model = load_reward_model(base, tokenizer, heads=3)
    batch = learned_from(tokenizer, PAIRS)
    everything = list(range(len(batch)))
    free, held = (
        float(reward_loss(CONFIG.model_copy(update={"centring_coef": coef}), batch)(model, everything)[0].detach())
        for coef in (0.0, 0.5)
    )
    sums = [
        plain_logits(model, tokenizer, pair.prompt, pair.chosen)
        + plain_logits(model, tokenizer, pair.prompt, pair.rejected)
        for pair in PAIRS
    ]
    assert held - free == pytest.approx(0.5 * float(torch.stack(sums).square().mean()), abs=1e-4)


def test_members_learn_and_differ(base: Path, tmp_path: Path) -> None:
    _, result = trained(base, tmp_path / "out")
    assert result.estimates["agreement"].value > 0.9
    assert result.estimates["disagreement"].value > 0.0
    assert result.estimates["member_correlation"].upper < 0.9999


def test_identical_members_are_told_apart_from_an_ensemble(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    trained(base, tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        model.score.weight.copy_(model.score.weight[:1].expand(3, -1))
    copies = save(model, tokenizer, tmp_path / "copies")
    found = evaluate_reward_model(
        CONFIG, reward_model=copies, train=PAIRS, held_out=PAIRS, demonstrations=DEMONSTRATIONS
    )
    assert found.estimates["member_correlation"][:3] == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)
    assert found.estimates["disagreement"].value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("how", ["mean", "min", "uncertainty"])
def test_demonstrations_score_0_and_a_saved_ensemble_has_the_figures_of_its_training(
    base: Path, tmp_path: Path, how: Aggregate
) -> None:
    config = CONFIG.model_copy(update={"aggregate": how, "uncertainty_lambda": 0.8})
    _, result = trained(base, tmp_path / "out", config)
    assert np.mean(score(tmp_path / "out", DEMONSTRATIONS, config)) == pytest.approx(0.0, abs=1e-4)
    again = evaluate_reward_model(
        CONFIG,  # what is stored with the model counts
        reward_model=tmp_path / "out",
        train=PAIRS,
        held_out=PAIRS,
        demonstrations=DEMONSTRATIONS,
    )
    assert set(again.estimates) == set(result.estimates)
    for name, figure in again.estimates.items():
        assert figure == pytest.approx(result.estimates[name], abs=1e-4), name


STOCK = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rlhf_core", "flows", "data_contracts"):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Blocker())
import torch
from transformers import AutoModelForSequenceClassification
model, info = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], output_loading_info=True)
assert not any(info.values()), info
config = model.config
with torch.no_grad():
    logits = [model(input_ids=torch.tensor([ids])).logits[0].tolist() for ids in json.loads(sys.argv[2])]
print(json.dumps([type(model.score).__name__, config.num_labels, config.reward_aggregate,
    config.reward_uncertainty_lambda, config.reward_centre, config.reward_temperature, logits]))
"""


def test_a_process_without_the_project_reads_an_ensemble_and_makes_the_same_score(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"aggregate": "uncertainty", "uncertainty_lambda": 0.8})
    trained(base, tmp_path / "out", config)
    rows = [
        tokenizer.convert_tokens_to_ids(f"<|user|> {item.prompt} <|assistant|>".split())[-8:]
        + tokenizer.convert_tokens_to_ids(f"{item.response} <|end|>".split())[:6]
        for item in DEMONSTRATIONS
    ]
    done = subprocess.run(
        [sys.executable, "-I", "-c", STOCK, str(tmp_path / "out"), json.dumps(rows)],
        cwd=tmp_path, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    layer, labels, how, price, centre, temperature, told = json.loads(done.stdout.splitlines()[-1])
    assert (layer, labels, how, price) == ("Linear", 3, "uncertainty", 0.8)
    logits = np.array(told)
    by_hand = (logits.mean(axis=1) - 0.8 * logits.var(axis=1) - centre) / temperature
    assert by_hand == pytest.approx(np.array(score(tmp_path / "out", DEMONSTRATIONS, config)), abs=1e-4)
    assert np.ptp(logits, axis=1).min() > 0.0


@pytest.mark.parametrize("debias", ["none", "length"])
def test_an_ensemble_that_was_cut_off_ends_as_if_nothing_had_been(base: Path, tmp_path: Path, debias: str) -> None:
    config = CONFIG.model_copy(update={"debias": debias, "aggregate": "min"})
    events, whole = trained(base, tmp_path / "whole", config)
    first, _ = finish(stage(base, tmp_path / "cut", config, Checkpoints(tmp_path / "states")), events=5)
    rest, resumed = finish(stage(base, tmp_path / "cut", config, Checkpoints(tmp_path / "states")))
    assert resumed is not None
    assert first == events[:5]
    assert rest == events[len(events) - len(rest) :]
    assert 0 < len(rest) < len(events)
    assert resumed.estimates == whole.estimates
    assert resumed.series == whole.series
    one, other = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "cut")
    )
    torch.testing.assert_close(one, other, rtol=0, atol=0)


# PPO

SAMPLING = SamplingConfig(max_prompt_tokens=8, max_response_tokens=6)
PPO = PPOConfig(
    updates=2,
    rollout_size=6,
    minibatch_size=3,
    kl_budget_nats=None,
    evaluate_every=1,
    optimiser=ADAM,
    value=SeparateValueConfig(optimiser=ADAM),
    sampling=SAMPLING,
)


def test_ppo_maximises_what_the_members_make_together(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    torch.manual_seed(1)
    model, policy = load_reward_model(base, tokenizer, heads=3), load_policy(base, tokenizer)
    store_aggregation(model.config, Aggregation("min", centre=0.2))
    rollout, _, _ = roll_out(policy, tokenizer, PROMPTS, SAMPLING, ADAM, seed=1)
    values = torch.zeros_like(rollout.logprobs)
    experience = compute_advantages(
        PPO,
        rollout,
        reference=policy,
        scores=score_ensemble(model, rollout.trees, PPO.optimiser),
        values=values,
        reward=Reward(PPO.reward),
        terms={},
        offset=0.0,
    )
    with torch.no_grad():
        rows = [tree.prompt + tree.responses[0] for tree in rollout.trees]
        states = [model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1] for ids in rows]
        logits = model.score(torch.stack(states))  # a sampled padding token counts as any other
    torch.testing.assert_close(experience.scores, logits.amin(dim=1) - 0.2, rtol=0, atol=1e-4)
    spread = logits.std(dim=1, correction=0)
    torch.testing.assert_close(experience.disagreement, spread, rtol=0, atol=1e-4)
    assert rollout_metrics(experience)["reward_disagreement"] == pytest.approx(float(spread.mean()), abs=1e-4)


def climbed(
    base: Path, tokenizer: PreTrainedTokenizerBase, folder: Path, heads: int
) -> tuple[list[Event], StageResult]:
    torch.manual_seed(1)
    models = []
    for name in ("reward", "judge"):
        model = load_reward_model(base, tokenizer, heads=heads)
        if heads > 1:
            store_aggregation(model.config, Aggregation("min"))
        models.append(save(model, tokenizer, folder / f"{name}-{heads}"))
    climb = train_policy(
        PPO,
        sft=base,
        reward_model=models[0],
        judge=models[1],
        prompts=PROMPTS,
        held_out_prompts=[f"{prompt} thanks" for prompt in PROMPTS],
        out=folder / f"policy-{heads}",
        seed=1,
    )
    events, result = finish(climb)
    assert result is not None
    return events, result


def test_ppo_reports_how_far_the_members_of_its_reward_model_disagree(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    (start, *updates), result = climbed(base, tokenizer, tmp_path, heads=3)
    assert start.metrics["eval_reward_disagreement"] > 0.0
    assert all(event.metrics["reward_disagreement"] > 0.0 for event in updates)
    assert result.estimates["reward_disagreement"].value > 0.0
    value = AutoModelForSequenceClassification.from_pretrained(result.artifacts["value"])
    assert value.config.num_labels == 1


def test_a_single_head_disagrees_with_nobody_and_says_nothing_of_it(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    events, result = climbed(base, tokenizer, tmp_path, heads=1)
    assert not [name for event in events for name in event.metrics if "reward_disagreement" in name]
    assert not [name for name in result.estimates if "reward_disagreement" in name]
