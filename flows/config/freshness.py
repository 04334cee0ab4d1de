"""How old champions and data may become, and what is overdue."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.config.units import Days

DAY = 86_400.0


class FreshnessConfig(Frozen):
    """How old the champions and their data may become before somebody is told; no climb is stopped by it."""

    champion_days: Annotated[Days, Field(gt=0)] | None = None
    """Days since a version was made, after which it is overdue as champion; null for any age."""
    data_days: Annotated[Days, Field(gt=0)] | None = None
    """Days without anything new in the data, after which they are overdue; null for any age."""


def overdue(
    settings: FreshnessConfig, champions: Mapping[str, float], data_since: float | None, now: float
) -> list[str]:
    """What is older than it may become, a sentence each.

    Args:
        settings: how old that is.
        champions: when each champion was made, by `name/version`, in seconds since the epoch.
        data_since: when the newest data were read for the first time; None where none were.
        now: seconds since the epoch.
    """
    said = []
    for label, made in champions.items():
        age = (now - made) / DAY
        if settings.champion_days is not None and age > settings.champion_days:
            said.append(f"{label} is overdue as champion: made {age:.1f} days ago, {settings.champion_days:g} may pass")
    if settings.data_days is not None and data_since is not None:
        age = (now - data_since) / DAY
        if age > settings.data_days:
            said.append(f"data are overdue: nothing new for {age:.1f} days, {settings.data_days:g} may pass")
    return said
