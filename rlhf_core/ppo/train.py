"""Proximal policy optimisation against a frozen reward model, anchored to the SFT model by KL."""

import itertools
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlhf_core.config.ppo import PPOConfig
from rlhf_core.data.batching import endless_batches
from rlhf_core.data.records import Demonstration
from rlhf_core.data.tokenizer import encode
from rlhf_core.evaluators.policy import PolicyEvaluator, halves
from rlhf_core.generation.rollout import Rollout
from rlhf_core.metrics.drift import distinct_n, duplicate_share
from rlhf_core.metrics.estimates import Estimate, point
from rlhf_core.metrics.policy import Answers
from rlhf_core.metrics.policy_evidence import repeat_figures
from rlhf_core.ppo.actor_critic import ActorCritic, adapted_actor_critic, load_actor_critic
from rlhf_core.ppo.answers_file import AnswersFile
from rlhf_core.ppo.candidate_states import ARTIFACTS, CandidateStates
from rlhf_core.ppo.early_stopping import CURVES, EarlyStopping, chart
from rlhf_core.ppo.experience import Experience
from rlhf_core.ppo.kl_controller import next_beta
from rlhf_core.ppo.self_tests import check_centring, check_engine, check_first_pass
from rlhf_core.ppo.update import compute_advantages, rollout_metrics, update, warm_up
from rlhf_core.rewards.reward import Reward
from rlhf_core.rewards.terms import NO_MODELS
from rlhf_core.training.checkpoint import NEVER, Checkpoints
from rlhf_core.training.doing import doing
from rlhf_core.training.stage import Event, Stage, StageResult


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
    demonstrations: Sequence[Demonstration] = (),
    cache: Path | None = None,
    checkpoints: Checkpoints = NEVER,
    tuned: Collection[str] | None = None,
) -> Stage:
    """Train a policy from an SFT model against a reward model.

    Args:
        config: hyper-parameters and limits.
        sft: folder of the SFT model: the policy's start and the reference.
        reward_model: folder of the reward model, which also initialises a value model of its own if it reads the
            policy's tokens; else that starts as the SFT model with a head of zeros.
        judge: folder of a reward model trained on other pairs; it only evaluates.
        prompts: prompts to train on.
        held_out_prompts: some are watched and decide when to stop, the others give the final figures.
        out: folder that receives `policy`, `value` and `answers.jsonl`, the answers of every evaluation.
        seed: seed of prompts, sampling and minibatches.
        term_models: folders of the further reward models of `config.reward`, by the name of their term.
        demonstrations: what `ptx_coef` mixes in; not read where it is 0.
        cache: folder that keeps the SFT model's answers to held-out prompts with their scores, by the content of models
            and prompts; None keeps nothing.
        checkpoints: where the stage keeps its state and goes on from; `out` must then be as it was left.
        tuned: held-out prompts that are watched; `tuning_half` unless they are named.

    Yields:
        Metrics of every update, `beta` as it was in it; those with `eval_` are measured on held-out prompts, first at
        step 0 before any update. `reward_offset` is what is taken off the reward in all of them, as measured in the
        first. Of `STOPS` that is 1 which ends training. Of an ensemble
        `reward_disagreement` and `eval_reward_disagreement` tell how far its members disagree.
        Wall time by part: `rollout_seconds` samples; `scoring_seconds` asks reward model, reference and values;
        `update_seconds` takes the optimiser's steps. Where an engine has a forward of its own, also
        `rollout_logprob_gap_nats` and `rollout_logprob_gap_nats_max`, see `roll_out`. Each further term of the reward
        is `reward_<name>`, as it is before it is normalised and weighed, and the sum `reward_total`.

    Returns:
        Artifacts `policy` and `value`: the last state, or the one that `EarlyStopping` takes where it ended training;
        the estimates of `PolicyEvaluator.evaluate` and of `EarlyStopping`, and `reward_offset`; what metrics were at
        each evaluation and update, as series, and `judge_curve`, alpha and beta of the fit.

    Raises:
        ValueError: if there are fewer than four held-out prompts, or no demonstrations where `ptx_coef` needs them.
        SelfTestError: if a self-test of the first update fails, or a frozen model no longer says what it said.
    """
    if config.ptx_coef and not demonstrations:
        raise ValueError("ptx_coef is above 0 and there are no demonstrations: give some, or set it to 0")
    watched, judged = halves(config, held_out_prompts, tuned)
    run = PPORun(
        config,
        sft=sft,
        reward_model=reward_model,
        judge=judge,
        out=out,
        seed=seed,
        term_models=term_models,
        demonstrations=demonstrations if config.ptx_coef else (),
        per_update=config.epochs * math.ceil(min(len(prompts), config.rollout_size) / config.minibatch_size),
        cache=cache,
    )
    parts = run.actor_critic.parts
    notes: dict[str, Any] = {"step": 0, "series": {name: [] for name in ("eval_step", *CURVES)}, "answers_bytes": 0}
    if found := run.states.damage():
        checkpoints.forget(found)
    notes |= checkpoints.restore(parts)
    run.go_on(notes)
    for event in run.train(prompts, watched, done=notes["step"]):
        chart(notes["series"], event)
        yield event
        if not run.early_stopping.stopped:
            notes |= {"step": event.step + 1, **run.notes()}
            checkpoints.keep(parts, notes)
    run.states.settle(run.early_stopping.result, run.tokenizer)
    evaluation, fit = run.evaluate(out / "policy", judged), run.early_stopping.fit
    return StageResult(
        artifacts={name: out / name for name in ARTIFACTS},
        estimates=evaluation.estimates | run.early_stopping.estimates | run.offset_estimate(len(prompts)),
        evidence=evaluation.evidence,
        series=notes["series"] | ({"judge_curve": [fit.alpha.value, fit.beta.value]} if fit else {}),
        samples=evaluation.samples,
        outcome=run.early_stopping.outcome,
    )


class PPORun(PolicyEvaluator):
    """The models of a PPO run, its steps and where their results go."""

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
        term_models: Mapping[str, Path],
        demonstrations: Sequence[Demonstration],
        per_update: int,
        cache: Path | None,
    ) -> None:
        models = {"sft": sft, "reward_model": reward_model, "judge": judge}
        super().__init__(config, **models, seed=seed, term_models=term_models, cache=cache)
        self.reward = Reward(config.reward)
        self.actor_critic = self._actor_critic(sft, reward_model, per_update)
        self.early_stopping = EarlyStopping(config)
        self.states = CandidateStates(out, self.actor_critic)
        self._beta = config.beta
        self._offset: float | None = None
        self._demonstrations = encode(self.tokenizer, demonstrations, config.sampling.lengths)
        self._answers = AnswersFile(out)

    def _actor_critic(self, sft: Path, reward_model: Path, per_update: int) -> ActorCritic:
        config, alike = self.config, not self.reward_model.reads_text
        steps = {"steps": config.updates * per_update, "warmup_steps": config.warmup_updates * per_update}
        if config.adapter is None:
            return load_actor_critic(
                config, self.tokenizer, sft=sft, reward_model=reward_model if alike else None, **steps
            )
        return adapted_actor_critic(
            config,
            config.adapter,
            reference=self.reference,
            reward_model=self.reward_model.model if alike else None,
            seed=self.seed,
            **steps,
        )

    def train(self, prompts: Sequence[str], watched: Sequence[str], *, done: int) -> Iterator[Event]:
        """Update until the updates run out or training is stopped early.

        Of the events, the first of which is step 0, so many are done already.
        """
        doing(f"measuring the SFT model by answers to {len(watched):,} held-out prompts")
        sft = self.baseline(watched)
        if done == 0:
            yield Event(0, self._evaluate(0, watched, sft, sft), self.config.updates)
            doing(f"first of {self.config.updates:,} updates, with its self-tests")
        passes = endless_batches(len(prompts), self.config.rollout_size, seed=self.seed)
        batches = enumerate(itertools.islice(passes, self.config.updates), start=1)
        for step, rows in itertools.islice(batches, max(done - 1, 0), None):
            metrics = self._ppo_step([prompts[row] for row in rows], step)
            if step % self.config.evaluate_every == 0 or step == self.config.updates:
                metrics |= self._evaluate(step, watched, sft, self.answer(self.actor_critic.policy, watched))
            yield Event(step, metrics, self.config.updates)
            if self.early_stopping.stopped:
                return

    def _ppo_step(self, prompts: Sequence[str], step: int) -> dict[str, float]:
        """One update of policy and value model on fresh responses to some prompts."""
        config = self.config.model_copy(update={"beta": self._beta})
        policy, seed = self.actor_critic.policy, self.seed * 1_000_003 + step
        seconds: dict[str, float] = {}
        # 1. sample
        with _timed("rollout", seconds):
            rollout, sampled, gap = self.sample(policy, prompts, seed=seed)
        with _timed("scoring", seconds):
            # 2. score
            texts = self.texts(sampled)
            responses = self.responses(prompts, texts, rollout)
            scores, terms = self.reward_model(responses), self.terms(responses)
            # 3. advantages
            experience = compute_advantages(
                config,
                rollout,
                reference=self.reference,
                scores=scores,
                values=self.actor_critic.values(rollout),
                reward=self.reward,
                terms=terms,
                offset=self.actor_critic.end_values(rollout) if self._offset is None else self._offset,
            )
            self._offset = experience.offset
        self._self_test(config, rollout, experience, gap, step)
        metrics = {
            **rollout_metrics(experience),
            **gap,
            "beta": config.beta,
            "lr": self.actor_critic.policy_optimiser.lr,
        }
        metrics |= {"distinct_2": distinct_n(texts, 2), "duplicate_share": duplicate_share(texts)}
        # 4. update
        with _timed("update", seconds):
            metrics |= self._update(config, experience, step, seed=seed)
        # 5. adapt beta
        if step > config.warmup_updates:
            kl = metrics["kl_to_sft_nats"]
            self._beta = next_beta(config.kl_control, config.beta, kl_nats=kl, responses=len(prompts))
        return metrics | seconds

    def _self_test(
        self, config: PPOConfig, rollout: Rollout, experience: Experience, gap: Mapping[str, float], step: int
    ) -> None:
        """Test what must hold before the first update, and now and again that frozen models stay as they are."""
        if step == 1:
            check_first_pass(config, self.actor_critic.policy, rollout, experience.ref_logprobs)
            check_centring(config, experience, self.actor_critic.end_values(rollout))
            check_engine(config, gap)
        if step == 1 or step % config.evaluate_every == 0:
            self.check_known_answers()

    def _update(self, config: PPOConfig, experience: Experience, step: int, *, seed: int) -> dict[str, float]:
        """Train policy and value model; while they warm up, the value model alone."""
        if step <= config.warmup_updates:
            return warm_up(config, self.actor_critic, experience, seed=seed)
        return update(config, self.actor_critic, experience, seed=seed, demonstrations=self._demonstrations)

    def _evaluate(self, step: int, prompts: Sequence[str], sft: Answers, answers: Answers) -> dict[str, float]:
        """Judge the policy by its answers to watched prompts; keep it as a candidate unless that ends training."""
        self._answers.add(step, prompts, answers)
        more = repeat_figures(self.repeats(self.actor_critic.policy, prompts))
        metrics = self.early_stopping.add(step, sft, answers, more)
        if not self.early_stopping.stopped:
            self.states.keep(step)
            self.states.drop_others(self.early_stopping.candidates)
        return {**{f"eval_{name}": value for name, value in metrics.items()}, **self.early_stopping.stops}

    def offset_estimate(self, prompts: int) -> dict[str, Estimate]:
        """`reward_offset`, with the responses that it was measured on; nothing before the first update."""
        measured = min(prompts, self.config.rollout_size)
        return {} if self._offset is None else {"reward_offset": point(self._offset, measured)}

    def notes(self) -> dict[str, Any]:
        """What a state of training holds besides weights."""
        return {
            "beta": self._beta,
            "reward_offset": self._offset,
            "early_stopping": self.early_stopping.state,
            "reward": self.reward.state,
            "answers_bytes": self._answers.size,
        }

    def go_on(self, notes: Mapping[str, Any]) -> None:
        """Go back to what `notes` said, and take from the file of answers, made if absent, what came later."""
        if "early_stopping" in notes:
            self._beta, self.early_stopping = notes["beta"], EarlyStopping(self.config, notes["early_stopping"])
            self.reward.restore(notes["reward"])
            self._offset = notes["reward_offset"]
        self._answers.cut(notes["answers_bytes"])


@contextmanager
def _timed(part: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note the wall time that a part takes as `<part>_seconds`."""
    started = time.perf_counter()
    yield
    seconds[f"{part}_seconds"] = time.perf_counter() - started
