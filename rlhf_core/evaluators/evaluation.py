"""What an evaluation comes to: figures, the rows that they rest on, and a few of these for people to read."""

from typing import NamedTuple

import pyarrow as pa

from rlhf_core.metrics.estimates import Estimate


class Evaluation(NamedTuple):
    """A model as held-out rows show it.

    Attributes:
        estimates: figures with intervals.
        evidence: the held-out rows that they were computed from, with what was measured on each, by name.
        samples: a few prompts with answers.
    """

    estimates: dict[str, Estimate]
    evidence: dict[str, pa.Table]
    samples: list[dict[str, str]]
