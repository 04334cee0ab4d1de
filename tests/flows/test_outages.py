"""That a server is away is said, and never taken for 'it is not there'; and it is waited for once."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE
from prefect import task
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed

from flows.config.errors import InputError
from flows.config.freshness import FreshnessConfig
from flows.lineage.archive import Archive
from flows.outages import gave_up, unless_away
from flows.pipeline.climb_page.climb import find_climb
from flows.pipeline.freshness import overdue_now
from flows.registry.artifacts import location_of
from flows.registry.client import Registry, open_registry
from flows.registry.learned_prompts import tables_of
from flows.registry.references import ModelRef
from flows.tasks import outage, retry_infrastructure
from tests.flows.toys import Toys

REF = ModelRef(
    name="toy-sft", version="1", model_id="m-1", uri="models:/toy-sft/1", digest="d", run_id="0" * 32
)  # fmt: skip


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Registry:
    """A registry whose server is away, with a client that asks once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return Registry(MlflowClient(uri), "1", tmp_path)


ASKED: dict[str, Callable[[Registry], object]] = {
    "a version": lambda registry: registry.reference("toy-sft", "1"),
    "a champion": lambda registry: registry.champion("toy-sft"),
    "the data of champions": lambda registry: registry.champion_data("toy"),
    "an alias": lambda registry: registry.pin("toy-sft@champion"),
    "whether a version is intact": lambda registry: registry.intact(REF),
    "a document": lambda registry: registry.document(REF.run_id, "x.json"),
    "a run": lambda registry: registry.unfinished(REF.run_id),
    "the tables of a version": lambda registry: tables_of(REF, registry),
    "a version of the archive": lambda registry: Archive(registry.client).find("toy-sft/1"),
    "a training": lambda registry: Archive(registry.client).training(REF.run_id),
    "tags": lambda registry: Archive(registry.client).tags(REF.run_id),
    "a file": lambda registry: Archive(registry.client).document(REF.run_id, "x.json"),
    "a logged model": lambda registry: location_of(registry.client, REF.model_id),
    "what is overdue": lambda registry: overdue_now(registry.client, "toy", FreshnessConfig(champion_days=1)),
    "a climb": lambda registry: find_climb(registry.client, REF.run_id, "toy"),
    "an experiment": lambda registry: open_registry("toy", registry.storage),
}


@pytest.mark.parametrize("asked", ASKED)
def test_what_a_server_that_is_away_was_asked_is_not_taken_for_absent(asked: str, gone: Registry) -> None:
    with pytest.raises(MlflowException) as error:
        ASKED[asked](gone)
    assert gave_up(error.value)
    assert "did not answer in time" in outage(error.value)


def test_what_the_registry_has_not_is_absent(storage: Path) -> None:
    registry = Toys("toy", storage).registry
    assert registry.champion("toy-sft") is None and not registry.intact(REF)
    assert location_of(registry.client, "m-1") is None and registry.document(REF.run_id, "x.json") is None
    for asked in ("a version", "an alias", "a version of the archive", "a climb"):
        with pytest.raises(InputError):
            ASKED[asked](registry)


def test_what_a_client_has_waited_for_is_not_tried_again_by_prefect(gone: Registry) -> None:
    work, run = task(lambda: None), TaskRun(task_key="work", dynamic_key="0", flow_run_id=uuid4())
    with pytest.raises(MlflowException) as error:
        gone.client.get_run(REF.run_id)
    assert not retry_infrastructure(work, run, Failed(data=error.value))
    assert retry_infrastructure(work, run, Failed(data=MlflowException("locked", TEMPORARILY_UNAVAILABLE)))
    with pytest.raises(MlflowException), unless_away():
        raise MlflowException("locked", TEMPORARILY_UNAVAILABLE)
    with unless_away():
        raise MlflowException("there is none", RESOURCE_DOES_NOT_EXIST)


def test_a_server_that_was_given_up_is_not_asked_how_its_run_ends(
    gone: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MlflowException) as error:
        gone.client.get_run(REF.run_id)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # four seconds
    began = time.monotonic()
    gone.try_to_end(REF.run_id, "FAILED", {}, error.value)
    assert time.monotonic() - began < 2
