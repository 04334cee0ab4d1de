"""Promotions from the registry to Prefect: each becomes one event, whatever dies in between.

Why nothing is lost and nothing is started twice: docs/decisions/0012-promotions-are-noticed-then-passed-on.md.
"""

import functools
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.filters import EventFilter, EventIDFilter
from prefect.events.schemas.events import Event, Resource

from flows.config.errors import InputError
from flows.config.lineage import OpenLineageConfig
from flows.promotion.history import IN_MLFLOW, history, recorded_promotion
from flows.promotion.outbox import Outbox, PendingPromotion
from flows.promotion.wanted import NOTHING_MORE, Wanted, doubt_of_person
from flows.registry.client import Registry, open_registry
from flows.registry.names import CHAMPION, DIGEST_TAG, HELD_TAG, PASSED, PROMOTABLE, STATUS_TAG, project_of_model
from flows.registry.tags import withdrawn_marks

PROMOTED = "rlhf.model.promoted"

MODELS_PER_PAGE = 1000

HOUR = 3600.0


log = logging.getLogger(__name__)


def resource_of(model: str) -> str:
    """Prefect's resource id of a registered model."""
    return f"rlhf.model.{model}"


def detect(
    client: MlflowClient,
    outbox: Outbox,
    storage: Path,
    told: OpenLineageConfig | None = None,
    wanted: Wanted = NOTHING_MORE,
) -> None:
    """Compare the registry's champions with the outbox, and remember those that are new.

    The registry alone is asked, so that a promotion counts the same however the receiver came to look. One whose gates
    have not passed, whose files are not those that were registered, or that lacks signatures or a reason, is held and
    tagged with what is the matter; it is released once all is well.

    Args:
        client: of the registry.
        outbox: what was noticed before.
        storage: folder of the receiver.
        told: where lineage events of those that MLflow's page made go.
        wanted: what a promotion must have besides.

    Raises:
        MlflowException: if the registry is away.
        InputError: after all others were looked at, if the history of a project cannot be written.
    """
    problems: list[str] = []
    for project, model, version in _champions(client):
        last = outbox.last(model)
        if last is not None and last.version == version and last.status != "held":
            continue
        try:
            registry = open_registry(project, storage)
            _notice(registry, outbox, project, client.get_model_version(model, version), told, wanted)
        except InputError as error:
            problems.append(f"{model}/{version}: {error}")
    if problems:
        raise InputError("; ".join(problems))


def _notice(
    registry: Registry,
    outbox: Outbox,
    project: str,
    details: ModelVersion,
    told: OpenLineageConfig | None,
    wanted: Wanted,
) -> None:
    """Remember a champion that is new, and release one that was held and is well by now."""
    model, version = str(details.name), str(details.version)
    last = outbox.last(model)
    is_new = last is None or last.version != version
    doubt = _doubt_of_gates(details)
    if last is None or is_new:
        previous = last.version if last else None
        _record(registry, model, version, previous, forced=bool(doubt), told=told)
    noticed = datetime.now(UTC).isoformat() if last is None or is_new else last.noticed
    look = f"{noticed} {time.time() // HOUR}" if not is_new else str(time.time_ns())
    known = DIGEST_TAG in details.tags
    reason = (
        doubt
        or (_doubt_of_files(project, registry.storage, model, version, look) if known else "")
        or doubt_of_person(registry, details, noticed, wanted)
    )
    _tag(registry.client, details, reason)
    if last is None or is_new:
        last = outbox.add(model, version, held=reason)
        log.info("%s became champion%s", last.label, f"; held, because {reason}" if reason else "")
    elif reason != last.reason and last.status == "held" and reason:
        outbox.hold(last, reason)
    if last.status == "held" and not reason:
        outbox.mark(last, "open")
        log.info("%s is no longer held", last.label)


def publish(outbox: Outbox) -> None:
    """Send the events of open promotions, the oldest first; those that Prefect has by now are done.

    Raises:
        httpx.HTTPError: if Prefect is away.
    """
    waiting = outbox.having("open")
    if not waiting:
        return
    with get_client(sync_client=True) as prefect:
        for promotion in waiting:
            if _has(prefect, promotion):
                outbox.mark(promotion, "done")
                log.info("%s: Prefect has its event", promotion.label)
            else:
                send(prefect, promotion)


def send(prefect: SyncPrefectClient, promotion: PendingPromotion) -> None:
    """Tell Prefect of a promotion; by the id of its event Prefect knows one that is sent again."""
    event = Event(
        id=UUID(promotion.event),
        event=PROMOTED,
        occurred=datetime.fromisoformat(promotion.noticed),
        resource=Resource({"prefect.resource.id": resource_of(promotion.model)}),
        payload={"name": promotion.model, "version": promotion.version, "alias": CHAMPION},
    )
    prefect.request("POST", "/events", json=[event.model_dump(mode="json")])


def _champions(client: MlflowClient) -> Iterator[tuple[str, str, str]]:
    """Project, name and version of every champion among the models of ladders."""
    token: str | None = None
    while True:
        page = client.search_registered_models(max_results=MODELS_PER_PAGE, page_token=token)
        for model in page:
            project = project_of_model(model.name, PROMOTABLE)
            if project is not None and CHAMPION in model.aliases:
                yield project, model.name, str(model.aliases[CHAMPION])
        token = page.token
        if not token:
            return


def _record(
    registry: Registry,
    model: str,
    version: str,
    previous: str | None,
    *,
    forced: bool,
    told: OpenLineageConfig | None,
) -> None:
    """Keep the move in the project's history, unless `rlhf promote` did; first, so that none in the outbox lacks."""
    moves = history(registry, model)
    if not moves or moves[0].version != version:
        with recorded_promotion(
            registry,
            model=model,
            version=version,
            previous=previous,
            by="unknown",
            why="",
            how=IN_MLFLOW,
            forced=forced,
            told=told,
        ):
            pass  # the alias has moved already


def _doubt_of_gates(version: ModelVersion) -> str:
    """What gates have against a version; empty if nothing. MLflow lets anybody set any alias on any version."""
    status = version.tags.get(STATUS_TAG)
    if said := withdrawn_marks(version.tags):
        return f"it was trained on {said[0]}"
    if status == PASSED:
        return ""
    return f"its {STATUS_TAG} is '{status}'" if status else f"it has no {STATUS_TAG}: no gate has judged it"


@functools.lru_cache(maxsize=1000)
def _doubt_of_files(project: str, storage: Path, model: str, version: str, look: str) -> str:
    """What is wrong with the files of a version, empty if nothing; each `look` reads all of them, once.

    Of a promotion that is held a look takes place every hour, of a new one always.
    """
    registry = open_registry(project, storage)
    try:
        registry.verify(registry.reference(model, version))
    except InputError as error:
        return str(error)
    return ""


def _tag(client: MlflowClient, version: ModelVersion, reason: str) -> None:
    """Say on the version's page why it is held, or that it no longer is."""
    if reason and version.tags.get(HELD_TAG) != reason:
        client.set_model_version_tag(version.name, version.version, HELD_TAG, reason)
    elif not reason and HELD_TAG in version.tags:
        client.delete_model_version_tag(version.name, version.version, HELD_TAG)


def _has(prefect: SyncPrefectClient, promotion: PendingPromotion) -> bool:
    page = prefect.read_events(EventFilter(id=EventIDFilter(id=[UUID(promotion.event)])), limit=1)
    return bool(page.events)
