"""Prefect automations: a promoted reward model starts the policy."""

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.events.schemas.events import ResourceSpecification

from flows.promotion.reconcile import PROMOTED, resource_of
from flows.registry.names import registered_name

PROMOTED_VERSION = {
    "__prefect_kind": "jinja",
    "template": "{{ event.payload.name }}/{{ event.payload.version }}",
}


def start_policy_on_promotion(project: str) -> None:
    """Let a promoted reward model start the project's policy deployment, which must exist.

    Raises:
        ObjectNotFound: if there is no deployment `rlhf-policy/<project>`.
    """
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"rlhf-policy/{project}")
        parameters = {"reward_model": PROMOTED_VERSION, "promoted": True}
        reward_model = registered_name(project, "reward-model")
        automation = AutomationCore(
            name=_name(project),
            description=f"Trains a policy with the {reward_model} that became champion.",
            trigger=EventTrigger(
                expect={PROMOTED},
                match=ResourceSpecification({"prefect.resource.id": resource_of(reward_model)}),
            ),
            actions=[RunDeployment(deployment_id=deployment.id, parameters=parameters)],
        )
        put_automation(client, automation)


def ignore_promotions(project: str) -> None:
    """Undo `start_policy_on_promotion`, if it was ever done."""
    with get_client(sync_client=True) as client:
        for automation in client.read_automations_by_name(_name(project)):
            client.delete_automation(automation.id)


def put_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Make the one automation of this name be as given; one that a person paused stays paused."""
    automations = client.read_automations_by_name(automation.name)
    if not automations:
        client.create_automation(automation)
        return
    existing, *doubles = automations
    whole = automation.model_dump(exclude={"owner_resource"}) | {"enabled": existing.enabled}  # defaults must be said
    client.update_automation(existing.id, AutomationCore.model_validate(whole))
    for double in doubles:
        client.delete_automation(double.id)


def _name(project: str) -> str:
    return f"rlhf-policy/{project} on promotion"
