"""What a promotion must have besides a version that is well, before anybody is told of it: signatures, a reason."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from mlflow.entities.model_registry import ModelVersion

from flows.promotion.history import IN_MLFLOW, history, open_ledger
from flows.registry.approvals import doubt_of_people
from flows.registry.client import Registry
from flows.registry.names import DIGEST_TAG, REASON_TAG
from flows.registry.statements import state_tags


class Wanted(NamedTuple):
    """What a promotion must have.

    Attributes:
        two_people: whether two people must have signed for the version.
        reason_minutes: how long one that was made in MLflow's page waits for its reason; None wants none.
    """

    two_people: bool = False
    reason_minutes: float | None = None


NOTHING_MORE = Wanted()


def doubt_of_person(registry: Registry, version: ModelVersion, noticed: str, wanted: Wanted) -> str:
    """What a promotion lacks of people, and what to do; empty if nothing.

    Args:
        registry: of the project.
        version: the champion.
        noticed: when its promotion was noticed, ISO 8601.
        wanted: what it must have.
    """
    label = f"{version.name}/{version.version}"
    if wanted.two_people:
        if DIGEST_TAG not in version.tags:
            return "no ladder made it, so that nobody can sign for it"
        if doubt := doubt_of_people(registry, registry.reference(str(version.name), str(version.version))):
            return doubt
    if wanted.reason_minutes is None:
        return ""
    until = datetime.fromisoformat(noticed) + timedelta(minutes=wanted.reason_minutes)
    return _doubt_of_reason(registry, version, label, until)


def _doubt_of_reason(registry: Registry, version: ModelVersion, label: str, until: datetime) -> str:
    """That nobody says why; who says so in time, in the tag of the version, is written into the history."""
    records = history(registry, str(version.name), with_approvals=True)
    newest, *earlier = (record for record in records if record.version == str(version.version))
    if newest.how != IN_MLFLOW or newest.why:
        return ""  # a command keeps its reason, and so does an approval since
    reason = version.tags.get(REASON_TAG, "").strip()
    told_before = reason in {record.why for record in earlier}
    if datetime.now(UTC) > until:
        return f"nobody gave a reason by {until:%Y-%m-%d %H:%M} UTC: sign one by `rlhf approve {label} --why`"
    if not reason or told_before:
        return f"it waits until {until:%Y-%m-%d %H:%M} UTC for its reason, the tag {REASON_TAG} of the version"
    open_ledger(registry).tag_run(newest.run_id, {"why": reason})
    state_tags(registry, newest.run_id)
    return ""
