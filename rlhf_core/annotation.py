"""Labels for a reward model's refresh: fresh answers of a policy as choices, and a reward model as their annotator.

A round of iterated RLHF samples from the newest policy, has the answers compared, adds the pairs to those before and
trains reward model and policy again (Bai et al., 2022, section 4.5, 'Iterated Online RLHF').
"""

from collections.abc import Sequence
from datetime import date
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.model_settings import read_config
from rlhf_core.data.records import Choice, Demonstration, VoteCounts
from rlhf_core.data.tokenizer import halves_of_positions, load_tokenizer
from rlhf_core.evaluators.reward_model import score
from rlhf_core.generation.sampling import sample_responses
from rlhf_core.models.loading import load_policy


def sample_choices(
    policy: Path, prompts: Sequence[str], sampling: SamplingConfig, *, responses_per_prompt: int, seed: int
) -> list[Choice]:
    """Draw answers of a policy and lay all different ones to the same prompt side by side.

    Args:
        policy: folder of a causal language model with its tokenizer.
        prompts: texts of the users, each once.
        sampling: temperature and limits; those that the policy was trained with show what it does.
        responses_per_prompt: answers drawn for each prompt, n; n different ones make n (n - 1) / 2 choices.
        seed: seed of the sampling.

    Returns:
        Choices in the order of the prompts. Blank answers are left out, and a prompt that got the same answer every
        time has no choice: there is nothing to compare.

    Raises:
        ValueError: if fewer than two answers to a prompt are asked for.
    """
    if responses_per_prompt < 2:
        raise ValueError(f"responses_per_prompt {responses_per_prompt} leaves nothing to compare: ask for 2 or more")
    tokenizer = load_tokenizer(str(policy))
    questions = [prompt for prompt in prompts for _ in range(responses_per_prompt)]
    responses = sample_responses(load_policy(policy, tokenizer), tokenizer, questions, sampling, seed=seed)
    texts = [response.text for response in responses]
    answers = [texts[start : start + responses_per_prompt] for start in range(0, len(texts), responses_per_prompt)]
    return [
        Choice(prompt, first, second)
        for prompt, group in zip(prompts, answers, strict=True)
        for first, second in combinations(dict.fromkeys(text for text in group if text.strip()), 2)
    ]


def ask_reward_model(
    reward_model: Path,
    choices: Sequence[Choice],
    config: RewardModelConfig,
    *,
    votes: int,
    drawn: bool,
    seed: int,
    day: date | None = None,
) -> list[VoteCounts]:
    """Have a reward model label choices: it prefers the first with probability sigma(difference of its scores).

    Args:
        reward_model: folder of a sequence classifier or an ensemble; its scores are divided by its temperature. It
            reads the texts as tokens of its own, prompt and response up to half of its positions each.
        choices: what it compares.
        config: precision and token budget.
        votes: of each choice.
        drawn: whether every vote is drawn from that probability; otherwise the votes are shared out by it, rounded, so
            that many votes are a soft label.
        seed: seed of the draws.
        day: as in `score`.

    Returns:
        Votes in the order of the choices.
    """
    config = config.model_copy(update=halves_of_positions(read_config(reward_model))._asdict())
    items = [Demonstration(choice.prompt, text) for choice in choices for text in (choice.first, choice.second)]
    scores = np.array(score(reward_model, items, config, day=day)).reshape(-1, 2)
    return cast(scores[:, 0] - scores[:, 1], votes=votes, drawn=drawn, seed=seed)


def cast(gaps: ArrayLike, *, votes: int, drawn: bool, seed: int) -> list[VoteCounts]:
    """Votes of a judge that prefers the first with probability sigma(gap), by Bradley and Terry (1952).

    Args:
        gaps: score of the first less that of the second response of each choice, shape ``[N]``, calibrated logits.
        votes: of each choice.
        drawn: whether every vote is drawn; otherwise they are shared out, to the nearest vote.
        seed: seed of the draws.

    Returns:
        N votes.
    """
    preferred = expit(np.asarray(gaps, dtype=np.float64))
    firsts = np.random.default_rng(seed).binomial(votes, preferred) if drawn else np.rint(votes * preferred)
    return [VoteCounts(int(first), votes - int(first)) for first in firsts]
