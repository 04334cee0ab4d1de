"""Proximal policy optimisation against a frozen reward model, anchored to the SFT model by KL."""

import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlhf_core.batching import shuffled_batches
from rlhf_core.checkpoint import NEVER, Checkpoints
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.evaluation.drift import distinct_n, duplicate_share
from rlhf_core.evaluation.estimates import mean
from rlhf_core.evaluation.policy import Answers
from rlhf_core.examiner import Examiner, halves
from rlhf_core.learner import load_learner
from rlhf_core.parallel import rank
from rlhf_core.ppo_update import check_engine, check_first_pass, gather, rollout_metrics, update
from rlhf_core.stage import Event, Stage, StageResult
from rlhf_core.text import decode

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
        cache: folder that keeps the SFT model's answers to held-out prompts with their scores, by the content of models
            and prompts; None keeps nothing.
        checkpoints: where the stage keeps its state and goes on from; `out` must then be as it was left.

    Yields:
        Metrics of every update; those with `eval_` are measured on held-out prompts, first at step 0 before any update.
        Wall time by part: `rollout_seconds` samples; `scoring_seconds` asks reward model, reference and values;
        `update_seconds` takes the optimiser's steps. Where an engine has a forward of its own, also
        `rollout_logprob_gap_nats` and `rollout_logprob_gap_nats_max`, see `roll_out`.

    Returns:
        Artifacts `policy` and `value`; the estimates of `Examiner.examine`; series `eval_step`, `eval_kl`,
        `eval_reward`, `eval_judge` and `update_kl`.

    Raises:
        ValueError: if there are fewer than four held-out prompts.
        SelfTestError: if a self-test at step zero fails.
    """
    watched, judged = halves(config, held_out_prompts)
    steps = config.updates * config.epochs * math.ceil(min(len(prompts), config.rollout_size) / config.minibatch_size)
    run = _Climb(config, sft=sft, reward_model=reward_model, judge=judge, out=out, seed=seed, steps=steps, cache=cache)
    parts = run.learner.parts
    notes: dict[str, Any] = {"step": 0, "series": {name: [] for name in ("eval_step", *_CURVES)}, "answers_bytes": 0}
    notes |= checkpoints.restore(parts)
    run.cut_answers(notes["answers_bytes"])
    for event in run.climb(prompts, watched, done=notes["step"]):
        _chart(notes["series"], event)
        yield event
        if not event.metrics.get("over_kl_budget"):
            notes |= {"step": event.step + 1, "answers_bytes": run.answers_bytes()}
            checkpoints.keep(parts, notes)
    exam = run.examine(out / "policy", judged)
    return StageResult(
        artifacts={"policy": out / "policy", "value": out / "value"},
        estimates=exam.estimates,
        series=notes["series"],
        samples=exam.samples,
    )


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

    config: PPOConfig

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
        cache: Path | None,
    ) -> None:
        super().__init__(config, sft=sft, reward_model=reward_model, judge=judge, seed=seed, cache=cache)
        self.learner = load_learner(config, self.tokenizer, sft=sft, reward_model=reward_model, steps=steps)
        self._out = out
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

    def _advance(self, prompts: Sequence[str], step: int) -> dict[str, float]:
        """Roll out, score, update once."""
        seed = self.seed * 1_000_003 + step
        seconds: dict[str, float] = {}
        with _timed("rollout", seconds):
            rollout, sampled, gap = self.sample(self.learner.policy, prompts, seed=seed)
        with _timed("scoring", seconds):
            values = self.learner.values(rollout)
            experience = gather(
                self.config, rollout, reference=self.reference, reward_model=self.reward_model, values=values
            )
        if step == 1:
            check_first_pass(self.config, self.learner.policy, rollout, experience.ref_logprobs)
            check_engine(self.config, gap)
        lr = self.learner.policy_optimiser.lr
        with _timed("update", seconds):
            figures = update(self.config, self.learner, experience, seed=seed)
        texts = [decode(self.tokenizer, response.response_ids) for response in sampled]
        diversity = {"distinct_2": distinct_n(texts, 2), "duplicate_share": duplicate_share(texts)}
        return {**rollout_metrics(experience), **gap, **diversity, "lr": lr, **figures, **seconds}

    def _watch(self, step: int, prompts: Sequence[str], answers: Answers) -> dict[str, float]:
        """Evaluate the policy by its answers; keep it if it is inside the KL budget."""
        kl = mean(answers.kl)
        over = self.config.kl_budget_nats is not None and not kl.upper <= self.config.kl_budget_nats
        self._record(step, prompts, answers)
        if not over:
            self.learner.save(self.tokenizer, self._out)
        return {
            "eval_kl_to_sft_nats": kl.value,
            "eval_kl_to_sft_nats_upper": kl.upper,
            "eval_reward_score": float(answers.reward.mean()),
            "eval_judge_score": float(answers.judge.mean()),
            "eval_response_tokens": float(answers.tokens.mean()),
            "eval_eos_rate": sum(answers.finished) / len(answers.finished),
            "over_kl_budget": float(over),
        }

    def _record(self, step: int, prompts: Sequence[str], answers: Answers) -> None:
        columns = (prompts, answers.texts, answers.finished, answers.kl, answers.reward, answers.judge)
        names = ("prompt", "response", "finished", "kl_to_sft_nats", "reward_score", "judge_score")
        if rank() == 0:
            with (self._out / ANSWERS).open("a", encoding="utf-8") as stream:
                for row in zip(*columns, strict=True):
                    stream.write(json.dumps({"step": step, **dict(zip(names, row, strict=True))}) + "\n")

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
