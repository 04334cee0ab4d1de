"""What a climb may take in time and money, from `compute`."""

from math import inf
from typing import Any

import pytest
from pydantic import ValidationError

from flows.config.compute import ComputeConfig


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, inf),
        ({"price_per_hour": 2.0}, inf),
        ({"max_hours": 1.5}, 5400),
        ({"max_cost": 3.0, "price_per_hour": 2.0}, 5400),
        ({"max_hours": 1.0, "max_cost": 3.0, "price_per_hour": 2.0}, 3600),
        ({"max_hours": 2.0, "max_cost": 3.0, "price_per_hour": 2.0}, 5400),
    ],
)
def test_what_is_spent_first_ends_a_climb(fields: dict[str, Any], seconds: float) -> None:
    assert ComputeConfig.model_validate(fields).budget_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("fields", "mend"),
    [
        ({"max_cost": 3.0}, "set price_per_hour"),
        ({"max_cost": 3.0, "price_per_hour": 0}, "set price_per_hour"),
        ({"max_hours": 3.0, "checkpoint_seconds": None}, "set checkpoint_seconds"),
    ],
)
def test_a_budget_that_could_not_be_held_is_refused(fields: dict[str, Any], mend: str) -> None:
    with pytest.raises(ValidationError, match=mend):
        ComputeConfig.model_validate(fields)
