"""Promotions between real servers: each one starts the policy once, whoever is down and whatever is killed."""

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from mlflow import MlflowClient

from flows.deploy.automations import ignore_promotions, start_policy_on_promotion
from flows.promotion.webhook import find_webhook, signature

pytestmark = pytest.mark.slow

Project = Servers = Any
"""Of this folder's conftest, which cannot be imported."""
Receiving = WaitFor = Callable[..., Any]


def test_each_promotion_starts_the_policy_once_with_its_version(
    project: Project, servers: Servers, receiving: Receiving
) -> None:
    with receiving():  # which would look by itself only after ten minutes: MLflow's webhook makes it look
        project.promote(1)
        project.wait_for_starts("1")
        project.promote(1)  # MLflow sends a delivery again
        project.promote(2)
        project.wait_for_starts("1", "2")
        project.promote(1)
        project.wait_for_starts("1", "2", "1")
    kept = MlflowClient(tracking_uri=servers.mlflow)
    experiment = kept.get_experiment_by_name(f"{project.name}-promotions")
    moves = kept.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    said = [(move.data.tags["from"], move.data.tags["version"], move.data.tags["how"]) for move in moves]
    assert said == [("", "1", "MLflow"), ("1", "2", "MLflow"), ("2", "1", "MLflow")]
    (first, *_) = project.runs()
    assert first.parameters["config"] == {"project": project.name}  # the deployment's own
    assert first.parameters["promoted"] is True  # so that it ends where another one is champion by then


def test_what_was_promoted_while_the_receiver_was_down_is_caught_up_once(
    project: Project, receiving: Receiving
) -> None:
    project.promote(2)
    with receiving():
        project.wait_for_starts("2")
    with receiving():
        project.promote(1)
        project.wait_for_starts("2", "1")


KILL = """
import os, signal
def kill(): os.kill(os.getpid(), signal.SIGKILL)
"""
DELIVERED = """
from flows.promotion.outbox import Outbox
remember = Outbox.is_new
def is_new(*given, **more):
    remember(*given, **more)
    kill()
Outbox.is_new = is_new
"""
NOTICED = """
from flows.promotion import reconcile
reconcile.send = lambda *given: kill()
"""
SENT = """
from flows.promotion import reconcile
send = reconcile.send
def send_and_die(*given):
    send(*given)
    kill()
reconcile.send = send_and_die
"""
CONFIRMED = """
from flows.promotion.outbox import Outbox
Outbox.mark = lambda *given: kill()
"""


def test_a_receiver_killed_between_any_two_steps_starts_the_policy_once(
    project: Project, receiving: Receiving, wait_for: WaitFor
) -> None:
    with receiving(every=1.0, killed=KILL + DELIVERED) as killed:
        wait_for(lambda: killed.health()["looked"], "look")
        project.promote(1)
        assert killed.process.wait(240) == -signal.SIGKILL
    for step in (NOTICED, SENT, CONFIRMED):
        with receiving(every=1.0, killed=KILL + step) as killed:
            assert killed.process.wait(240) == -signal.SIGKILL
    with receiving(every=1.0) as receiver:
        wait_for(lambda: not receiver.health()["open"], "confirmation of all events")
        project.promote(2)
        project.wait_for_starts("1", "2")


def test_a_version_whose_gates_have_not_passed_is_held_until_they_have(
    project: Project, servers: Servers, receiving: Receiving, wait_for: WaitFor
) -> None:
    registry, model = servers.registry, project.reward_model
    registry.set_model_version_tag(model, "1", "gate.status", "failed")
    registry.delete_model_version_tag(model, "2", "gate.status")
    with receiving(every=1.0) as receiver:
        project.promote(2)
        wait_for(lambda: receiver.health()["held"], "held promotion")
        assert receiver.health()["held"] == {f"{model}/2": "it has no gate.status: no gate has judged it"}
        project.promote(1)
        wait_for(lambda: f"{model}/1" in receiver.health()["held"], "held promotion")
        assert receiver.health()["held"] == {f"{model}/1": "its gate.status is 'failed'"}
        assert registry.get_model_version(model, "1").tags["promotion.held"] == "its gate.status is 'failed'"
        assert project.started() == []
        registry.set_model_version_tag(model, "1", "gate.status", "passed")  # judged again
        project.wait_for_starts("1")
        assert "promotion.held" not in registry.get_model_version(model, "1").tags
        assert receiver.health()["held"] == {}


def deliver(address: str, secret: str, *, identity: str, at: float, body: bytes, signed: str | None = None) -> int:
    """The status that the receiver answers to a delivery."""
    timestamp = str(int(at))
    headers = {
        "X-MLflow-Delivery-Id": identity,
        "X-MLflow-Timestamp": timestamp,
        "X-MLflow-Signature": signed or signature(secret, identity, timestamp, body),
    }
    try:
        request = urllib.request.Request(f"{address}/mlflow", data=body, headers=headers)
        return int(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code


def test_only_genuine_deliveries_are_taken_and_each_once_even_after_a_restart(receiving: Receiving) -> None:
    alias = {"name": "x-reward-model", "alias": "champion", "version": "1"}
    body = json.dumps({"entity": "model_version_alias", "action": "created", "data": alias}).encode()
    now = time.time()
    with receiving() as receiver:
        path = receiver.folder / "webhook.secret"
        assert path.stat().st_mode & 0o777 == 0o600
        address, secret = receiver.address, path.read_text()
        assert deliver(address, "guessed", identity="a", at=now, body=body) == 401
        assert deliver(address, secret, identity="a", at=now, body=body, signed="v1,") == 401
        assert deliver(address, secret, identity="a", at=now - 1000, body=body) == 401
        assert deliver(address, secret, identity="a", at=now, body=b" " * 70_000) == 413
        assert deliver(address, secret, identity="a", at=now, body=body) == 202
        assert deliver(address, secret, identity="a", at=now, body=body) == 409
    with receiving() as receiver:
        assert deliver(receiver.address, secret, identity="a", at=now, body=body) == 409
        assert deliver(receiver.address, secret, identity="b", at=now, body=body) == 202


def test_the_webhook_is_registered_again_after_somebody_removed_it(
    servers: Servers, receiving: Receiving, wait_for: WaitFor
) -> None:
    with receiving(every=0.5) as receiver:
        registered = find_webhook(servers.registry)
        assert registered is not None and registered.url == f"{receiver.address}/mlflow"
        servers.registry.delete_webhook(registered.webhook_id)
        again = wait_for(lambda: find_webhook(servers.registry), "webhook")
        assert servers.registry.test_webhook(again.webhook_id).success  # with the secret that the receiver knows


def test_a_secret_that_was_lost_is_replaced_on_both_sides(project: Project, receiving: Receiving) -> None:
    with receiving() as receiver:
        (receiver.folder / "webhook.secret").unlink()
    with receiving():
        time.sleep(1.5)  # MLflow keeps its list of webhooks for a second here
        project.promote(2)
        project.wait_for_starts("2")


def test_a_project_has_one_automation_which_stays_paused_and_can_be_taken_back(
    project: Project, servers: Servers
) -> None:
    name = f"rlhf-policy/{project.name} on promotion"
    with servers.orchestrator() as client:
        (made,) = client.read_automations_by_name(name)
        client.pause_automation(made.id)
        start_policy_on_promotion(project.name)
        (again,) = client.read_automations_by_name(name)
        assert again.id == made.id and not again.enabled
        ignore_promotions(project.name)
        assert client.read_automations_by_name(name) == []
