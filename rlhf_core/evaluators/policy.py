"""Evaluation of a policy: its answers beside the SFT model's, scored by the reward model and the judge."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.config.policy import PolicyConfig
from rlhf_core.data.array_cache import cached, content_key
from rlhf_core.data.records import tuning_half
from rlhf_core.data.tokenizer import decode, load_tokenizer
from rlhf_core.distributed import shard
from rlhf_core.evaluators.evaluation import Evaluation
from rlhf_core.generation.rollout import Rollout, all_logprobs, roll_out
from rlhf_core.generation.sampling import Sampled
from rlhf_core.metrics.policy import Answers
from rlhf_core.metrics.policy_evidence import ANSWERS, answers_table, policy_figures
from rlhf_core.models.compilation import fuse
from rlhf_core.models.known_answers import check_known_answers, mean_logprobs
from rlhf_core.models.loading import digest, load_policy
from rlhf_core.models.precision import to_numpy
from rlhf_core.objectives import kl_k1, kl_k3
from rlhf_core.rewards.reward import disagreement_of
from rlhf_core.rewards.scorer import Responses, Scorer
from rlhf_core.rewards.terms import NO_MODELS, load_terms, term_keys
from rlhf_core.training.doing import doing

SAMPLES = 8

REPEATED_PROMPTS = 32
"""Prompts that are answered several times, at most, to count repeats within a prompt."""

SEEDS_APART = 7919
"""Between the seeds of two draws of the SFT model."""


class PolicyEvaluator:
    """The models and rules that policies are measured with.

    Args:
        config: sampling and precision.
        sft: folder of the SFT model, the reference.
        reward_model: folder of the reward model.
        judge: folder of the reward model that only measures.
        seed: seed of the answers.
        term_models: folders of the further reward models of `config.reward`, by the name of their term.
        cache: folder that keeps the SFT model's answers with their scores, by the content of models and prompts; None
            keeps nothing.
    """

    def __init__(
        self,
        config: PolicyConfig,
        *,
        sft: Path,
        reward_model: Path,
        judge: Path,
        seed: int,
        term_models: Mapping[str, Path] = NO_MODELS,
        cache: Path | None = None,
    ) -> None:
        doing("loading SFT model, reward model and judge, and trying how they are computed")
        self.tokenizer = load_tokenizer(str(sft))
        self.config, self.seed = config, seed
        self._sft = sft
        self.reference = shard(fuse(load_policy(sft, self.tokenizer), config.optimiser)).requires_grad_(False)
        self.reward_model, self.judge = (
            Scorer(folder, self.tokenizer, config.optimiser, self.reference) for folder in (reward_model, judge)
        )
        self._terms = load_terms(config.reward, self.tokenizer, config.optimiser, term_models, self.reference)
        self._term_keys = term_keys(config.reward, term_models)
        self._kept = cache / content_key(*map(digest, (sft, reward_model, judge))) if cache else None

    def evaluate(self, policy: Path, prompts: Sequence[str]) -> Evaluation:
        """Measure a saved policy by its answers beside those of the SFT model, and beside the best of n of these."""
        self.check_known_answers()
        doing(f"measuring the policy and the SFT model by answers to {len(prompts):,} held-out prompts")
        before = self.baseline(prompts)
        model = load_policy(policy, self.tokenizer)
        after = self.answer(model, prompts)
        others = [self.baseline(prompts, draw=draw) for draw in range(1, self.config.best_of_n)]
        evidence = {ANSWERS: answers_table(prompts, after, [before, *others], self.repeats(model, prompts))}
        columns = zip(prompts, before.texts, after.texts, strict=True)
        samples = [{"prompt": prompt, "sft": first, "policy": second} for prompt, first, second in columns]
        return Evaluation(policy_figures(evidence), evidence, samples[:SAMPLES])

    def baseline(self, prompts: Sequence[str], *, draw: int = 0) -> Answers:
        """The SFT model's `answer`s, or those that an earlier run with the same models kept; each draw has its own."""
        seed = self.seed + SEEDS_APART * draw
        chance = (self.config.sampling.model_dump(), self.config.optimiser.precision, seed)
        key = content_key(Answers._fields, prompts, *chance, self._term_keys)
        path = self._kept / f"{key}.npy" if self._kept else None
        return Answers.from_rows(cached(path, lambda: self.answer(self.reference, prompts, seed=seed).as_rows()))

    def answer(self, policy: PreTrainedModel, prompts: Sequence[str], *, seed: int | None = None) -> Answers:
        """Sample one answer for each prompt, with the same chance for every policy of a seed, and measure it."""
        rollout, sampled, _ = self.sample(policy, prompts, seed=self.seed if seed is None else seed)
        config = self.config.optimiser
        temperature = self.config.sampling.temperature
        ref_logprobs = all_logprobs(self.reference, rollout, config, sampling_temperature=temperature)
        texts = self.texts(sampled)
        responses = self.responses(prompts, texts, rollout)
        scores, terms = self.reward_model(responses), self.terms(responses)
        return Answers(
            texts=texts,
            tokens=to_numpy(rollout.mask.sum(dim=1)),
            finished=[response.finished for response in sampled],
            kl=to_numpy(kl_k1(rollout.logprobs, ref_logprobs, rollout.mask)),
            kl_k3=to_numpy(kl_k3(rollout.logprobs, ref_logprobs, rollout.mask)),
            reward=to_numpy(scores.score),
            judge=to_numpy(self.judge(responses).score),
            disagreement=to_numpy(disagreement_of(self.config.reward, scores, terms)),
            surprisal=to_numpy(-rollout.logprobs.sum(dim=1)),
            terms={name: to_numpy(values) for name, values in terms.items()},
        )

    def check_known_answers(self) -> None:
        """Test that the frozen models say what they said when they were saved.

        Raises:
            SelfTestError: as `check_known_answers` of the self-tests.
        """
        config, lengths = self.config.optimiser, self.config.sampling.lengths
        check_known_answers(
            "SFT model",
            self._sft,
            lambda trees: mean_logprobs(self.reference, trees, config),
            self.tokenizer,
            config,
            lengths,
        )
        self.reward_model.check_known_answers("reward model", lengths)
        self.judge.check_known_answers("judge", lengths)

    def responses(self, prompts: Sequence[str], texts: Sequence[str], rollout: Rollout) -> Responses:
        """The responses of a rollout with their texts, as reward models and rules take them."""
        return Responses(prompts, texts, rollout.trees, rollout.finished.tolist())

    def terms(self, responses: Responses) -> dict[str, Tensor]:
        """What each further term of the reward says of responses, by name, shape ``[B]``."""
        return {name: term(responses) for name, term in self._terms.items()}

    def texts(self, sampled: Sequence[Sampled]) -> list[str]:
        """Texts of sampled responses without special tokens."""
        return [decode(self.tokenizer, response.response_ids) for response in sampled]

    def repeats(self, policy: PreTrainedModel, prompts: Sequence[str]) -> list[tuple[str, str]]:
        """Prompts with answers of a policy where several to each are asked for, else nothing."""
        each = self.config.answers_per_prompt
        if each == 1:
            return []
        questions = [prompt for prompt in prompts[:REPEATED_PROMPTS] for _ in range(each)]
        _, sampled, _ = self.sample(policy, questions, seed=self.seed)
        return list(zip(questions, self.texts(sampled), strict=True))

    def sample(
        self, policy: PreTrainedModel, prompts: Sequence[str], *, seed: int
    ) -> tuple[Rollout, list[Sampled], dict[str, float]]:
        """One response to each prompt, as `roll_out` gives them."""
        return roll_out(policy, self.tokenizer, prompts, self.config.sampling, self.config.optimiser, seed=seed)


def halves(
    config: PolicyConfig, held_out_prompts: Sequence[str], tuned: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """Held-out prompts that may be watched during training, and those that give the final figures.

    Args:
        config: how many of each are used at most.
        held_out_prompts: in the order of their table.
        tuned: those that are watched; `tuning_half` unless they are named.

    Raises:
        ValueError: if fewer than two are left to judge by.
    """
    watching = tuning_half(held_out_prompts) if tuned is None else tuned
    watched = [prompt for prompt in held_out_prompts if prompt in watching]
    judged = [prompt for prompt in held_out_prompts if prompt not in watching]
    if len(judged) < 2:
        raise ValueError(f"{len(held_out_prompts)} held-out prompts cannot measure a policy: give at least 4")
    return watched[: config.evaluation_prompts], judged[: config.evaluation_prompts]


def evaluate_policy(
    config: PolicyConfig,
    *,
    sft: Path,
    policy: Path,
    reward_model: Path,
    judge: Path,
    held_out_prompts: Sequence[str],
    seed: int,
    term_models: Mapping[str, Path] = NO_MODELS,
    cache: Path | None = None,
    tuned: Collection[str] | None = None,
) -> Evaluation:
    """Measure a saved policy beside its SFT model; on the same prompts the figures are those of its training.

    Args:
        config: sampling and precision.
        sft: folder of the SFT model that the policy was trained from.
        policy: folder of the policy.
        reward_model: folder of the reward model.
        judge: folder of the reward model that only measures.
        held_out_prompts: none that a model which takes part was trained on.
        seed: seed of the answers.
        term_models: as of `PolicyEvaluator`.
        cache: as of `PolicyEvaluator`.
        tuned: prompts by whose answers its state was chosen, which are not judged; as in training, `tuning_half`
            unless they are named.

    Returns:
        The estimates of `policy_figures`, and the answers that they rest on.
    """
    models = {"sft": sft, "reward_model": reward_model, "judge": judge}
    evaluator = PolicyEvaluator(config, **models, seed=seed, term_models=term_models, cache=cache)
    return evaluator.evaluate(policy, halves(config, held_out_prompts, tuned)[1])
