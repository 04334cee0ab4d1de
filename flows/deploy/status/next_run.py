"""The run of a project that Prefect starts next, asked of its API without Prefect's client."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

from flows.config.addresses import shown
from flows.registry.rest import NoAnswer, NoEntry, ask

NAMES = "PREFECT_API_AUTH_STRING, or PREFECT_API_KEY"


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
        found = ask(
            "POST",
            f"{address.rstrip('/')}/flow_runs/filter",
            json=asked,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            auth=httpx.BasicAuth(*account.split(":", 1)) if account and ":" in account else None,
        )
        scheduled = [_read(run) for run in found]
    except NoEntry:
        return None, [f"the Prefect server at {shown(address)} lets nobody in without a name: set {NAMES}"]
    except NoAnswer as error:
        return None, [f"no Prefect server answers at {shown(address)} ({error})"]
    except (TypeError, KeyError):
        return None, [f"what answers at {shown(address)} is no Prefect server: mend PREFECT_API_URL"]
    if not scheduled:
        return None, []
    [run] = scheduled
    late = run.state == "Late"
    return run, [f"no worker takes {run.flow_run}, which was to start at {run.when} UTC"] if late else []


def _read(run: Mapping[str, Any]) -> NextRun:
    when = str(run["expected_start_time"])[:16].replace("T", " ")
    return NextRun(str(run["name"]), when, str(run["state_name"]))
