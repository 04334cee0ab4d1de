"""Which keys an audit believes: those that the auditor names, else those that lie beside the registry."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from securesystemslib.signer import SSlibKey

from flows.attestation.keys import PIPELINE_KEY, load_key, pipeline_key_file, read_public_key
from flows.registry.database import database_file


class Trust(NamedTuple):
    """Keys that an audit believes.

    Attributes:
        keys: none where there are none.
        why: where they come from, in words.
    """

    keys: tuple[SSlibKey, ...]
    why: str


def trusted_keys(named: Sequence[Path], storage: Path | None) -> Trust:
    """The keys of an audit.

    Args:
        named: files of public keys that the auditor names.
        storage: folder of the pipeline, None where it is not known.

    Raises:
        InputError: if a named file holds no key.
    """
    if named:
        return Trust(tuple(map(read_public_key, named)), ", ".join(map(str, named)))
    if variable := os.environ.get(PIPELINE_KEY):
        return Trust((load_key(variable).public_key,), f"the key that {PIPELINE_KEY} names")
    database = database_file()
    folders = [folder for folder in (storage, database and database.parent) if folder is not None]
    for folder in folders:
        path = pipeline_key_file(folder).with_suffix(".pub")
        if path.is_file():
            why = f"{path}, which who can write to the storage may have replaced: name a copy of your own by --key"
            return Trust((read_public_key(path),), why)
    return Trust((), "none: name the public key of the pipeline by --key, as `rlhf keys show` prints it")
