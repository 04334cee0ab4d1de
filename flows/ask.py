"""Ask a model of the registry, or one in a folder: answers of a policy, scores of a reward model."""

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoConfig

from flows.config import InputError, LadderConfig
from flows.registry import open_registry
from rlhf_core.generation import generate
from rlhf_core.records import Demonstration
from rlhf_core.reward_model import score
from rlhf_core.rollout import Response


def answer(
    config: LadderConfig, model: str, prompts: Sequence[str], *, temperature: float | None, seed: int
) -> list[Response]:
    """Sample one response for each prompt.

    Args:
        config: whose registry is meant, and how the policy samples.
        model: name/version, name@alias, or a folder.
        prompts: texts of the users.
        temperature: replaces the configuration's, unless None.
        seed: seed of the sampling.

    Returns:
        Responses in the order of the prompts.

    Raises:
        InputError: if there is no such model, or it does not generate.
    """
    sampling = config.policy.sampling
    if temperature is not None:
        if temperature <= 0:
            raise InputError(f"--temperature {temperature}: must be greater than 0")
        sampling = sampling.model_copy(update={"temperature": temperature})
    folder, scores = _folder(config, model)
    if scores:
        raise InputError(f"{model} is a reward model, which answers no prompts; `rlhf score` takes it")
    return generate(folder, prompts, sampling, seed=seed)


def rate(config: LadderConfig, model: str, prompt: str, responses: Sequence[str]) -> list[float]:
    """Score finished responses to one prompt.

    Args:
        config: whose registry is meant, and lengths.
        model: name/version, name@alias, or a folder.
        prompt: what the user wrote.
        responses: what was answered.

    Returns:
        Calibrated logits; 0 is the mean of the demonstrations.

    Raises:
        InputError: if there is no such model, or it does not score.
    """
    folder, scores = _folder(config, model)
    if not scores:
        raise InputError(f"{model} is no reward model, so it scores no answers; `rlhf generate` takes it")
    return score(folder, [Demonstration(prompt, response) for response in responses], config.reward_model)


def _folder(config: LadderConfig, model: str) -> tuple[Path, bool]:
    """Where the model lies, and whether it has the head of a reward model."""
    folder = Path(model) if Path(model).is_dir() else open_registry(config.project, config.storage).resolve(model)
    try:
        found = AutoConfig.from_pretrained(folder).architectures or []
    except (OSError, ValueError) as error:
        raise InputError(
            f"{model}: {folder} holds no model ({error}); name a folder that `save_pretrained` wrote"
        ) from None
    return folder, any(name.endswith("ForSequenceClassification") for name in found)
