"""Data that may not be used: why, which rows, and what shows them."""

import shlex

from flows.config.errors import InputError
from flows.data.quarantine import RowsRefused


class DataRefused(InputError):
    """Tables that may not be used; `problems` holds what is wrong with each, `looks` what shows the files they are of.

    The message names rows, never their text; it says why for every table before it says where.
    """

    def __init__(self, problems: tuple[ValueError, ...], files: tuple[str, ...] = ()) -> None:
        super().__init__(problems, files)
        self.problems = problems
        self.looks = tuple(f"rlhf data inspect {shlex.quote(file)}  # which rows break which rule" for file in files)

    def __str__(self) -> str:
        rows = [problem for problem in self.problems if isinstance(problem, RowsRefused)]
        others = [str(problem) for problem in self.problems if not isinstance(problem, RowsRefused)]
        reasons = [line for problem in rows for line in problem.reasons]
        places = [line for problem in rows for line in problem.places]
        return "\n".join(["the data are refused and nothing was written", *reasons, *others, *places])
