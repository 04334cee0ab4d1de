"""Arguments of the commands that ask models, seen before torch is imported, which takes seconds."""

import math
import re
from pathlib import Path

from flows.config.errors import InputError
from flows.registry.names import CHALLENGER, project_of_model
from rlhf_core.config.sampling import COLDEST
from rlhf_core.models.model_files import CONFIG, check_files, read_document

HUB = re.compile(r"(?P<name>\w[\w.-]*/(?!\d+$)\w[\w.-]*)(@(?P<revision>[\w.-]+))?")
"""A model or a data set of the hub; what ends in a number is a version of the registry."""

REGISTERED = re.compile(r"[^/@\s]+(/[0-9]+|@[^/@\s]+)")


def check_written(model: str) -> None:
    """See that a model is written as one, and that a folder holds one.

    Args:
        model: name/version, name@alias, a folder, or owner/name of the hub, with @revision or without.

    Raises:
        InputError: if it is none of these, or a folder without a model; or if a model of the hub would be asked for
            where one of a registry is meant, as its owner is called like one.
    """
    if not model:
        raise InputError("the name of the model is empty; name a folder, name/version or name@alias")
    owner, _, repository = model.partition("/")
    if Path(model).is_dir():
        architectures(Path(model), model)
    elif is_registered(model) and not REGISTERED.fullmatch(model):
        raise InputError(f"{model} is no folder; name a model as name/version or name@alias")
    elif not is_registered(model) and project_of_model(owner):
        raise InputError(
            f"{model} names no version of {owner}, as {repository} is no number: write {owner}/1 or "
            f"{owner}@{CHALLENGER}; fetch a model of the hub whose owner is called so first, and name its folder"
        )


def is_registered(model: str) -> bool:
    """Whether a model is one of the registry, as it is neither a folder nor written like one of the hub."""
    return not Path(model).is_dir() and not HUB.fullmatch(model)


def check_temperature(temperature: float | None) -> None:
    """See that `--temperature` is one.

    Raises:
        InputError: if it is not.
    """
    if temperature is None:
        return
    if not 0 <= temperature < math.inf:
        raise InputError(f"--temperature {temperature}: must be a number from 0, which takes the likeliest token")
    if 0 < temperature < COLDEST:
        raise InputError(f"--temperature {temperature}: leaves one token all probability; take 0, or {COLDEST} or more")


def check_answers(model: str) -> None:
    """See that a folder does not hold a reward model.

    Raises:
        InputError: if it does.
    """
    if Path(model).is_dir() and is_reward_model(Path(model), model):
        raise InputError(f"{model} is a reward model, which answers no prompts; `rlhf score` takes it")


def check_scores(model: str, what: str) -> None:
    """See that a folder holds a reward model.

    Args:
        model: what is asked.
        what: it would score.

    Raises:
        InputError: if it does not.
    """
    if Path(model).is_dir() and not is_reward_model(Path(model), model):
        raise InputError(f"{model} is no reward model, so it scores no {what}; `rlhf generate` takes it")


def is_reward_model(folder: Path, model: str) -> bool:
    """Whether a model has the head of a sequence classifier; as of `architectures`."""
    return any(name.endswith("ForSequenceClassification") for name in architectures(folder, model))


def architectures(folder: Path, model: str) -> list[str]:
    """The classes that a folder's model says it is of.

    Args:
        folder: where it lies.
        model: what a person called it.

    Raises:
        InputError: if the folder holds no whole model.
    """
    try:
        check_files(folder)
        named = read_document(folder / CONFIG).get("architectures") or []
    except (OSError, ValueError) as error:
        raise InputError(said_of(model, error)) from None
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise InputError(f"{model}: `architectures` in config.json is {named!r:.60}, no list of names; correct it")
    return named


def said_of(model: str, error: Exception) -> str:
    """What is wrong with a model, after its name, which is said once."""
    reason = str(error)
    return reason if reason.startswith(model) else f"{model}: {reason}"
