"""A figure of two versions of a model on the same rows."""

from rlhf_core.config import Frozen
from rlhf_core.metrics.estimates import Estimate


class Paired(Frozen):
    """A figure of both versions on the same rows.

    Attributes:
        challenger: None where the figure is about both at once.
        champion: as `challenger`.
        between: challenger less champion, paired; or what is said of both.
    """

    challenger: Estimate | None
    champion: Estimate | None
    between: Estimate
