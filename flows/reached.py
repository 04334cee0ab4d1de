"""What climbs come to."""

from flows.references import ModelRef
from rlhf_core.config import Frozen


class LadderResult(Frozen):
    """Outcome of a climb.

    Attributes:
        versions: registered versions by registered name.
        retrained: stages that were trained in this climb; empty when there was nothing to do.
        published: whether the versions got the alias.
        waits_for: file that people are to label before the next round, None where nothing is waited for.
    """

    run_id: str
    versions: dict[str, ModelRef]
    retrained: list[str]
    published: bool
    waits_for: str | None = None
