"""The part of a configuration file on how its flows are deployed; no climb sees it, no result depends on it."""

import difflib
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr, ValidationError, WithJsonSchema

from rlhf_core.config import Frozen
from rlhf_core.config.units import Rounds, unit

Deployable = Literal["ladder", "ingest", "sft", "reward_model", "policy", "evaluate"]


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        close = difflib.get_close_matches(name, available_timezones(), n=1)
        mend = f"did you mean {close[0]}?" if close else "name one such as Europe/Berlin"
        raise ValueError(f"'{name}' is no time zone; {mend}")
    return name


def _hidden(value: Any) -> Any:
    """Also from what is said of a mistake in it."""
    return SecretStr(value) if isinstance(value, str) else value


def _address(secret: SecretStr) -> SecretStr:
    try:
        HttpUrl(secret.get_secret_value())
    except ValidationError:
        raise ValueError("is no address; write one that begins with http:// or https://") from None
    return secret


SecretAddress = Annotated[
    SecretStr,
    AfterValidator(_address),
    BeforeValidator(_hidden),
    WithJsonSchema({"type": "string", "format": "uri", "writeOnly": True}),
]


class AlertsConfig(Frozen):
    """Who is told when a run fails, a gate fails or too many rows are quarantined."""

    webhook: SecretAddress | None = None
    """Address that gets a POST with JSON; None tells nobody. Who knows it may post there, so it is not shown."""


class DeployConfig(Frozen):
    """How the flows of a project are deployed."""

    schedules: dict[Deployable, str] = Field(default_factory=dict)
    """By flow: cron (`0 3 * * 1`), an interval (`PT6H`), or an RRULE (`FREQ=WEEKLY;BYDAY=MO`)."""
    iterate: Rounds = Field(1, ge=1)
    """Rounds of the ladder; each after the first retrains on labelled answers of the newest policy."""
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """Where the clock of the schedules stands, such as Europe/Berlin."""
    gpus: Annotated[int, unit("runs")] = Field(1, ge=1)
    """Runs that the queue for training lets through at once: one for each GPU behind it."""
    alerts: AlertsConfig = AlertsConfig()
    """Who is told of failures."""
    on_promotion: bool = True
    """Whether a reward model that becomes champion starts the policy with it; `rlhf receive` must run for that."""
