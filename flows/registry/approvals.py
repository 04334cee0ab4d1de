"""Who signed for a version by a key of their own: what the rule of two people counts.

A key is a person's if a statement of the pipeline introduced it under their name (`rlhf keys trust FILE --name NAME`).
"""

from flows.attestation.keys import own_key
from flows.attestation.statement import APPROVAL, PERSON, PROMOTION, Subject
from flows.attestation.verification import VerifiedLog, verify_log
from flows.config.errors import InputError
from flows.registry.client import Registry
from flows.registry.references import ModelRef
from flows.registry.statements import log_of, version_subject

WANTED = 2
"""People who must sign for a version where the rule holds."""


def people_for(registry: Registry, ref: ModelRef) -> list[str]:
    """Names of the people who signed for a version, in the order in which they did."""
    return signatories(_verified(registry), version_subject(ref))


def signatories(log: VerifiedLog, version: Subject) -> list[str]:
    """Names of the people who signed for a version as it is by its digest.

    Args:
        log: of its project.
        version: the version; an approval of other files by its name counts for nothing.
    """
    names: dict[str, None] = {}
    for checked in log.entries:
        statement = checked.entry.statement
        if not checked.is_believed or statement is None or statement.kind not in (PROMOTION, APPROVAL):
            continue
        keyid = statement.predicate.get(PERSON)
        about = any((of.name, of.digest) == (version.name, version.digest) for of in statement.subjects)
        if about and keyid in checked.signers and keyid in log.people:
            names[log.people[keyid]] = None
    return list(names)


def require_two_people(registry: Registry, ref: ModelRef) -> None:
    """See that two people signed for a version that something is to start from.

    Raises:
        InputError: naming who did, if these are fewer.
    """
    if doubt := doubt_of_people(registry, ref):
        raise InputError(f"{ref.label}: {doubt}")


def doubt_of_people(registry: Registry, ref: ModelRef) -> str:
    """That fewer than two people signed for a version, and what to do; empty if two did."""
    people = people_for(registry, ref)
    if len(people) >= WANTED:
        return ""
    if people:
        return f"only {people[0]} signed for it: somebody else must type `rlhf approve {ref.label}`"
    return f"nobody signed for it by a key of their own, and two people must: `rlhf approve {ref.label}`"


def require_person(registry: Registry) -> str:
    """The name of the person who types, by their own key.

    Raises:
        InputError: if they have none, or no statement of the pipeline says whose it is.
    """
    own = own_key()
    if own is None:
        raise InputError(
            "promotion.two_people: who signs needs a key of their own; make one by `rlhf keys new --own`, and let who "
            "keeps the pipeline's key type `rlhf keys trust OWN.pub --name NAME`"
        )
    keyid = own.public_key.keyid
    name = _verified(registry).people.get(keyid)
    if name is None:
        raise InputError(
            f"your key {keyid[:12]} is nobody's yet: let who keeps the pipeline's key type `rlhf keys trust OWN.pub "
            "--name NAME` with what `rlhf keys show --own` prints"
        )
    return name


def _verified(registry: Registry) -> VerifiedLog:
    """The log of a project, believed as far as the key of this pipeline vouches for it."""
    log = log_of(registry)
    return verify_log(log.read(), [signer.public_key for signer in log.signers])
