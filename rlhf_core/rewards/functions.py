"""Reward functions that users bring: found by entry point, tried before any work, known by the digest of their source.

Free of torch, so that a configuration is checked at once.
"""

import hashlib
import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

GROUP = "rlhf_ladder.rewards"
"""Group of installed entry points."""

RewardFunction = Callable[[Sequence[str], Sequence[str]], ArrayLike]
"""Of B prompts, as the data have them, and the texts of their B responses: B finite numbers."""

TRIED_ON = (
    ("How do I descale a kettle?", "Boil it with vinegar, then rinse it."),
    ("Name one colour.", ""),
    ('[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]', "¡Olé! 你好\n- one\n- two"),
)
"""Prompts with responses, one of them empty, one prompt a conversation."""


class FunctionError(ValueError):
    """A reward function cannot be had, raises, or does not return one finite number for each response."""


def load_function(name: str) -> RewardFunction:
    """Import a reward function; its module may lie in the working folder, after all that is installed.

    Args:
        name: `package.module:function`, or the name of an installed entry point of the group `rlhf_ladder.rewards`.

    Raises:
        FunctionError: saying what is absent and how to mend it.
    """
    entry = _find(name)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        importlib.import_module(entry.module)
    except (Exception, SystemExit) as error:  # whatever a module of somebody else's raises
        raise FunctionError(
            f"{name}: {entry.module} cannot be imported ({type(error).__name__}: {error}); "
            "mend or install it, or add its folder to PYTHONPATH"
        ) from None
    try:
        function = entry.load()
    except AttributeError:
        raise FunctionError(f"{name}: {entry.module} has no '{entry.attr}'; correct its name") from None
    if not callable(function):
        raise FunctionError(f"{name}: is of type {type(function).__name__}; name a function of prompts and responses")
    loaded: RewardFunction = function
    return loaded


def ask(name: str, function: RewardFunction, prompts: Sequence[str], responses: Sequence[str]) -> NDArray[np.float64]:
    """What a reward function says of B responses, shape ``[B]``.

    Raises:
        FunctionError: if it raises, or returns anything but B finite numbers.
    """
    try:
        scores = np.asarray(function(prompts, responses), dtype=np.float64)
    except Exception as error:
        raise FunctionError(
            f"{name}: raised {type(error).__name__}: {error}; it must return a number for any prompt and response"
        ) from error
    if scores.shape != (len(responses),):
        raise FunctionError(
            f"{name}: returned shape {list(scores.shape)} for {len(responses)} responses; return one number for each"
        )
    if not np.isfinite(scores).all():
        wrong = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise FunctionError(f"{name}: returned {scores[wrong]} for the response {responses[wrong]!r}; return a number")
    return scores


def try_out(name: str) -> None:
    """Load a reward function and ask it about a few responses.

    Raises:
        FunctionError: as `load_function` and `ask`.
    """
    prompts, responses = zip(*TRIED_ON, strict=True)
    ask(name, load_function(name), list(prompts), list(responses))


def source_digest(name: str) -> str:
    """SHA-256 over the source that a reward function comes from: its module, and the package around it if there is one.

    What that imports from elsewhere is not seen, nor are files that it reads; `version` in the configuration is for
    these.

    Raises:
        FunctionError: as `load_function`, or if there is no file whose change would show.
    """
    function = load_function(name)
    modules = {_find(name).module, getattr(function, "__module__", None) or _find(name).module}
    total = hashlib.sha256()
    for module in sorted(modules):
        files = _files(module)
        if not files:
            raise FunctionError(
                f"{name}: {module} has no file, so no change of it would show; call it from one of yours"
            )
        for label, path in files.items():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{module}\0{label}\0{content}\n".encode())
    return total.hexdigest()


def _find(name: str) -> EntryPoint:
    """The entry point that a name means, installed or spelt out."""
    if ":" in name:
        return EntryPoint(name=name, value=name, group=GROUP)
    installed = entry_points(group=GROUP)
    if name not in installed.names:
        there = ", ".join(sorted(installed.names)) or "none"
        raise FunctionError(
            f"{name}: is no installed entry point of {GROUP} (there are: {there}); "
            "install its package or write package.module:function"
        )
    return installed[name]


def _files(module: str) -> dict[str, Path]:
    """Files of a module by names that are the same on any machine; of one in a package, all Python files of that."""
    loaded = importlib.import_module(module)
    package = importlib.import_module(loaded.__package__) if loaded.__package__ else None
    folders = [Path(folder) for folder in getattr(package, "__path__", ())]
    if folders:
        return {
            path.relative_to(folder).as_posix(): path for folder in folders for path in sorted(folder.rglob("*.py"))
        }
    file = getattr(loaded, "__file__", None)  # what is built into the interpreter has none
    return {Path(file).name: Path(file)} if file else {}
