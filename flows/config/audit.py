"""How what is made, judged and promoted is stated, so that an audit can prove it."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from flows.config.errors import InputError
from flows.config.redaction import redact_address
from rlhf_core.config import Frozen

REMOTE = re.compile(r"git\+(https|file)://.+|git\+ssh://([\w.-]+@)?[\w.-]+[:/].+")
"""A git remote, with at most the name of an account of ssh."""


def _without_secrets(address: str) -> str:
    if address.startswith("git+") and not REMOTE.fullmatch(address):
        raise ValueError("is no git remote; write git+ssh://, git+https:// or git+file:// and what follows")
    if redact_address(address) != address and not address.startswith("git+ssh://"):
        raise ValueError("holds a password or a key; leave it out, and let git or the environment have it")
    return address


def witness_at(address: str, named_by: str) -> str:
    """The address of a witness that is no field of a configuration.

    Raises:
        InputError: naming what named it, if it can be none, or holds a password.
    """
    try:
        return _without_secrets(address)
    except ValueError as reason:
        raise InputError(f"{named_by} {redact_address(address)}: {reason}") from None


class AuditConfig(Frozen):
    """How the statements about what is made, judged and promoted are signed and kept."""

    sign: bool = True
    """Whether statements are signed. Unsigned ones prove nothing, and every page and audit says so."""
    key: Path | None = None
    """File of the signing key, which only its owner may read, or `prefect:NAME` for a secret block of Prefect;
    RLHF_SIGNING_KEY comes first. By default `keys/pipeline.pem` in the storage folder, where one is made at the first
    use."""
    witness: Annotated[str, AfterValidator(_without_secrets)] | None = None
    """Who gets a copy of every statement, out of reach of who can write to registry and artifact store: a folder, a
    bucket (`s3://bucket/folder`), or a git remote (`git+ssh://host/repository`); RLHF_WITNESS comes first."""
