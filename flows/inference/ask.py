"""Inference by a model of the registry, the hub or a folder: answers of a policy, scores of a reward model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import HubModel
from flows.inference.arguments import HUB, check_sampling, is_reward_model, said_of
from flows.registry.client import Registry
from flows.registry.database import prepare_database
from flows.registry.hub import download
from flows.registry.server import require_mlflow
from rlhf_core.data.records import Demonstration, Response
from rlhf_core.evaluators.reward_model import score
from rlhf_core.generation.sampling import generate


def answer(
    config: LadderConfig, model: str, prompts: Sequence[str], *, temperature: float | None, seed: int
) -> list[Response]:
    """Sample one response for each prompt.

    Args:
        config: whose registry is meant, and how the policy samples.
        model: as of `find_model`.
        prompts: texts of the users.
        temperature: replaces the configuration's, unless None; 0 takes the likeliest token.
        seed: seed of the sampling.

    Returns:
        Responses in the order of the prompts.

    Raises:
        InputError: if there is no such model, or it does not generate, or not from these prompts.
    """
    sampling = config.policy.sampling
    check_sampling(temperature, seed)
    if temperature is not None:
        sampling = sampling.model_copy(update={"temperature": temperature})
    folder, scores = find_model(config, model)
    if scores:
        raise InputError(f"{model} is a reward model, which answers no prompts; `rlhf score` takes it")
    with refusing(model):
        return generate(folder, prompts, sampling, seed=seed)


def rate(config: LadderConfig, model: str, prompt: str, responses: Sequence[str]) -> list[float]:
    """Score finished responses to one prompt.

    Args:
        config: whose registry is meant, and lengths.
        model: as of `find_model`.
        prompt: what the user wrote.
        responses: what was answered.

    Returns:
        Calibrated logits; 0 is the mean of the demonstrations.

    Raises:
        InputError: if there is no such model, or it does not score, or not by numbers.
    """
    folder, scores = find_model(config, model)
    if not scores:
        raise InputError(f"{model} is no reward model, so it scores no answers; `rlhf generate` takes it")
    with refusing(model):
        return score(folder, [Demonstration(prompt, response) for response in responses], config.reward_model)


@contextmanager
def refusing(model: str) -> Iterator[None]:
    """Name the model where it cannot be used: its tokenizer, its texts, or what it says, which is no number."""
    try:
        yield
    except ValueError as error:
        raise InputError(said_of(model, error)) from None


def find_model(config: LadderConfig, model: str) -> tuple[Path, bool]:
    """Where a model lies on this machine, and whether it has the head of a reward model.

    Args:
        config: whose registry is meant.
        model: name/version, name@alias, a folder, or owner/name of the hub, with @revision or without.

    Raises:
        InputError: if there is no such model.
    """
    folder = Path(model) if Path(model).is_dir() else _fetched(config, model)
    return folder, is_reward_model(folder, model)


def _fetched(config: LadderConfig, model: str) -> Path:
    hub = HUB.fullmatch(model)
    if hub is None:
        require_mlflow()
        prepare_database()
        return Registry(MlflowClient(), "", config.storage).resolve(model)
    return download(HubModel(model=hub["name"], revision=hub["revision"] or "main"))
