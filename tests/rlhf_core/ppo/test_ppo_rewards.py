"""PPO on a sum of terms: each is logged apart, what is whitened survives a cut, and the policy follows the sum."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig
from rlhf_core.config.reward import (
    ContainsConfig,
    EnsembleConfig,
    LengthConfig,
    ModelConfig,
    PythonConfig,
    RegexConfig,
    RewardConfig,
    WeighingConfig,
)
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.evaluators.policy import evaluate_policy
from rlhf_core.generation.rollout import as_rollout
from rlhf_core.generation.sampling import sample
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.scoring import score_ensemble
from rlhf_core.ppo.train import train_policy
from rlhf_core.ppo.update import compute_advantages
from rlhf_core.rewards.reward import Reward
from rlhf_core.rewards.terms import term_keys
from rlhf_core.training.checkpoint import NEVER, Checkpoints
from rlhf_core.training.stage import Event, StageResult
from tests.conftest import ROOT

RANKS = ROOT / "tests" / "rlhf_core" / "ranks.py"
PROMPTS = ["how are you", "fine", "you are fine thanks", "thanks", "how", "are you fine", "you", "thanks how are you"]
HELD_OUT = ["fine thanks", "how you", "are you how", "thanks fine", "you you", "are"] * 4
ADAM = OptimiserConfig(lr=0.01, eps=1e-5, schedule="constant")
CONFIG = PPOConfig(
    updates=3,
    rollout_size=8,
    minibatch_size=4,
    kl_budget_nats=None,
    evaluate_every=1,
    optimiser=ADAM,
    value=SeparateValueConfig(optimiser=ADAM),
    sampling=SamplingConfig(temperature=0.8, max_prompt_tokens=6, max_response_tokens=6),
)
BREVITY = LengthConfig(name="brevity", weight=0.25)
THANKS = RegexConfig(name="thanks", pattern="thanks", measure="count", weight=-0.5)
OWN = PythonConfig(name="own", function="own_rules:words", weight=2.0)
SECOND = ModelConfig(name="second", reward_model="judge", weight=0.5)
WORDS = "def words(prompts, responses):\n    return [float(len(text.split())) for text in responses]\n"


class Models(NamedTuple):
    sft: Path
    reward_model: Path
    judge: Path


class Outcome(NamedTuple):
    events: list[Event]
    result: StageResult


@pytest.fixture
def models(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Models:
    torch.manual_seed(1)
    heads = [save(load_reward_model(base, tokenizer), tokenizer, tmp_path / name) for name in ("reward", "judge")]
    return Models(base, *heads)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of a user's, in a folder that Python looks into."""
    path = tmp_path / "own" / "own_rules.py"
    path.parent.mkdir()
    path.write_text(WORDS)
    monkeypatch.syspath_prepend(str(path.parent))
    sys.modules.pop("own_rules", None)
    yield path
    sys.modules.pop("own_rules", None)


def train(models: Models, out: Path, reward: RewardConfig, *, until: int | None = None, **inputs: Any) -> Outcome:
    """Train to the end, or until so many events are done."""
    given: dict[str, Any] = {"prompts": PROMPTS, "held_out_prompts": HELD_OUT, "seed": 1, "checkpoints": NEVER} | inputs
    config = given.pop("config", CONFIG).model_copy(update={"reward": reward})
    stage, events = train_policy(config, **models._asdict(), out=out, **given), []
    while len(events) != until:
        try:
            step, metrics, _ = next(stage)
        except StopIteration as end:
            return Outcome(events, end.value)
        events.append(Event(step, {name: metrics[name] for name in metrics if not name.endswith("_seconds")}))
    next(stage)  # it is cut off after it has kept its state
    return Outcome(events, StageResult(artifacts={}))


def answers(out: Path, step: int) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    return [row for row in rows if row["step"] == step]


# What is said of each term


def test_every_term_is_told_apart_by_update_by_evaluation_and_at_the_end(
    models: Models, own: Path, tmp_path: Path
) -> None:
    out, second = tmp_path / "out", {"second": models.judge}
    reward = RewardConfig(model=WeighingConfig(weight=3.0), terms=(BREVITY, THANKS, OWN, SECOND))
    events, result = train(models, out, reward, term_models=second)
    for step, metrics, _ in events[1:]:
        assert metrics["reward_brevity"] == pytest.approx(-metrics["response_tokens"])
        weights = {"score": 3.0, "brevity": 0.25, "thanks": -0.5, "own": 2.0, "second": 0.5}
        total = sum(weight * metrics[f"reward_{name}"] for name, weight in weights.items())
        assert metrics["reward_total"] == pytest.approx(total, abs=1e-4)
        rows = answers(out, step)
        assert metrics["eval_reward_brevity"] == pytest.approx(-metrics["eval_response_tokens"])
        assert metrics["eval_reward_second"] == pytest.approx(metrics["eval_judge_score"], abs=1e-5)
        assert [row["reward_thanks"] for row in rows] == [row["response"].count("thanks") for row in rows]
        assert [row["reward_own"] for row in rows] == [len(row["response"].split()) for row in rows]
        assert metrics["eval_reward_own"] == pytest.approx(sum(row["reward_own"] for row in rows) / len(rows))
    found = result.estimates
    assert found["reward_second_gain"] == found["judge_reward_gain"]
    assert found["reward_brevity"].n == len(HELD_OUT) // 2 and found["reward_brevity"].value < 0.0
    again = evaluate_policy(
        CONFIG.model_copy(update={"reward": reward}),
        **models._asdict(),
        policy=out / "policy",
        held_out_prompts=HELD_OUT,
        seed=1,
        term_models=second,
    ).estimates
    assert {name: estimate.value for name, estimate in again.items()} == pytest.approx(
        {name: found[name].value for name in again},
        abs=1e-4,  # what the watch knows needs the whole training
    )


def test_without_further_terms_only_the_score_is_told(models: Models, tmp_path: Path) -> None:
    events, result = train(models, tmp_path / "out", RewardConfig())
    for _, metrics, _ in events[1:]:
        told = {"reward_score", "reward_total", "reward_offset", "eval_reward_score"}
        assert {name for name in metrics if "reward" in name} == told
        assert metrics["reward_total"] == metrics["reward_score"]
    figures = {"reward_gain", "judge_reward_gain", "reward_offset"}
    assert {name for name in result.estimates if "reward" in name} == figures


# What is maximised


def test_the_penalty_for_not_ending_is_taken_after_the_sum_is_clipped(
    models: Models, tokenizer: PreTrainedTokenizerBase
) -> None:
    # without discount, lambda 1 and beta 0 the return of every token is the reward of the whole response
    reward = RewardConfig(terms=(LengthConfig(name="brevity", weight=0.3),), clip=0.9)
    config = CONFIG.model_copy(
        update={"lam": 1.0, "gamma": 1.0, "beta": 0.0, "missing_eos_penalty": 2.5, "reward": reward}
    )
    policy = load_policy(models.sft, tokenizer)
    drawn = sample(policy, tokenizer, PROMPTS * 3, config.sampling, generator=torch.Generator().manual_seed(1))
    rollout = as_rollout(drawn)
    lengths = [len(one.response_ids) for one in drawn]
    experience = compute_advantages(
        config,
        rollout,
        reference=policy,
        scores=score_ensemble(load_reward_model(models.reward_model, tokenizer), rollout.trees, config.optimiser),
        values=torch.zeros(rollout.mask.shape),
        reward=Reward(reward),
        terms={"brevity": -torch.tensor(lengths, dtype=torch.float32)},
        offset=0.0,
    )
    assert {one.finished for one in drawn} == {True, False}
    for row, one in enumerate(drawn):
        total = max(-0.9, min(0.9, float(experience.scores[row]) - 0.3 * lengths[row]))
        assert float(experience.total[row]) == pytest.approx(total, abs=1e-5)
        expected = total - (0.0 if one.finished else 2.5)
        assert experience.returns[row, : lengths[row]].tolist() == pytest.approx([expected] * lengths[row], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("price", "shorter"), [(0.3, True), (-0.3, False)])
def test_the_policy_answers_in_fewer_tokens_where_each_has_a_price(
    models: Models, tmp_path: Path, price: float, shorter: bool
) -> None:
    reward = RewardConfig(model=WeighingConfig(weight=0.0), terms=(LengthConfig(name="brevity", weight=price),))
    free = CONFIG.model_copy(
        update={
            **{"beta": 0.0, "updates": 20, "evaluate_every": 20, "missing_eos_penalty": 0.0},
            **{"rollout_size": 64, "minibatch_size": 32},
        }
    )
    many = {"prompts": PROMPTS * 8, "held_out_prompts": HELD_OUT * 8}
    first, *_, last = train(models, tmp_path / "out", reward, config=free, **many).events[1:]
    before, after = first.metrics["response_tokens"], last.metrics["response_tokens"]
    assert after < 0.4 * before if shorter else after > 5.9 > before  # 6 tokens are the limit


# What is remembered


def test_a_stage_that_was_cut_off_goes_on_with_the_moments_that_it_had(models: Models, tmp_path: Path) -> None:
    terms = (BREVITY.model_copy(update={"normalise": "whiten"}), THANKS)
    reward = RewardConfig(model=WeighingConfig(normalise="whiten"), terms=terms, whiten=True, clip=1.5)
    uncut = train(models, tmp_path / "uncut", reward)
    states = tmp_path / "states"
    cut = train(models, tmp_path / "cut", reward, until=3, checkpoints=Checkpoints(states))
    resumed = train(models, tmp_path / "cut", reward, checkpoints=Checkpoints(states))
    assert len(resumed.events) == 1
    assert cut.events + resumed.events == uncut.events
    assert resumed.result.estimates == uncut.result.estimates
    weights = [AutoModelForCausalLM.from_pretrained(tmp_path / run / "policy").state_dict() for run in ("uncut", "cut")]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_what_terms_say_is_known_by_their_code_and_not_by_their_weights(models: Models, own: Path) -> None:
    def keys(term: PythonConfig | ModelConfig, folder: Path = models.judge) -> list[Any]:
        return term_keys(RewardConfig(terms=(term,)), {"second": folder})

    first = keys(OWN)
    assert keys(OWN.model_copy(update={"weight": 7.0, "clip": 1.0, "normalise": "whiten"})) == first
    assert keys(OWN.model_copy(update={"version": "2"})) != first
    own.write_text(f"{WORDS}# another\n")
    assert keys(OWN) != first
    assert keys(SECOND) != keys(SECOND, models.reward_model)


def test_the_baseline_is_measured_again_by_another_rule(models: Models, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    gains = []
    for strings in (("thanks",), ("zebra",), ("thanks",)):
        rule = ContainsConfig(name="said", strings=strings)
        found = train(models, tmp_path / "out", RewardConfig(terms=(rule,)), cache=cache).result.estimates
        gains.append((found["reward_said"].value, found["reward_said_gain"].value))
    assert gains[0] == gains[2] != gains[1] == (0.0, 0.0)
    assert len(list(cache.rglob("*.npy"))) == 4  # answers to watched and to judged prompts, by two rules


def test_ppo_maximises_the_worst_of_several_reward_models_which_may_part(models: Models, tmp_path: Path) -> None:
    ensemble = EnsembleConfig(members=("second",), aggregate="min")
    reward = RewardConfig(terms=(SECOND.model_copy(update={"weight": 1.0}),), ensemble=ensemble)
    inputs = {"term_models": {"second": models.judge}}
    (start, *updates), result = train(models, tmp_path / "free", reward, **inputs)
    for _, metrics, _ in updates:
        assert metrics["reward_total"] <= min(metrics["reward_score"], metrics["reward_second"]) + 1e-6
        assert metrics["reward_disagreement"] > 0.0
    apart = [abs(row["reward_score"] - row["reward_second"]) / 2 for row in answers(tmp_path / "free", 0)]
    assert start.metrics["eval_reward_disagreement"] == pytest.approx(sum(apart) / len(apart), abs=1e-5)
    assert result.estimates["reward_disagreement"].value > 0.0
    assert start.metrics["eval_reward_disagreement_gain"] == 0.0
    limited = CONFIG.model_copy(update={"disagreement_limit": 100.0})
    (*_, last), _ = train(models, tmp_path / "limited", reward, config=limited, **inputs)
    assert last.metrics["over_disagreement"] == 0.0


# A function of a user's, where nothing but its name travels


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_processes_of_their_own_find_a_function_by_its_entry_point(
    models: Models, own: Path, tmp_path: Path, ranks: int
) -> None:
    config = CONFIG.model_copy(update={"reward": RewardConfig(terms=(OWN, BREVITY))})
    inputs = {**models._asdict(), "prompts": PROMPTS, "held_out_prompts": HELD_OUT}
    jobs = tmp_path / "jobs.pkl"
    jobs.write_bytes(pickle.dumps([("ppo", config, inputs, tmp_path / "apart")]))
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    done = subprocess.run(
        [sys.executable, *torchrun, RANKS, jobs],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(own.parent)])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "apart.json").read_text())
    expected = train(models, tmp_path / "out", config.reward)
    assert [step for step, _ in said["events"]] == [event.step for event in expected.events]
    for (_, found), (_, metrics, _) in zip(said["events"], expected.events, strict=True):
        assert found == pytest.approx(metrics, abs=1e-5, rel=1e-5)
    assert said["estimates"]["reward_own"] > 0.0


def test_a_function_that_fails_while_training_is_named(models: Models, own: Path, tmp_path: Path) -> None:
    own.write_text("def words(prompts, responses):\n    return [1.0]\n")
    with pytest.raises(ValueError, match=r"own_rules:words: returned shape \[1\] for 12 responses"):
        train(models, tmp_path / "out", RewardConfig(terms=(OWN,)))
