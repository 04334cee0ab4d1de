"""Results that Prefect keeps under a content key: reused while all that they name is intact, else made again."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import xxhash
from prefect import Task
from pydantic import BaseModel

from flows.storage.locks import exclusive

P = ParamSpec("P")

Result = TypeVar("Result", bound=BaseModel)

SEAL = "seal"


def sealed(result: BaseModel) -> dict[str, Any]:
    """A result as a cached task returns it: as JSON takes it, with a digest that tells damage."""
    fields = result.model_dump(mode="json")
    return {**fields, SEAL: _digest(fields)}


def unsealed(kind: type[Result], returned: Mapping[str, Any]) -> Result | None:
    """What was `sealed`; None where it has changed since."""
    fields = {name: value for name, value in returned.items() if name != SEAL}
    return kind.model_validate(fields) if returned.get(SEAL) == _digest(fields) else None


def _digest(fields: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(fields, sort_keys=True).encode())


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
        work: the task; takes the key first, and returns its result `sealed`.
        kind: of the result.
        intact: whether what it names still exists.
        key: content key.
        args: what else the task takes.
        kwargs: the same by name.
    """
    result = unsealed(kind, work(key, *args, **kwargs))
    if result is None:
        warnings.warn(f"the kept result {key} is damaged; it is made again", stacklevel=2)
    elif intact(result):
        return result
    remade = unsealed(kind, work.with_options(refresh_cache=True)(key, *args, **kwargs))
    assert remade is not None
    return remade
