"""One timed run of the product, in a process of its own: the public entry of each stage, step by step."""

import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.vs_trl.sides import ROOT
from benchmarks.speed.vs_trl.turns import Turns, now
from benchmarks.speed.vs_trl.workload import (
    MAX_PROMPT_TOKENS,
    MAX_RESPONSE_TOKENS,
    PPO_EPOCHS,
    PPO_LR,
    RESPONSE_TOKENS,
    SEED,
    Workload,
)
from flows.config.loading import load_config
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig, SharedTrunkConfig, UpdateConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.pair_trees import PairTree
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import Tree, load_tokenizer
from rlhf_core.dpo import anchor, train_dpo
from rlhf_core.generation.rollout import Rollout, all_logprobs, as_rollout
from rlhf_core.generation.sampling import Sampled, sample
from rlhf_core.models.compilation import fuse
from rlhf_core.models.loading import load_policy, load_reward_model
from rlhf_core.models.precision import precision
from rlhf_core.models.scoring import score_ensemble
from rlhf_core.ppo.actor_critic import load_actor_critic
from rlhf_core.ppo.train import train_policy
from rlhf_core.ppo.update import compute_advantages, update
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.rewards.reward import Reward
from rlhf_core.sft import train_sft
from rlhf_core.training.stage import Stage

Steps = Iterator[dict[str, Any]]

RECIPE = ROOT / "configs" / "hh_0_5b.yaml"


def optimiser(work: Workload, lr: float) -> OptimiserConfig:
    """AdamW as the other side has it."""
    return OptimiserConfig(
        lr=lr,
        betas=(0.9, 0.999),
        schedule="constant",
        warmup_share=0.0,
        precision="bfloat16" if torch.cuda.is_available() else "float32",
        max_tokens=work.batches.max_tokens,
        compiled=work.batches.compiled,
    )


def stage_steps(stage: Stage, tokens: list[int]) -> Steps:
    """Time the optimiser steps of a stage; what comes before the first and after the last is not counted."""
    started = now()
    for event in stage:
        yield {"seconds": now() - started, "tokens": tokens[event.step], "loss": event.metrics["loss_nats"]}
        started = now()


def sft(work: Workload, scratch: Path) -> Steps:
    """Supervised fine-tuning on the chosen responses."""
    demonstrations = [Demonstration(row["prompt"], row["chosen"]) for row in work.texts]
    sizes = [len(row["prompt"]) + len(row["chosen"]) for row in work.ids]
    config = SFTConfig(
        epochs=1,
        batch_size=work.batches.size,
        optimiser=optimiser(work, 1e-4),
        sampling=SamplingConfig(max_prompt_tokens=MAX_PROMPT_TOKENS, max_response_tokens=MAX_RESPONSE_TOKENS),
        evaluation_prompts=1,
    )
    training = train_sft(
        config, base=work.policy, train=demonstrations, held_out=demonstrations[:2], out=scratch, seed=SEED
    )
    return stage_steps(training, work.by_step(sizes))


def reward_model(work: Workload, scratch: Path) -> Steps:
    """Reward-model training; tokens are those of both sequences, as if the prompt were read twice."""
    pairs = [Pair(row["prompt"], row["chosen"], row["rejected"]) for row in work.texts]
    sizes = [2 * len(row["prompt"]) + len(row["chosen"]) + len(row["rejected"]) for row in work.ids]
    config = RewardModelConfig(
        epochs=1,
        batch_size=work.batches.size,
        max_prompt_tokens=MAX_PROMPT_TOKENS,
        max_response_tokens=MAX_RESPONSE_TOKENS,
        optimiser=optimiser(work, 1e-4),
    )
    training = train_reward_model(
        config,
        init_from=work.reward_model,
        train=pairs,
        held_out=pairs[:4],
        demonstrations=[Demonstration(pairs[0].prompt, pairs[0].chosen)],
        out=scratch,
        seed=SEED,
    )
    return stage_steps(training, work.by_step(sizes))


def dpo(work: Workload, scratch: Path) -> Steps:
    """DPO; to a step are added the seconds of the reference's pass over its pairs, which the stage takes before."""
    pairs = [Pair(row["prompt"], row["chosen"], row["rejected"]) for row in work.texts]
    sizes = [2 * len(row["prompt"]) + len(row["chosen"]) + len(row["rejected"]) for row in work.ids]
    config = DPOConfig(
        epochs=1,
        batch_size=work.batches.size,
        beta=0.1,
        optimiser=optimiser(work, 1e-4),
        sampling=SamplingConfig(max_prompt_tokens=MAX_PROMPT_TOKENS, max_response_tokens=MAX_RESPONSE_TOKENS),
        evaluation_prompts=2,
    )
    anchored = reference_seconds(work, config)
    training = train_dpo(config, sft=work.policy, train=pairs, held_out=pairs[:4], out=scratch, seed=SEED)
    for step, seconds in zip(stage_steps(training, work.by_step(sizes)), anchored, strict=True):
        yield step | {"seconds": step["seconds"] + seconds, "reference_seconds": seconds}


def reference_seconds(work: Workload, config: DPOConfig) -> Iterator[float]:
    """Time the reference's pass over the pairs of each optimiser step, by the function that the stage calls."""
    model = load_policy(work.policy, load_tokenizer(str(work.policy)))
    items = [
        PairTree(Tree(row["prompt"], [row["chosen"], row["rejected"]]), [0], [1], [0.0], [1.0]) for row in work.ids
    ]
    for start in range(0, len(items), work.batches.size):
        started = now()
        anchor(config, model, items[start : start + work.batches.size], None)
        yield now() - started


def ppo_rollout(work: Workload, scratch: Path) -> Steps:
    """Sampling, with log-probabilities."""
    tokenizer = load_tokenizer(str(work.policy))
    policy = load_policy(work.policy, tokenizer)
    config = SamplingConfig(
        max_prompt_tokens=MAX_PROMPT_TOKENS,
        max_response_tokens=RESPONSE_TOKENS,
        batch_tokens=4 * work.batches.max_tokens,
        engine="graphs" if torch.cuda.is_available() else "eager",
    )
    generator = torch.Generator().manual_seed(SEED)
    texts = [row["text"] for row in work.rollout_prompts]
    while True:
        started = now()
        with precision(optimiser(work, PPO_LR)):
            drawn = sample(policy, tokenizer, texts, config, generator=generator)
        yield {"seconds": now() - started, "tokens": sum(len(one.response_ids) for one in drawn), "loss": None}


def ppo_step(work: Workload, scratch: Path) -> Steps:
    """Scoring and update with a value model beside the policy, as the other side has it."""
    return scored_and_updated(work, SeparateValueConfig(optimiser=optimiser(work, PPO_LR)))


def ppo_shared_trunk(work: Workload, scratch: Path) -> Steps:
    """The same with the value as a head on the policy's trunk, which is other mathematics."""
    return scored_and_updated(work, SharedTrunkConfig())


def scored_and_updated(work: Workload, value: SeparateValueConfig | SharedTrunkConfig) -> Steps:
    """Scoring and update on the very responses that the other side sampled."""
    tokenizer = load_tokenizer(str(work.policy))
    config = UpdateConfig(
        epochs=PPO_EPOCHS,
        minibatch_size=work.batches.size // 2,
        beta=0.05,
        kl_to_rollout_limit_nats=None,
        missing_eos_penalty=0.0,
        optimiser=optimiser(work, PPO_LR),
        value=value,
    )
    reference = fuse(load_policy(work.policy, tokenizer), config.optimiser).requires_grad_(False)
    frozen = fuse(load_reward_model(work.reward_model, tokenizer), config.optimiser).requires_grad_(False)
    actor_critic = load_actor_critic(config, tokenizer, sft=work.policy, reward_model=work.reward_model, steps=1000)
    for index in count():
        rollout = carried(json.loads((work.folder / f"rollout_{index}.json").read_text()), actor_critic.policy, config)
        started = now()
        experience = compute_advantages(
            config,
            rollout,
            reference=reference,
            scores=score_ensemble(frozen, rollout.trees, config.optimiser),
            values=actor_critic.values(rollout),
            reward=Reward(config.reward),
            terms={},
            offset=0.0,
        )
        metrics = update(config, actor_critic, experience, seed=index)
        seconds = now() - started
        yield {"seconds": seconds, "tokens": int(rollout.mask.sum()), "loss": metrics["value_loss"]}


def ppo_recipe(work: Workload, scratch: Path) -> Steps:
    """Whole updates as `RECIPE` has them, rollout included, by the stage itself; tokens are those that were drawn."""
    settings = load_config(RECIPE).policy
    assert isinstance(settings, PPOConfig)
    prompts = [row["prompt"] for row in work.texts]
    responses = min(8 * work.batches.size, len(prompts))
    config = settings.model_copy(
        update={
            "rollout_size": responses,
            "minibatch_size": responses,
            "evaluation_prompts": 4,
            "optimiser": optimiser(work, settings.optimiser.lr),
            "value": SeparateValueConfig(optimiser=optimiser(work, settings.optimiser.lr)),
        }
    )
    models = {"sft": work.policy, "reward_model": work.reward_model, "judge": work.reward_model}
    training = train_policy(config, **models, prompts=prompts, held_out_prompts=prompts[:8], out=scratch, seed=SEED)
    for event in training:
        if "rollout_seconds" in event.metrics:
            parts = {name: event.metrics[name] for name in ("rollout_seconds", "scoring_seconds", "update_seconds")}
            drawn = responses * event.metrics["response_tokens"]
            yield {"seconds": sum(parts.values()), "tokens": drawn, "loss": event.metrics["value_loss"], **parts}


def carried(row: dict[str, Any], policy: Any, config: UpdateConfig) -> Rollout:
    """Responses that somebody else sampled, with log-probabilities under the policy as it is."""
    sampled = [
        Sampled(prompt, response, [0.0] * len(response), False)
        for prompt, response in zip(row["prompts"], row["responses"], strict=True)
    ]
    rollout = as_rollout(sampled)
    return rollout._replace(logprobs=all_logprobs(policy, rollout, config.optimiser, sampling_temperature=1.0))


def main(stage: str, folder: str) -> None:
    """Print the figures of all turns."""
    torch.manual_seed(SEED)
    work = Workload(Path(folder))
    turns = Turns(work.batches.steps)
    running = globals()[stage](work, work.folder / f"scratch_{stage}")
    for _ in range(work.batches.steps * work.batches.turns):
        turns.enter()
        turns.add(next(running))


if __name__ == "__main__":
    main(*sys.argv[1:])
