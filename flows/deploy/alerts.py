"""Alerts: events of the pipeline, and the Prefect automation that posts them and failed runs to a webhook."""

import json
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from pydantic import SecretStr

from flows.tasks import GATE_FAILED, OVERDUE, QUARANTINE_EXCEEDED, project_tag

ALERTING = {"prefect.flow-run.Failed", "prefect.flow-run.Crashed", GATE_FAILED, QUARANTINE_EXCEEDED, OVERDUE}


FIELDS = {
    "event": "event.event",
    "resource": "event.resource.id",
    "flow_run": "flow_run.name",
    "message": "event.payload.validated_state.message",
    "details": "event.payload",
}
"""What is posted, as expressions of Prefect's templates."""


def set_alerts(project: str, webhook: SecretStr | None) -> None:
    """Let a webhook hear of a project's failed runs and events from now on; None ends that.

    One that a person paused in Prefect stays paused.
    Flow runs belong to a project by its tag, which the runs of its deployments have.
    """
    name = f"rlhf-alerts/{project}"
    with get_client(sync_client=True) as client:
        automations = client.read_automations_by_name(name)
        for earlier in automations:
            client.delete_automation(earlier.id)
        if webhook is None:
            return
        block = Webhook(url=webhook).save(name.replace("/", "-"), overwrite=True)
        assert isinstance(block, UUID)  # a coroutine only where a loop runs
        paused = any(not earlier.enabled for earlier in automations)
        client.create_automation(_automation(name, project, block).model_copy(update={"enabled": not paused}))


def _automation(name: str, project: str, webhook: UUID) -> AutomationCore:
    trigger = EventTrigger(
        expect=ALERTING,
        match_related=project_tag(project),
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
    )
    fields = [f"{json.dumps(key)}: {{{{ ({expression} or '') | tojson }}}}" for key, expression in FIELDS.items()]
    payload = f"{{{json.dumps('project')}: {json.dumps(project)}, {', '.join(fields)}}}"
    description = "Posts failed runs, failed gates, data refused, and what is overdue; made by `rlhf deploy`."
    action = CallWebhook(block_document_id=webhook, payload=payload)
    return AutomationCore(name=name, description=description, trigger=trigger, actions=[action])
