"""Results that Prefect keeps under a content key: reused while all that they name is intact, else made again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from prefect import Task
from pydantic import BaseModel

from flows.storage.locks import exclusive

P = ParamSpec("P")

Result = TypeVar("Result", bound=BaseModel)


def reuse_or_remake(
    storage: Path,
    work: Task[Concatenate[str, P], dict[str, Any]],
    kind: type[Result],
    intact: Callable[[Result], bool],
    key: str,
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Result:
    """As `intact_result`; of several who need the same at once one makes it, and the others wait for it.

    Args:
        storage: folder that all of them share.
        work: as of `intact_result`, and so are the others.
        kind: of the result.
        intact: whether what it names still exists.
        key: content key.
        args: what else the task takes.
        kwargs: the same by name.
    """
    with exclusive(storage / "work" / f"{key}.lock"):
        return intact_result(work, kind, intact, key, *args, **kwargs)


def intact_result(
    work: Task[Concatenate[str, P], dict[str, Any]],
    kind: type[Result],
    intact: Callable[[Result], bool],
    key: str,
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Result:
    """What a cached task returns for a key: what it returned before, or what it makes where that is not intact.

    Args:
        work: the task; takes the key first, and returns its result as JSON takes it.
        kind: of the result.
        intact: whether what it names still exists.
        key: content key.
        args: what else the task takes.
        kwargs: the same by name.
    """
    result = kind.model_validate(work(key, *args, **kwargs))
    if intact(result):
        return result
    return kind.model_validate(work.with_options(refresh_cache=True)(key, *args, **kwargs))
