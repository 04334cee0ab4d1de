"""Approvals: another person signs for a version, so that it may be started from as champion."""

from flows.attestation.keys import own_key
from flows.attestation.statement import APPROVAL, PERSON
from flows.promotion.history import APPROVE, open_ledger
from flows.promotion.stated import RECORDED
from flows.registry.approvals import people_for, require_person
from flows.registry.client import Registry
from flows.registry.names import APPROVED_TAG
from flows.registry.references import ModelRef
from flows.registry.statements import holds_run, holds_versions, state, version_subject


def approve(registry: Registry, ref: ModelRef, *, by: str, why: str) -> list[str]:
    """Sign for a version by the own key of the person who types; a record of it stands in the history.

    Args:
        registry: of the project.
        ref: the version.
        by: who does it.
        why: the reason, may be empty.

    Returns:
        Names of all who signed for it by now.

    Raises:
        InputError: if the person has no key that the pipeline introduced, or the files of the version are not those
            that were registered.
    """
    name, own = require_person(registry), own_key()
    assert own is not None  # or there were no name
    registry.verify(ref)
    ledger = open_ledger(registry)
    tags = {"model": ref.name, "version": ref.version, "from": "", "by": by, "why": why, "how": APPROVE}
    run_id = ledger.start_run(f"{ref.label} approved", tags={**tags, "forced": "false"})
    try:
        ledger.note_end(run_id, "FINISHED")
        people = list(dict.fromkeys([*people_for(registry, ref), name]))
        registry.tag_versions([ref], {APPROVED_TAG: ", ".join(people)})
        run = ledger.client.get_run(run_id)
        predicate = {"run": run_id, PERSON: own.public_key.keyid, **{field: run.data.tags[field] for field in RECORDED}}
        holds = {**holds_versions(registry, [ref], "tags"), **holds_run(ledger, run_id)}
        state(registry, APPROVAL, [version_subject(ref)], predicate, holds, beside=[own])
    except BaseException:
        ledger.end_run(run_id, "FAILED")
        raise
    ledger.end_as_noted(run)
    return people
