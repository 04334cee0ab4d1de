"""The run of a project that Prefect starts next, asked of its API without Prefect's client."""

import os
from typing import Any, NamedTuple

import httpx

from flows.config.addresses import shown

ANSWER_SECONDS = 5.0
"""How long the server may take to answer."""


class NextRun(NamedTuple):
    """A run that is scheduled; `when` in UTC."""

    flow_run: str
    when: str
    state: str


def next_run(project: str) -> tuple[NextRun | None, list[str]]:
    """The next run, and what is not well: a server that does not answer, a run that nobody takes.

    Neither where the environment names no server.
    """
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        return None, []
    wanted = {"tags": {"all_": [project]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    asked: dict[str, Any] = {"flow_runs": wanted, "sort": "EXPECTED_START_TIME_ASC", "limit": 1}
    key, account = os.environ.get("PREFECT_API_KEY"), os.environ.get("PREFECT_API_AUTH_STRING")
    try:
        answer = httpx.post(
            f"{address.rstrip('/')}/flow_runs/filter",
            json=asked,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            auth=httpx.BasicAuth(*account.split(":", 1)) if account and ":" in account else None,
            timeout=ANSWER_SECONDS,
        )
        answer.raise_for_status()
        found = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        return None, [f"no Prefect server answers at {shown(address)} ({type(error).__name__})"]
    if not found:
        return None, []
    run = found[0]
    when = str(run["expected_start_time"])[:16].replace("T", " ")
    scheduled = NextRun(str(run["name"]), when, str(run["state_name"]))
    late = scheduled.state == "Late"
    return scheduled, [f"no worker takes {scheduled.flow_run}, which was to start at {when} UTC"] if late else []
