"""A glance at the registry without MLflow's client, whose import takes longer than the rest of a short command.

A local database is read as it lies, read only; a server is asked by its REST API.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from flows.config.addresses import SQLITE, shown
from flows.config.errors import InputError
from flows.registry.names import project_of_model
from flows.registry.rest import MLFLOW_CLOSED, NoAnswer, NoEntry, ask

API = "/api/2.0/mlflow"

ANSWERS = frozenset({"registered_models", "model_version", "experiment", "runs", "next_page_token", "error_code"})
"""What MLflow's answers to our questions hold; one that found nothing is empty."""


class AliasedVersion(NamedTuple):
    """A version that holds an alias; `created` in seconds since the epoch."""

    name: str
    version: str
    alias: str
    created: float
    tags: Mapping[str, str]

    @property
    def label(self) -> str:
        """The version as people write it: `name/version`."""
        return f"{self.name}/{self.version}"


class SeenRun(NamedTuple):
    """A run; times in seconds since the epoch, None for the end of one that goes on."""

    run_id: str
    name: str
    status: str
    started: float
    ended: float | None
    tags: Mapping[str, str]


class Glance(Protocol):
    """What can be seen of a registry."""

    def aliased(self, project: str) -> list[AliasedVersion]:
        """The versions of the models of a project that hold an alias."""

    def runs(self, experiment: str, tag: str, value: str = "%", *, newest: bool = True, most: int = 1) -> list[SeenRun]:
        """Runs of an experiment with a tag like a value, the newest or the oldest first; none without experiment."""


def glance() -> Glance:
    """The registry that the environment names.

    Raises:
        InputError: if there is none yet, or it is neither a local database nor a server.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        if not path.is_file():
            raise InputError(f"nothing is registered: there is no {path} yet; climb first with `rlhf run`")
        return _Database(path)
    if uri.startswith("http"):
        return _Server(uri.rstrip("/"))
    raise InputError(f"MLFLOW_TRACKING_URI {shown(uri)}: is neither a local database nor a server; name one of these")


class _Database:
    def __init__(self, path: Path) -> None:
        self.path = path

    def aliased(self, project: str) -> list[AliasedVersion]:
        with self._rows() as database:
            query = (
                "SELECT name, version, alias, creation_time FROM registered_model_aliases JOIN model_versions "
                "USING (name, version) WHERE name LIKE ? ORDER BY name, version"
            )
            found = database.execute(query, (f"{project}-%",)).fetchall()
            tags = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
            return [
                AliasedVersion(name, str(version), alias, made / 1000, dict(database.execute(tags, (name, version))))
                for name, version, alias, made in found
                if project_of_model(name) == project  # and not of one whose name begins with this one's
            ]

    def runs(self, experiment: str, tag: str, value: str = "%", *, newest: bool = True, most: int = 1) -> list[SeenRun]:
        query = (
            "SELECT run_uuid, runs.name, status, start_time, end_time FROM runs JOIN experiments USING (experiment_id) "
            "JOIN tags USING (run_uuid) WHERE experiments.name = ? AND key = ? AND value LIKE ? AND "
            "runs.lifecycle_stage = 'active' ORDER BY start_time * ? LIMIT ?"
        )
        wanted = (experiment, tag, value, -1 if newest else 1, most)
        with self._rows() as database:
            return [
                SeenRun(
                    run_id,
                    name,
                    status,
                    start / 1000,
                    end and end / 1000,
                    dict(database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,))),
                )
                for run_id, name, status, start, end in database.execute(query, wanted).fetchall()
            ]

    @contextlib.contextmanager
    def _rows(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            try:
                yield database
            except sqlite3.DatabaseError as error:
                reason = f"is damaged, or MLflow's of another version ({error})"
                raise InputError(f"{self.path} {reason}: put its backup in its place, or try `rlhf history`") from None


class _Server:
    def __init__(self, address: str) -> None:
        self.address = address

    def aliased(self, project: str) -> list[AliasedVersion]:
        found = self._ask("GET", "registered-models/search", filter=f"name LIKE '{project}-%'", max_results=1000)
        versions = []
        for model in found.get("registered_models", ()):
            for item in model.get("aliases", ()) if project_of_model(model["name"]) == project else ():
                asked = self._ask("GET", "model-versions/get", name=model["name"], version=item["version"])
                tags = {tag["key"]: tag.get("value", "") for tag in asked["model_version"].get("tags", ())}
                made = int(asked["model_version"]["creation_timestamp"]) / 1000
                versions.append(AliasedVersion(model["name"], str(item["version"]), item["alias"], made, tags))
        return versions

    def runs(self, experiment: str, tag: str, value: str = "%", *, newest: bool = True, most: int = 1) -> list[SeenRun]:
        known = self._ask("GET", "experiments/get-by-name", experiment_name=experiment)
        if "experiment" not in known:
            return []
        found = self._ask(
            "POST",
            "runs/search",
            experiment_ids=[known["experiment"]["experiment_id"]],
            filter=f"tags.`{tag}` LIKE '{value}'",
            order_by=[f"attributes.start_time {'DESC' if newest else 'ASC'}"],
            max_results=most,
        )
        return [_seen(run) for run in found.get("runs", ())]

    def _ask(self, method: str, path: str, **fields: Any) -> dict[str, Any]:
        account = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        given: dict[str, Any] = {"params": fields} if method == "GET" else {"json": fields}
        try:
            content = ask(
                method,
                f"{self.address}{API}/{path}",
                auth=(account[0], account[1]) if account[0] and account[1] else None,
                headers={"Authorization": f"Bearer {token}"} if token else None,
                **given,
            )
        except NoEntry:
            raise InputError(MLFLOW_CLOSED.format(address=shown(self.address))) from None
        except NoAnswer as error:
            raise InputError(
                f"no MLflow answers at {shown(self.address)} ({error}): start it, or mend the address"
            ) from None
        if not isinstance(content, dict) or (content and not ANSWERS.intersection(content)):
            raise InputError(f"what answers at {shown(self.address)} is no MLflow: mend the address")
        return content


def _seen(run: Mapping[str, Any]) -> SeenRun:
    info = run["info"]
    end = info.get("end_time")
    return SeenRun(
        info["run_id"],
        info.get("run_name", ""),
        info["status"],
        int(info["start_time"]) / 1000,
        int(end) / 1000 if end else None,
        {tag["key"]: tag.get("value", "") for tag in run["data"].get("tags", ())},
    )
