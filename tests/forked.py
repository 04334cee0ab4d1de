"""`rlhf` as tests type it: forked from one process for each that runs tests, which has imported all of it.

A test of what a fresh interpreter does starts one itself.
"""

import functools
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from benchmarks.common.forks import Forks

Finished = subprocess.CompletedProcess[str]

ROOT = Path(__file__).parents[1]
RLHF = Path(sys.executable).with_name("rlhf")


_imported_with: dict[str, str] = {}


def fork_with(environment: Mapping[str, str]) -> None:
    """Say with which environment all is imported, before anything is asked for."""
    _imported_with.update(environment)


@functools.cache
def forks() -> Forks:
    """The process that forks; it starts when it is first asked for, and ends with this one."""
    return Forks(_imported_with or os.environ)


def end_forks() -> None:
    """End it, if it ever started."""
    if forks.cache_info().currsize:
        forks().__exit__()
        forks.cache_clear()


def run_rlhf(
    *arguments: str | Path,
    environment: Mapping[str, str],
    cwd: Path = ROOT,
    stdin: str = "",
    code: str = "",
) -> Finished:
    """Run `rlhf`, or code as `python -c` would; in a new interpreter where the environment has it import otherwise."""
    if not (differing := forks().differing(environment)):
        return forks().run(arguments, cwd=cwd, environment=environment, stdin=stdin, code=code)
    warnings.warn(f"a new interpreter, as {', '.join(differing)} differ", stacklevel=2)
    command = [sys.executable, "-c", code] if code else [RLHF]
    return subprocess.run(
        [*command, *arguments],
        cwd=cwd,
        env=dict(environment),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
