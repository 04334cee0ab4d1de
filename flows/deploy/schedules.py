"""Schedules as configurations write them: cron, an ISO 8601 duration or an RRULE; each must come true some day."""

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta

from prefect.client.schemas.schedules import construct_schedule
from prefect.schedules import Cron, Interval, RRule, Schedule
from prefect.server.schemas import schedules as served
from pydantic import TypeAdapter, ValidationError

from flows.config.deploy import DeployConfig
from flows.config.errors import InputError

CRON_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
"""Prefect takes a sixth as seconds, which others write first; 3 on Mondays would be the 3rd of a month."""

OF_NO_FIXED_LENGTH = re.compile(r"P[^T]*\d[YM]")
"""A duration of months or years, which Prefect would take for 30 or 365 days each."""


def parse_schedules(settings: DeployConfig, ladder: str | None = None) -> Mapping[str, Schedule]:
    """The schedules of a configuration, by flow.

    Args:
        settings: with the texts and their time zone.
        ladder: replaces that of the ladder.

    Raises:
        InputError: as `parse_schedule`.
    """
    texts = settings.schedules if ladder is None else {**settings.schedules, "ladder": ladder}
    return {flow: parse_schedule(text, settings.timezone, flow) for flow, text in texts.items()}


def parse_schedule(text: str, timezone: str, flow: str) -> Schedule:
    """A schedule from cron, an ISO 8601 duration or an RRULE.

    Raises:
        InputError: naming the flow and the ways to write one, if it is none or no date meets it.
    """
    try:
        schedule = _parsed(text, timezone)
        if not _has_a_date(schedule):
            raise ValueError("no date to come meets it")
    except ValueError as error:
        raise InputError(
            f"deploy.schedules.{flow} '{text}': {str(error).splitlines()[0]}; write cron (0 3 * * 1), an interval "
            "(PT6H) or an RRULE (FREQ=WEEKLY;BYDAY=MO)"
        ) from None
    return schedule


def _parsed(text: str, timezone: str) -> Schedule:
    if "FREQ=" in text.upper():
        return RRule(text, timezone=timezone)
    if text.startswith("P"):
        return Interval(_duration(text), timezone=timezone)
    if len(text.split()) > len(CRON_FIELDS):
        raise ValueError(f"has {len(text.split())} fields, and cron has {len(CRON_FIELDS)}: {', '.join(CRON_FIELDS)}")
    return Cron(text, timezone=timezone)


def _duration(text: str) -> timedelta:
    if OF_NO_FIXED_LENGTH.match(text):
        raise ValueError(
            "months and years have no fixed length; as cron, 0 3 1 * * is every month and 0 3 1 1 * every year"
        )
    try:
        duration = TypeAdapter(timedelta).validate_python(text)
    except ValidationError:
        raise ValueError("is no ISO 8601 duration") from None
    if duration <= timedelta(0):
        raise ValueError("is not longer than nothing")
    return duration


def _has_a_date(schedule: Schedule) -> bool:
    """Whether Prefect's server, which works with a class of its own, would ever start a run."""
    written = construct_schedule(
        interval=schedule.interval,
        anchor_date=schedule.anchor_date if schedule.interval else None,
        cron=schedule.cron,
        rrule=schedule.rrule,
        timezone=schedule.timezone,
    )
    kind = getattr(served, type(written).__name__)
    try:
        return bool(asyncio.run(kind(**written.model_dump()).get_dates(1)))
    except Exception as error:
        raise ValueError(str(error)) from None
