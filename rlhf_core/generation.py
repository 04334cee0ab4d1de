"""Answers of a saved policy, for people who want to read some."""

from collections.abc import Sequence
from pathlib import Path

from rlhf_core.config.rollout import SamplingConfig
from rlhf_core.models import load_policy
from rlhf_core.rollout import Response, sample_responses
from rlhf_core.text import load_tokenizer


def generate(model_path: Path, prompts: Sequence[str], config: SamplingConfig, *, seed: int) -> list[Response]:
    """Sample one response for each prompt.

    Args:
        model_path: folder of a causal language model with its tokenizer.
        prompts: texts of the users.
        config: temperature and limits.
        seed: seed of the sampling.

    Returns:
        Responses in the order of the prompts.
    """
    tokenizer = load_tokenizer(str(model_path))
    return sample_responses(load_policy(model_path, tokenizer), tokenizer, prompts, config, seed=seed)
