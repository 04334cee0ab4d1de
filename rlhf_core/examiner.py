"""What policies are measured with: their answers beside the SFT model, the reward model and the judge."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.config.ppo import PPOConfig
from rlhf_core.evaluation.diversity import repeats_within
from rlhf_core.evaluation.estimates import Estimate
from rlhf_core.evaluation.policy import Answers
from rlhf_core.experience import Rollout, all_logprobs, roll_out
from rlhf_core.models import load_policy, load_reward_model
from rlhf_core.objectives import kl_k1, kl_k3
from rlhf_core.parallel import shard
from rlhf_core.rewards import NO_MODELS, Responses, load_terms, score_ensemble, score_trees
from rlhf_core.rollout import Sampled
from rlhf_core.text import decode, load_tokenizer
from rlhf_core.training import fuse

REPEATED_PROMPTS = 32
"""Prompts that are answered several times, at most, to count repeats within a prompt."""


class Examiner:
    """The models and rules that policies are measured with."""

    def __init__(
        self,
        config: PPOConfig,
        *,
        sft: Path,
        reward_model: Path,
        judge: Path,
        seed: int,
        term_models: Mapping[str, Path] = NO_MODELS,
    ) -> None:
        self.tokenizer = load_tokenizer(str(sft))
        self.config, self.seed = config, seed
        self.reference = self._frozen(load_policy(sft, self.tokenizer))
        self.reward_model = self._frozen(load_reward_model(reward_model, self.tokenizer))
        self.judge = self._frozen(load_reward_model(judge, self.tokenizer))
        self._terms = load_terms(config.reward, self.tokenizer, config.optimiser, term_models)

    def answer(self, policy: PreTrainedModel, prompts: Sequence[str]) -> Answers:
        """Sample one answer for each prompt, with the same chance for every policy, and measure it."""
        rollout, sampled, _ = self.sample(policy, prompts, seed=self.seed)
        config = self.config.optimiser
        temperature = self.config.sampling.temperature
        ref_logprobs = all_logprobs(self.reference, rollout, config, sampling_temperature=temperature)
        reward, disagreement = score_ensemble(self.reward_model, rollout.trees, config)
        texts = self.texts(sampled)
        return Answers(
            texts=texts,
            tokens=_numbers(rollout.mask.sum(dim=1)),
            finished=[response.finished for response in sampled],
            kl=_numbers(kl_k1(rollout.logprobs, ref_logprobs, rollout.mask)),
            kl_k3=_numbers(kl_k3(rollout.logprobs, ref_logprobs, rollout.mask)),
            reward=_numbers(reward),
            judge=_numbers(score_trees(self.judge, rollout.trees, config)),
            disagreement=_numbers(disagreement),
            surprisal=_numbers(-rollout.logprobs.sum(dim=1)),
            terms={name: _numbers(values) for name, values in self.terms(prompts, texts, rollout).items()},
        )

    def terms(self, prompts: Sequence[str], texts: Sequence[str], rollout: Rollout) -> dict[str, Tensor]:
        """What each further term of the reward says of the responses of a rollout, by name, shape ``[B]``."""
        responses = Responses(prompts, texts, rollout.trees, rollout.finished.tolist())
        return {name: term(responses) for name, term in self._terms.items()}

    def texts(self, sampled: Sequence[Sampled]) -> list[str]:
        """Texts of sampled responses without special tokens."""
        return [decode(self.tokenizer, response.response_ids) for response in sampled]

    def repeats(self, policy: PreTrainedModel, prompts: Sequence[str]) -> dict[str, Estimate]:
        """`repeats_within_prompt` of a policy where several answers to a prompt are asked for, else nothing."""
        each = self.config.answers_per_prompt
        if each == 1:
            return {}
        asked = [prompt for prompt in prompts[:REPEATED_PROMPTS] for _ in range(each)]
        _, sampled, _ = self.sample(policy, asked, seed=self.seed)
        texts = self.texts(sampled)
        groups = [texts[start : start + each] for start in range(0, len(texts), each)]
        return {"repeats_within_prompt": repeats_within(groups)}

    def sample(
        self, policy: PreTrainedModel, prompts: Sequence[str], *, seed: int
    ) -> tuple[Rollout, list[Sampled], dict[str, float]]:
        """One response to each prompt, as `roll_out` gives them."""
        config = self.config
        return roll_out(policy, self.tokenizer, prompts, config.sampling, config.optimiser, seed=seed)

    def _frozen(self, model: PreTrainedModel) -> PreTrainedModel:
        return shard(fuse(model, self.config.optimiser)).requires_grad_(False)


def _numbers(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()
