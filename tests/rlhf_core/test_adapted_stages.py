"""Stages by adapters: what they start as, what they hold in memory, and that they go on where they were cut off."""

from itertools import chain, product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerBase

from rlhf_core import dpo
from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig, SharedTrunkConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.generation.rollout import all_logprobs
from rlhf_core.models.loading import load_reward_model, save
from rlhf_core.models.lora import ADAPTER, add_adapter, is_adapted
from rlhf_core.ppo.actor_critic import SeparateValue
from rlhf_core.ppo.experience import all_values
from rlhf_core.ppo.train import PPORun, train_policy
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.sft import train_sft
from rlhf_core.training.checkpoint import NEVER, Checkpoints
from rlhf_core.training.stage import Event, Stage, StageResult

PROMPTS = [" ".join(words) for words in product(("how", "are", "you"), repeat=2)]
ANSWERS = ("fine", "fine thanks", "you are fine thanks")
DEMONSTRATIONS = [Demonstration(prompt, answer) for prompt, answer in product(PROMPTS, ANSWERS)]
PAIRS = [Pair(prompt, f"{start} thanks", f"{start} how") for prompt, start in product(PROMPTS, ("fine", "you"))]
HELD_OUT = [f"{prompt} thanks" for prompt in PROMPTS]
LORA = AdapterConfig(rank=2, alpha=8.0)
ADAM = OptimiserConfig(lr=0.02, eps=1e-4, schedule="linear", max_tokens=64)
SAMPLING = SamplingConfig(max_prompt_tokens=8, max_response_tokens=6)
SFT = SFTConfig(epochs=2, batch_size=6, optimiser=ADAM, sampling=SAMPLING, evaluation_prompts=6, adapter=LORA)
REWARD_MODEL = RewardModelConfig(
    epochs=2, batch_size=3, max_prompt_tokens=8, max_response_tokens=6, optimiser=ADAM, adapter=LORA
)
DPO = DPOConfig(epochs=2, batch_size=3, optimiser=ADAM, sampling=SAMPLING, evaluation_prompts=6, adapter=LORA)
PPO = PPOConfig(
    updates=4,
    rollout_size=6,
    minibatch_size=3,
    kl_budget_nats=None,
    monitor=None,
    collapse=None,
    evaluate_every=2,
    evaluation_prompts=6,
    optimiser=ADAM,
    value=SeparateValueConfig(optimiser=ADAM),
    sampling=SAMPLING,
    adapter=LORA,
)
SHARED = PPO.model_copy(update={"value": SharedTrunkConfig(coef=0.5)})


class Models(NamedTuple):
    sft: Path
    reward_model: Path
    judge: Path


def go(stage: Stage, limit: int = 99) -> tuple[list[Event], StageResult | None]:
    """Events, without what no seed decides, up to the one after which the stage is cut off, and the result."""
    events: list[Event] = []
    result = None
    try:
        while len(events) < limit:
            events.append(next(stage))
        next(stage)  # it is cut off after it has kept its state
    except StopIteration as end:
        result = end.value
    timed = [
        Event(step, {name: value for name, value in metrics.items() if not name.endswith("_seconds")})
        for step, metrics, _ in events
    ]
    return timed, result


def scorer(base: Path, out: Path, seed: int, adapter: AdapterConfig | None = LORA) -> Path:
    """A reward model of random head and adapter."""
    tokenizer = load_tokenizer(str(base))
    torch.manual_seed(seed)
    model = load_reward_model(base, tokenizer)
    if adapter is not None:
        add_adapter(model, adapter, seed=seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(weight, std=0.1)
    return save(model, tokenizer, out)


@pytest.fixture
def models(base: Path, tmp_path: Path) -> Models:
    """The base as SFT model, and two reward models that are adapters on it."""
    return Models(base, scorer(base, tmp_path / "reward", 1), scorer(base, tmp_path / "judge", 2))


def climb(models: Models, config: PPOConfig, out: Path) -> PPORun:
    return PPORun(
        config, **models._asdict(), out=out, seed=1, term_models={}, demonstrations=(), per_update=4, cache=None
    )


def weights_of(folder: Path, kind: Any = AutoModelForCausalLM) -> dict[str, Tensor]:
    return kind.from_pretrained(folder).state_dict()


# Start


def test_a_policy_starts_as_its_reference_exactly(models: Models, tokenizer: PreTrainedTokenizerBase) -> None:
    run = climb(models, PPO, models.judge.with_name("run"))
    rollout, *_ = run.sample(run.actor_critic.policy, PROMPTS, seed=3)
    views = (
        all_logprobs(model, rollout, ADAM, sampling_temperature=1.0)
        for model in (run.actor_critic.policy, run.reference)
    )
    first, second = views
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.zeros_like(first))


@pytest.mark.parametrize("labelled", [LORA, None], ids=["adapter", "own weights"])
def test_a_value_model_starts_as_the_reward_model(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, labelled: AdapterConfig | None
) -> None:
    models = Models(base, *(scorer(base, tmp_path / name, 1, labelled) for name in ("reward", "judge")))
    run = climb(models, PPO, tmp_path / "run")
    actor_critic = run.actor_critic
    assert isinstance(actor_critic, SeparateValue)
    assert is_adapted(actor_critic.value) and is_adapted(run.reward_model.model) == (labelled is not None)
    rollout, *_ = run.sample(run.reference, PROMPTS, seed=3)
    values = [all_values(model, rollout, ADAM) for model in (actor_critic.value, run.reward_model.model)]
    torch.testing.assert_close(*values, rtol=1e-5, atol=1e-5)  # the copied head may lie where products round otherwise
    assert values[0].std() > 0.1
    own = {name for name, weight in actor_critic.value.named_parameters() if weight.requires_grad}
    assert own == {name for name in actor_critic.value.state_dict() if "lora_" in name or name == "score.weight"}
    theirs = {weight.data_ptr() for weight in run.reward_model.model.parameters()}
    assert not theirs & {actor_critic.value.get_parameter(name).data_ptr() for name in own}


# Memory


def held(run: PPORun) -> tuple[int, int]:
    """Numbers in the weights of all models: each once however many share it, and added up model by model."""
    optimisers = run.actor_critic.parts.values()
    found = [run.reference, run.reward_model.model, run.judge.model, *(optimiser._model for optimiser in optimisers)]
    weights = chain.from_iterable(model.parameters() for model in found)
    once = {weight.data_ptr(): weight.numel() for weight in weights}
    return sum(once.values()), sum(model.num_parameters() for model in found)


@pytest.mark.parametrize("config", [PPO, SHARED], ids=["separate", "shared"])
def test_all_models_of_ppo_hold_one_trunk(models: Models, tmp_path: Path, config: PPOConfig) -> None:
    run = climb(models, config, tmp_path / "adapters")
    learned = [weight for part in run.actor_critic.parts.values() for weight in part.weights().values()]
    frozen = [
        weight
        for model in (run.reward_model.model, run.judge.model)
        for name, weight in model.named_parameters()
        if "lora_" in name or name == "score.weight"
    ]
    own = sum(weight.numel() for weight in (*learned, *frozen))
    assert held(run)[0] == run.reference.num_parameters() + own
    assert held(run)[1] > (2 + len(run.actor_critic.parts)) * held(run)[0] / 3  # what each would hold by itself


def test_in_full_training_every_model_holds_its_own(models: Models, tmp_path: Path) -> None:
    own = Models(models.sft, *(scorer(models.sft, tmp_path / f"own-{seed}", seed, None) for seed in (1, 2)))
    once, one_by_one = held(climb(own, PPO.model_copy(update={"adapter": None}), tmp_path / "full"))
    assert once == one_by_one


# Whole stages


def test_sft_by_an_adapter_learns_and_leaves_a_stock_model(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    data = {"base": base, "train": DEMONSTRATIONS, "held_out": DEMONSTRATIONS[::2], "seed": 1}
    _, result = go(train_sft(SFT, **data, out=tmp_path / "out"))  # type: ignore[arg-type]
    assert result is not None
    assert result.estimates["held_out_loss_gain"].value > 0.1
    moved, plain = weights_of(tmp_path / "out"), weights_of(base)
    assert set(moved) == set(plain)
    changed = {name for name in plain if not torch.equal(moved[name], plain[name])}
    assert changed and not any("norm" in name or "ln_" in name or "embed" in name or "wte" in name for name in changed)


def test_a_reward_model_by_an_adapter_learns_and_keeps_it_beside_its_merged_weights(base: Path, tmp_path: Path) -> None:
    data: dict[str, Any] = {"train": PAIRS, "held_out": PAIRS, "demonstrations": DEMONSTRATIONS[::2]}
    events, result = go(train_reward_model(REWARD_MODEL, init_from=base, **data, out=tmp_path / "out", seed=1))
    assert result is not None  # the stage loads what it saved, and compares scores
    assert events[-1].metrics["loss_nats"] < 0.5 < events[0].metrics["loss_nats"]
    stock = weights_of(tmp_path / "out", AutoModelForSequenceClassification)
    assert not any("lora" in name for name in stock)
    assert (tmp_path / "out" / ADAPTER / "adapter_config.json").is_file()


def test_dpo_by_an_adapter_starts_at_ln_2_and_learns(models: Models, tmp_path: Path) -> None:
    inputs = {**models._asdict(), "train": PAIRS, "held_out": PAIRS, "held_out_prompts": HELD_OUT, "seed": 1}
    events, result = go(dpo.train_policy(DPO, **inputs, out=tmp_path / "out"))  # type: ignore[arg-type]
    assert events[0].metrics["loss_nats"] == pytest.approx(0.693147, abs=1e-5)
    assert result is not None
    assert result.estimates["held_out_loss"].value < 0.69
    assert set(weights_of(tmp_path / "out" / "policy")) == set(weights_of(models.sft))


@pytest.mark.parametrize("config", [PPO, SHARED], ids=["separate", "shared"])
def test_ppo_by_adapters_that_was_cut_off_ends_as_if_nothing_had_been(
    models: Models, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, config: PPOConfig
) -> None:
    inputs = {**models._asdict(), "prompts": PROMPTS, "held_out_prompts": HELD_OUT, "seed": 1}

    def start(out: str, states: Path | None) -> Stage:
        checkpoints = NEVER if states is None else Checkpoints(states)
        return train_policy(config, **inputs, out=tmp_path / out, checkpoints=checkpoints)  # type: ignore[arg-type]

    whole, expected = go(start("whole", None))
    parts = [go(start("cut", tmp_path / "states"), limit) for limit in (3, 1, 99)]
    assert [event for events, _ in parts for event in events] == whole
    found = parts[-1][1]
    assert found is not None and expected is not None and found.estimates == expected.estimates
    assert whole[0].metrics["eval_kl_to_sft_nats"] == pytest.approx(0.0, abs=1e-5)
    assert whole[-1].metrics["eval_kl_to_sft_nats"] != pytest.approx(0.0, abs=1e-3)
    for name, kind in (("policy", AutoModelForCausalLM), ("value", AutoModelForSequenceClassification)):
        one, other = (weights_of(tmp_path / run / name, kind) for run in ("whole", "cut"))
        torch.testing.assert_close(one, other, rtol=0, atol=0)
        moved = weights_of(models.sft)
        assert any(not torch.equal(weight, moved[name]) for name, weight in one.items() if name in moved)
    assert not list(tmp_path.glob("*/states")) and not list(tmp_path.glob("*/settled"))
    sizes = [file.stat().st_size for file in (tmp_path / "states").rglob("*.distcp")]
    assert sizes


@pytest.mark.parametrize("stage", ["sft", "reward_model"])
def test_a_stage_with_dropout_that_was_cut_off_ends_as_if_nothing_had_been(
    base: Path, tmp_path: Path, stage: str
) -> None:
    adapter = LORA.model_copy(update={"dropout": 0.3})

    def start(name: str) -> Stage:
        checkpoints = Checkpoints(tmp_path / f"{name}-states")
        given: dict[str, Any] = {"out": tmp_path / name, "seed": 1, "checkpoints": checkpoints}
        if stage == "sft":
            config = SFT.model_copy(update={"adapter": adapter})
            return train_sft(config, base=base, train=DEMONSTRATIONS, held_out=DEMONSTRATIONS[::3], **given)
        labels = REWARD_MODEL.model_copy(update={"adapter": adapter})
        data = {"train": PAIRS, "held_out": PAIRS, "demonstrations": DEMONSTRATIONS[::2]}
        return train_reward_model(labels, init_from=base, **data, **given)  # type: ignore[arg-type]

    whole, expected = go(start("whole"))
    parts = [go(start("cut"), limit) for limit in (3, 99)]
    assert [event for events, _ in parts for event in events] == whole
    assert parts[-1][1] is not None and expected is not None
    assert parts[-1][1].estimates == expected.estimates
    kind = AutoModelForCausalLM if stage == "sft" else AutoModelForSequenceClassification
    one, other = (weights_of(tmp_path / name, kind) for name in ("whole", "cut"))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_run_that_is_stopped_gives_the_adapter_of_the_state_that_it_names(
    models: Models, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """A budget of almost nothing ends training at the first evaluation, so that the result is the SFT model."""
    config = PPO.model_copy(update={"kl_budget_nats": 1e-6})
    inputs = {**models._asdict(), "prompts": PROMPTS, "held_out_prompts": HELD_OUT, "seed": 1}
    events, result = go(train_policy(config, **inputs, out=tmp_path / "out"))  # type: ignore[arg-type]
    assert events[-1].metrics["over_kl_budget"] == 1.0
    assert result is not None
    torch.testing.assert_close(weights_of(tmp_path / "out" / "policy"), weights_of(models.sft), rtol=0, atol=0)


# What is refused


def test_ppo_allows_no_dropout() -> None:
    with pytest.raises(ValueError, match=r"adapter.dropout 0.1 .*set it to 0 for PPO"):
        PPOConfig(adapter=AdapterConfig(dropout=0.1))


def test_a_reward_model_with_its_own_weights_keeps_them(base: Path, models: Models) -> None:
    """Its adapter is gone, as with a model from elsewhere."""
    for path in (models.reward_model / ADAPTER).iterdir():
        path.unlink()
    run = climb(models, PPO, models.judge.with_name("run"))
    assert not is_adapted(run.reward_model.model) and is_adapted(run.judge.model)
