"""What a champion needs besides its alias."""

from rlhf_core.config import Frozen


class PromotionConfig(Frozen):
    """What a champion needs besides its alias before anything starts from it; no result depends on it."""

    two_people: bool = False
    """Whether two people must sign for a version, each by a key of their own (`rlhf promote`, `rlhf approve`), before a
    stage alone, or a model named as `NAME@champion`, starts from it. `rlhf receive --two-people` is the same."""
