"""Proximal policy optimisation against a frozen reward model, anchored to the SFT model by KL."""

import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf_core.batching import shuffled_batches
from rlhf_core.cache import cached, content_key
from rlhf_core.checkpoint import NEVER, Checkpoints
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.evaluation.drift import distinct_n, duplicate_share
from rlhf_core.evaluation.estimates import Estimate, mean
from rlhf_core.evaluation.policy import Answers, compare_policies
from rlhf_core.examiner import Examiner
from rlhf_core.learner import load_learner
from rlhf_core.models import digest, load_policy
from rlhf_core.parallel import rank
from rlhf_core.ppo_update import check_engine, check_first_pass, gather, rollout_metrics, update
from rlhf_core.rewards import NO_MODELS, Reward, term_keys
from rlhf_core.stage import Event, Stage, StageResult

ANSWERS = "answers.jsonl"
"""The file with the answers of every evaluation on watched prompts."""


def train_policy(
    config: PPOConfig,
    *,
    sft: Path,
    reward_model: Path,
    judge: Path,
    prompts: Sequence[str],
    held_out_prompts: Sequence[str],
    out: Path,
    seed: int,
    term_models: Mapping[str, Path] = NO_MODELS,
    cache: Path | None = None,
    checkpoints: Checkpoints = NEVER,
) -> Stage:
    """Train a policy from an SFT model against a reward model.

    Args:
        config: hyper-parameters and limits.
        sft: folder of the SFT model: the policy's start and the reference.
        reward_model: folder of the reward model, which also initialises a value model of its own.
        judge: folder of a reward model trained on other pairs; it only evaluates.
        prompts: prompts to train on.
        held_out_prompts: every second one is watched and decides when to stop, the others give the final figures.
        out: folder that receives `policy`, `value` and `answers.jsonl`, the answers of every evaluation.
        seed: seed of prompts, sampling and minibatches.
        term_models: folders of the further reward models of `config.reward`, by the name of their term.
        cache: folder that keeps the SFT model's answers to held-out prompts with their scores, by the content of models
            and prompts; None keeps nothing.
        checkpoints: where the stage keeps its state and goes on from; `out` must then be as it was left.

    Yields:
        Metrics of every update; those with `eval_` are measured on held-out prompts, first at step 0 before any update.
        Of an ensemble `reward_disagreement` and `eval_reward_disagreement` tell how far its members disagree.
        Wall time by part: `rollout_seconds` samples; `scoring_seconds` asks reward model, reference and values;
        `update_seconds` takes the optimiser's steps. Where an engine has a forward of its own, also
        `rollout_logprob_gap_nats` and `rollout_logprob_gap_nats_max`, see `roll_out`. Each further term of the reward
        is `reward_<name>`, as it is before it is normalised and weighed, and the sum `reward_total`.

    Returns:
        Artifacts `policy` and `value`; the estimates of `compare_policies`; series `eval_step`, `eval_kl`,
        `eval_reward`, `eval_judge` and `update_kl`.

    Raises:
        ValueError: if there are fewer than four held-out prompts.
        SelfTestError: if a self-test at step zero fails.
    """
    if len(held_out_prompts) < 4:
        raise ValueError(f"{len(held_out_prompts)} held-out prompts cannot decide when to stop: give at least 4")
    watched, judged = _halves(config, held_out_prompts)
    steps = config.updates * config.epochs * math.ceil(min(len(prompts), config.rollout_size) / config.minibatch_size)
    run = _Climb(
        config,
        sft=sft,
        reward_model=reward_model,
        judge=judge,
        out=out,
        seed=seed,
        steps=steps,
        term_models=term_models,
        cache=cache,
    )
    parts = run.learner.parts
    notes: dict[str, Any] = {"step": 0, "series": {name: [] for name in ("eval_step", *_CURVES)}, "answers_bytes": 0}
    notes |= {"reward": run.reward.state} | checkpoints.restore(parts)
    run.reward.restore(notes["reward"])
    run.cut_answers(notes["answers_bytes"])
    for event in run.climb(prompts, watched, done=notes["step"]):
        _chart(notes["series"], event)
        yield event
        if not event.metrics.get("over_kl_budget"):
            notes |= {"step": event.step + 1, "answers_bytes": run.answers_bytes(), "reward": run.reward.state}
            checkpoints.keep(parts, notes)
    before = run.baseline(judged)
    after = run.answer(load_policy(out / "policy", run.tokenizer), judged)
    return StageResult(
        artifacts={"policy": out / "policy", "value": out / "value"},
        estimates=compare_policies(before, after),
        series=notes["series"],
        samples=[
            {"prompt": prompt, "sft": first, "policy": second}
            for prompt, first, second in zip(judged, before.texts, after.texts, strict=True)
        ][:8],
    )


def evaluate_policy(
    config: PPOConfig,
    *,
    sft: Path,
    policy: Path,
    reward_model: Path,
    judge: Path,
    held_out_prompts: Sequence[str],
    seed: int,
    term_models: Mapping[str, Path] = NO_MODELS,
) -> dict[str, Estimate]:
    """Measure a saved policy beside its SFT model; on the same prompts the figures are those of its training.

    Args as in `train_policy`; `policy` is the folder to measure.

    Returns:
        The estimates of `compare_policies`.
    """
    run = Examiner(config, sft=sft, reward_model=reward_model, judge=judge, seed=seed, term_models=term_models)
    _, judged = _halves(config, held_out_prompts)
    return compare_policies(*(run.answer(by, judged) for by in (run.reference, load_policy(policy, run.tokenizer))))


def _halves(config: PPOConfig, prompts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Held-out prompts that are watched during training, and those that give the final figures."""
    watched, judged = (list(prompts[half::2])[: config.evaluation_prompts] for half in (0, 1))
    return watched, judged


_CURVES = {
    "eval_kl": "eval_kl_to_sft_nats",
    "eval_reward": "eval_reward_score",
    "eval_judge": "eval_judge_score",
    "update_kl": "kl_to_sft_nats",
}


def _chart(series: dict[str, list[float]], event: Event) -> None:
    """Add what an event says to the curves."""
    for name, metric in _CURVES.items():
        if metric in event.metrics:
            series[name].append(event.metrics[metric])
    if "eval_kl_to_sft_nats" in event.metrics:
        series["eval_step"].append(float(event.step))


class _Climb(Examiner):
    """The models of PPO and where their results go."""

    def __init__(
        self,
        config: PPOConfig,
        *,
        sft: Path,
        reward_model: Path,
        judge: Path,
        out: Path,
        seed: int,
        steps: int,
        term_models: Mapping[str, Path],
        cache: Path | None,
    ) -> None:
        super().__init__(config, sft=sft, reward_model=reward_model, judge=judge, seed=seed, term_models=term_models)
        self.reward = Reward(config.reward)
        self._term_keys = term_keys(config.reward, term_models)
        self.learner = load_learner(config, self.tokenizer, sft=sft, reward_model=reward_model, steps=steps)
        self._out = out
        self._kept = cache / content_key(*map(digest, (sft, reward_model, judge))) if cache else None
        out.mkdir(parents=True, exist_ok=True)

    def climb(self, prompts: Sequence[str], watched: Sequence[str], *, done: int) -> Iterator[Event]:
        """Update until the updates or the KL budget run out; what is on disk then is the last state inside.

        Of the events, the first of which is step 0, so many are done already.
        """
        if done == 0:
            yield Event(0, self._watch(0, watched, self.baseline(watched)))
        batches = enumerate(_prompt_batches(self.config, len(prompts), seed=self.seed), start=1)
        for step, rows in itertools.islice(batches, max(done - 1, 0), None):
            metrics = self._advance([prompts[row] for row in rows], step)
            if step % self.config.evaluate_every == 0 or step == self.config.updates:
                metrics |= self._watch(step, watched, self.answer(self.learner.policy, watched))
            yield Event(step, metrics)
            if metrics.get("over_kl_budget"):
                return

    def baseline(self, prompts: Sequence[str]) -> Answers:
        """The SFT model's `answer`s, or those that an earlier run with the same models kept."""
        config = self.config
        chance = (config.sampling.model_dump(), config.optimiser.precision, self.seed)
        key = content_key(Answers._fields, prompts, *chance, self._term_keys)
        path = self._kept / f"{key}.npy" if self._kept else None
        return Answers.from_rows(cached(path, lambda: self.answer(self.reference, prompts).as_rows()))

    def _advance(self, prompts: Sequence[str], step: int) -> dict[str, float]:
        """Roll out, score, update once."""
        seed = self.seed * 1_000_003 + step
        seconds: dict[str, float] = {}
        with _timed("rollout", seconds):
            rollout, sampled, gap = self.sample(self.learner.policy, prompts, seed=seed)
        with _timed("scoring", seconds):
            texts = self.texts(sampled)
            experience = gather(
                self.config,
                rollout,
                reference=self.reference,
                reward_model=self.reward_model,
                values=self.learner.values(rollout),
                reward=self.reward,
                terms=self.terms(prompts, texts, rollout),
            )
        if step == 1:
            check_first_pass(self.config, self.learner.policy, rollout, experience.ref_logprobs)
            check_engine(self.config, gap)
        lr = self.learner.policy_optimiser.lr
        with _timed("update", seconds):
            figures = update(self.config, self.learner, experience, seed=seed)
        diversity = {"distinct_2": distinct_n(texts, 2), "duplicate_share": duplicate_share(texts)}
        return {**rollout_metrics(experience), **gap, **diversity, "lr": lr, **figures, **seconds}

    def _watch(self, step: int, prompts: Sequence[str], answers: Answers) -> dict[str, float]:
        """Evaluate the policy by its answers; keep it if it is inside the KL budget."""
        kl, disagreement = mean(answers.kl), float(answers.disagreement.mean())
        over = self.config.kl_budget_nats is not None and not kl.upper <= self.config.kl_budget_nats
        self._record(step, prompts, answers)
        if not over:
            self.learner.save(self.tokenizer, self._out)
        return {
            "eval_kl_to_sft_nats": kl.value,
            "eval_kl_to_sft_nats_upper": kl.upper,
            "eval_reward_score": float(answers.reward.mean()),
            **{f"eval_reward_{name}": float(values.mean()) for name, values in answers.terms.items()},
            "eval_judge_score": float(answers.judge.mean()),
            **({} if math.isnan(disagreement) else {"eval_reward_disagreement": disagreement}),
            "eval_response_tokens": float(answers.tokens.mean()),
            "eval_eos_rate": sum(answers.finished) / len(answers.finished),
            "over_kl_budget": float(over),
        }

    def _record(self, step: int, prompts: Sequence[str], answers: Answers) -> None:
        columns: dict[str, Sequence[Any] | NDArray[np.float64]] = {
            "prompt": prompts,
            "response": answers.texts,
            "finished": answers.finished,
            "kl_to_sft_nats": answers.kl,
            "reward_score": answers.reward,
            "judge_score": answers.judge,
            **{f"reward_{name}": values for name, values in answers.terms.items()},
        }
        if rank() == 0:
            with (self._out / ANSWERS).open("a", encoding="utf-8") as stream:
                for row in zip(*columns.values(), strict=True):
                    stream.write(json.dumps({"step": step, **dict(zip(columns, row, strict=True))}) + "\n")

    def answers_bytes(self) -> int:
        """How long the file of answers is."""
        return (self._out / ANSWERS).stat().st_size

    def cut_answers(self, size: int) -> None:
        """Take from the file of answers, made if absent, what came after its first bytes."""
        if rank() == 0:
            with (self._out / ANSWERS).open("ab") as stream:
                stream.truncate(size)


def _prompt_batches(config: PPOConfig, count: int, *, seed: int) -> Iterator[list[int]]:
    """Prompts of each update: as many passes over all prompts as the updates need."""
    passes = (shuffled_batches(count, config.rollout_size, epoch=epoch, seed=seed) for epoch in itertools.count())
    yield from itertools.islice(itertools.chain.from_iterable(passes), config.updates)


@contextmanager
def _timed(part: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note the wall time that a part takes as `<part>_seconds`."""
    started = time.perf_counter()
    yield
    seconds[f"{part}_seconds"] = time.perf_counter() - started
