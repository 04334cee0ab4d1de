"""Schedules as they are written: what each means, and that none is taken which no date meets."""

from datetime import timedelta

import pytest

from flows.config.deploy import DeployConfig
from flows.config.errors import InputError
from flows.deploy.schedules import parse_schedule, parse_schedules


def test_a_schedule_is_cron_an_interval_or_an_rrule() -> None:
    assert parse_schedule("0 3 * * 1", "Europe/Berlin", "ladder").cron == "0 3 * * 1"
    assert parse_schedule("PT6H", "UTC", "ladder").interval == timedelta(hours=6)
    assert parse_schedule("P1W", "UTC", "ladder").interval == timedelta(days=7)
    assert parse_schedule("P1DT1M", "UTC", "ladder").interval == timedelta(days=1, minutes=1)
    weekly = parse_schedule("FREQ=WEEKLY;BYDAY=MO", "Europe/Berlin", "ladder")
    assert (weekly.rrule, weekly.timezone) == ("FREQ=WEEKLY;BYDAY=MO", "Europe/Berlin")


@pytest.mark.parametrize("text", ["", "monday", "99 * * * *", "P", "PT0S", "-P1D", "FREQ=SOMETIMES", "0 3 * *"])
def test_what_is_no_schedule_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(InputError, match=r"deploy\.schedules\.policy '.*': .*; write cron"):
        parse_schedule(text, "UTC", "policy")


@pytest.mark.parametrize("text", ["P1M", "P1Y", "P2Y6M", "P1MT1H"])
def test_months_and_years_are_no_interval(text: str) -> None:
    with pytest.raises(
        InputError, match=r"have no fixed length; as cron, 0 3 1 \* \* is every month and 0 3 1 1 \* every year"
    ):
        parse_schedule(text, "UTC", "ladder")


def test_cron_with_seconds_is_refused_as_nobody_agrees_where_they_stand() -> None:
    with pytest.raises(InputError, match=r"'0 0 3 \* \* 1': has 6 fields, and cron has 5: minute, hour"):
        parse_schedule("0 0 3 * * 1", "UTC", "ladder")
    assert parse_schedule("@daily", "UTC", "ladder").cron == "@daily"


@pytest.mark.parametrize("text", ["0 3 31 2 *", "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30"])
def test_a_schedule_that_no_date_meets_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"deploy\.schedules\.sft "):
        parse_schedule(text, "UTC", "sft")


def test_the_ladder_may_be_given_another_than_the_file_says() -> None:
    settings = DeployConfig(schedules={"ladder": "nonsense", "ingest": "PT6H"})
    schedules = parse_schedules(settings, "PT1H")
    assert {flow: schedule.interval for flow, schedule in schedules.items()} == {
        "ladder": timedelta(hours=1),
        "ingest": timedelta(hours=6),
    }
