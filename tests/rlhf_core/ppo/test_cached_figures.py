"""What PPO and the reward model keep in files: it is read back instead of computed, and no result depends on it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.array_cache import cached
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.metrics.policy import Answers
from rlhf_core.models.loading import digest, load_policy, load_reward_model, save, weights_digest
from rlhf_core.ppo.train import train_policy
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.training.stage import Event, Stage, StageResult

PROMPTS = ["how are you", "fine", "you are fine thanks", "thanks", "how", "are you fine", "you", "thanks how are you"]
ADAM = OptimiserConfig(lr=0.01, eps=1e-5, schedule="constant")
PPO = PPOConfig(
    updates=1,
    rollout_size=4,
    minibatch_size=4,
    kl_budget_nats=None,
    optimiser=ADAM,
    value=SeparateValueConfig(optimiser=ADAM),
    sampling=SamplingConfig(temperature=0.8, max_prompt_tokens=6, max_response_tokens=6),
)
PAIRS = [Pair(f"how are {name}", "fine thanks", "you how") for name in ("you", "thanks", "fine", "how")]
DEMONSTRATIONS = [
    Demonstration("how are you", "fine thanks"),
    Demonstration("how", "thanks"),
    Demonstration("you", "fine"),
]
LABELLED = RewardModelConfig(batch_size=2, optimiser=OptimiserConfig(lr=0.01, max_tokens=64))


class Ran(NamedTuple):
    """A stage that ended.

    Attributes:
        events: without what no seed decides.
        until_first: forward passes without gradient until the first event.
        passes: all of them.
    """

    events: list[Event]
    result: StageResult
    until_first: int
    passes: int


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every forward pass of a whole model or of its trunk that takes no gradient, by class."""
    calls: list[str] = []

    def note(module: torch.nn.Module, *_: object) -> None:
        if isinstance(module, PreTrainedModel) and not torch.is_grad_enabled():
            calls.append(type(module).__name__)

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        yield calls
    finally:
        handle.remove()


def ran(stage: Stage) -> Ran:
    events, until_first = [], 0
    with counted() as passes:
        while True:
            try:
                step, metrics, _ = next(stage)
            except StopIteration as end:
                return Ran(events, end.value, until_first, len(passes))
            until_first = until_first or len(passes)
            events.append(Event(step, {name: metrics[name] for name in metrics if not name.endswith("_seconds")}))


def assert_same(one: Ran, other: Ran) -> None:
    assert one.events == other.events
    assert one.result.estimates == other.result.estimates
    assert one.result.series == other.result.series
    assert one.result.samples == other.result.samples


# The baseline of PPO


class Models(NamedTuple):
    sft: Path
    reward_model: Path
    judge: Path


@pytest.fixture
def models(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Models:
    torch.manual_seed(1)
    return Models(base, *(save(load_reward_model(base, tokenizer), tokenizer, tmp_path / name) for name in "rj"))


def ppo(
    models: Models,
    out: Path,
    cache: Path | None,
    *,
    held_out: list[str] = PROMPTS,
    seed: int = 1,
    config: PPOConfig = PPO,
) -> Ran:
    stage = train_policy(
        config,
        **models._asdict(),
        prompts=PROMPTS,
        held_out_prompts=held_out,
        out=out,
        seed=seed,
        cache=cache,
    )
    return ran(stage)


def test_what_the_sft_model_answered_is_read_back_and_changes_nothing(
    models: Models, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    plain = ppo(models, tmp_path / "plain", None)
    first, again = (ppo(models, tmp_path / name, tmp_path / "cache") for name in ("first", "again"))
    with counted() as loading:
        policies = [load_policy(models.sft, tokenizer) for _ in ("policy", "reference")]
        scorers = [load_reward_model(models.judge, tokenizer) for _ in ("value", "reward model", "judge")]
    assert policies and scorers
    assert first.passes == plain.passes
    assert first.until_first > len(loading) == again.until_first
    assert_same(first, plain)
    assert_same(again, plain)


def test_another_beta_asks_the_sft_model_nothing_again(models: Models, tmp_path: Path) -> None:
    first = ppo(models, tmp_path / "first", tmp_path / "cache")
    dearer = ppo(models, tmp_path / "dearer", tmp_path / "cache", config=PPO.model_copy(update={"beta": 0.5}))
    assert dearer.until_first < first.until_first
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2  # answers to the watched and to the judged prompts


def test_the_baseline_is_measured_again_for_other_prompts_chance_or_models(
    models: Models, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    first = ppo(models, out, cache).until_first
    cooler = PPO.model_copy(update={"sampling": PPO.sampling.model_copy(update={"temperature": 0.5})})
    judge = AutoModelForSequenceClassification.from_pretrained(models.judge)
    with torch.no_grad():
        judge.score.weight += 0.1
    moved = save(judge, tokenizer, tmp_path / "moved")
    known = ppo(models, out, cache).until_first
    assert ppo(models, out, cache, held_out=PROMPTS[::-1]).until_first > known
    assert ppo(models, out, cache, seed=2).until_first > known
    assert ppo(models, out, cache, config=cooler).until_first > known
    assert ppo(models._replace(judge=moved), out, cache).until_first == first
    assert len(list(cache.rglob("*.npy"))) == 2 * 5


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_answers_survive_a_file(texts: list[str]) -> None:
    numbers = np.arange(len(texts)) / 3
    finished, terms = [len(text) % 2 == 0 for text in texts], {"brevity": -numbers, "own": numbers**2}
    answers = Answers(texts, numbers, finished, *(numbers + shift for shift in range(6)), terms=terms)
    with tempfile.TemporaryDirectory() as folder:
        kept = [cached(Path(folder) / "answers.npy", answers.as_rows) for _ in range(2)]
    for rows in kept:
        found = Answers.from_rows(rows)
        assert (found.texts, found.finished) == (answers.texts, answers.finished)
        assert [column.tolist() for column in found if isinstance(column, np.ndarray)] == [
            column.tolist() for column in answers if isinstance(column, np.ndarray)
        ]
        assert {name: values.tolist() for name, values in found.terms.items()} == {
            name: values.tolist() for name, values in terms.items()
        }


# What a reward model says of the demonstrations


def labelled(base: Path, out: Path, cache: Path | None, *, demonstrations: list[Demonstration] = DEMONSTRATIONS) -> Ran:
    stage = train_reward_model(
        LABELLED,
        init_from=base,
        train=PAIRS,
        held_out=PAIRS,
        demonstrations=demonstrations,
        out=out,
        seed=1,
        cache=cache,
    )
    return ran(stage)


def test_what_a_reward_model_says_of_the_demonstrations_is_read_back_and_changes_nothing(
    base: Path, tmp_path: Path
) -> None:
    plain = labelled(base, tmp_path / "plain", None)
    first, again = (labelled(base, tmp_path / name, tmp_path / "cache") for name in ("first", "again"))
    assert first.passes == plain.passes
    assert again.passes == first.passes - 2  # one for the mean state and one for the scores
    assert_same(first, plain)
    assert_same(again, plain)
    assert digest(tmp_path / "again") == digest(tmp_path / "plain")


def test_other_demonstrations_are_asked_about(base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = labelled(base, tmp_path / "first", cache)
    other = labelled(base, tmp_path / "other", cache, demonstrations=DEMONSTRATIONS[:2])
    assert other.passes == first.passes


def test_the_digest_of_weights_changes_with_any_of_them_and_survives_a_file(
    base: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = load_policy(base, tokenizer)
    found = weights_digest(model)
    assert found == weights_digest(load_policy(base, tokenizer))
    for weight in model.parameters():
        with torch.no_grad():
            weight.flatten()[-1] += 1e-3
        assert found != (found := weights_digest(model))
