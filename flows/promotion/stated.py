"""The statement that a move of the alias `champion` leaves: who, when, from what and why."""

from flows.attestation.keys import own_key
from flows.attestation.statement import PROMOTION
from flows.registry.client import Registry
from flows.registry.names import CHAMPION, ENDS_TAG
from flows.registry.statements import holds_alias, holds_run, state, version_subject

BY_HAND = ("rlhf promote", "rlhf rollback")
"""Moves by a person who types, so that their own key signs, where they have one."""

RECORDED = ("model", "version", "from", "by", "why", "how", "forced")


def conclude_move(registry: Registry, ledger: Registry, run_id: str) -> None:
    """End the record of a move that took place, with a statement of it.

    One that was made in MLflow's own page is signed by the pipeline alone, with what could be seen of it.

    Args:
        registry: of the project, whose log it is.
        ledger: where the record is.
        run_id: the record.

    Raises:
        InputError: if the person's own key is named and cannot be read.
    """
    ledger.tag_run(run_id, {ENDS_TAG: "FINISHED"})
    tags = ledger.client.get_run(run_id).data.tags
    ref = registry.reference(tags["model"], tags["version"])
    own = own_key() if tags["how"] in BY_HAND and registry.audit.sign else None
    holds = {**holds_alias([ref], CHAMPION), **holds_run(ledger, run_id, status="FINISHED")}
    predicate = {"alias": CHAMPION, "run": run_id, **{name: tags[name] for name in RECORDED}}
    signers = [] if own is None else [own]
    state(registry, PROMOTION, [version_subject(ref)], predicate, holds, beside=signers)
    ledger.end_run(run_id, "FINISHED")
