"""The statement that a move of the alias `champion` leaves: who, when, from what and why."""

from flows.attestation.keys import own_key
from flows.attestation.statement import PERSON, PROMOTION, Subject, digest_of
from flows.registry.client import Registry
from flows.registry.held import alias_address, held_version, plain
from flows.registry.names import CHAMPION, DIGEST_TAG
from flows.registry.statements import holds_run, state, version_subject

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
    ledger.note_end(run_id, "FINISHED")
    run = ledger.client.get_run(run_id)
    tags = run.data.tags
    label = f"{tags['model']}/{tags['version']}"
    own = own_key() if tags["how"] in BY_HAND and registry.audit.sign else None
    holds = {alias_address(tags["model"], CHAMPION): label, **holds_run(ledger, run_id)}
    predicate = {"alias": CHAMPION, "run": run_id, **{name: tags[name] for name in RECORDED}}
    predicate |= {} if own is None else {PERSON: own.public_key.keyid}
    signers = [] if own is None else [own]
    subject = _subject(registry, tags["model"], tags["version"])
    state(registry, PROMOTION, [subject], predicate, holds, beside=signers)
    ledger.end_as_noted(run)


def _subject(registry: Registry, model: str, version: str) -> Subject:
    """A version by the digest of its files; one that no ladder made, which people may promote, by what MLflow has."""
    details = registry.client.get_model_version(model, version)
    if DIGEST_TAG in details.tags:
        return version_subject(registry.reference(model, version))
    return Subject(name=f"{model}/{version}", digest={"sha256": digest_of(plain(held_version(details)))})
