"""Signing keys: ed25519, each in a file that only its owner reads, or in the environment."""

import functools
import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from flows.config.errors import InputError
from flows.config.folders import make_folder
from flows.report import warn

PIPELINE_KEY, OWN_KEY = "RLHF_SIGNING_KEY", "RLHF_OWN_KEY"
"""Environment variables: file of the key with which pipelines sign, or the key itself; the same of a person's own."""

MINE = Path(".config") / "rlhf" / "own.pem"
"""Where a person's own key lies in their home."""

BLOCK = "prefect:"
"""Begins the place of a key that a secret block of Prefect holds, before its name."""

BEGINS = "-----BEGIN"
"""What a variable starts with that holds a key and names no file."""


def pipeline_key_file(storage: Path) -> Path:
    """Where the key of a storage folder lies, unless the environment or a configuration names another."""
    return storage / "keys" / "pipeline.pem"


def own_key_file() -> Path:
    """Where the key of the person lies who types."""
    return Path(os.environ.get(OWN_KEY) or Path.home() / MINE)


def make_key(path: Path) -> CryptoSigner:
    """Draw a key and keep it, whole or not at all, where only this user can read it.

    Args:
        path: file that is made, in a folder of its own that is made too; the public key lies beside it as `.pub`.

    Raises:
        InputError: if there is such a file, or none can be made.
    """
    make_folder(path.parent, mode=0o700)
    signer = CryptoSigner.generate_ed25519()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(signer.private_bytes)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # which, unlike a renaming, replaces no key
    except FileExistsError:
        raise InputError(f"{path}: there is a key; name another file, or move it away") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error.strerror}); name another file") from None
    finally:
        draft.unlink(missing_ok=True)
    path.with_suffix(".pub").write_text(public_pem(signer.public_key), encoding="utf-8")
    return signer


def load_key(place: str | Path) -> CryptoSigner:
    """Read a key.

    Args:
        place: a file, what would stand in it, or `prefect:` and the name of a secret block of Prefect.

    Raises:
        InputError: if it is not there, or is no ed25519 key.
    """
    named = str(place)
    if named.startswith(BEGINS):
        text, name = named, "the key"
    else:
        text, name = _secret(named) if named.startswith(BLOCK) else _text(Path(place)), named
    try:
        private = load_pem_private_key(text.encode(), None)
    except (TypeError, ValueError):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise InputError(f"{name}: is no ed25519 key without a password, as PEM; `rlhf keys new` makes one")
    return CryptoSigner(private)


def pipeline_key(storage: Path, configured: Path | None = None) -> CryptoSigner:
    """The key with which a pipeline signs: of the environment, the configuration or its storage; made where none is.

    Args:
        storage: folder of the pipeline.
        configured: file that a configuration names.

    Raises:
        InputError: if a key is named and cannot be read.
    """
    named = os.environ.get(PIPELINE_KEY) or configured
    if named is not None:
        return load_key(named)
    path = pipeline_key_file(storage)
    if not path.exists():
        try:
            return make_key(path)
        except InputError:
            if not path.exists():  # else another climb made it in the meantime
                raise
    return load_key(path)


def own_key() -> CryptoSigner | None:
    """The own key of the person who types, None where they have none.

    Raises:
        InputError: if there is one that cannot be read.
    """
    named = os.environ.get(OWN_KEY)
    return load_key(named or own_key_file()) if named or own_key_file().exists() else None


def public_pem(key: SSlibKey) -> str:
    """A public key as PEM."""
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def public_key(pem: str) -> SSlibKey:
    """Read a public key.

    Raises:
        ValueError: if it is no ed25519 key as PEM.
    """
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("no ed25519 key")
    return SSlibKey.from_crypto(key)


def read_public_key(path: Path) -> SSlibKey:
    """Read the public key in a file, or that of the private one in it.

    Raises:
        InputError: if there is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return public_key(text) if "PUBLIC KEY" in text else load_key(path).public_key
    except (InputError, OSError, ValueError):
        raise InputError(f"{path}: is no public ed25519 key as PEM; `rlhf keys show` prints one") from None


def _secret(place: str) -> str:
    """What a secret block of Prefect holds."""
    from prefect.blocks.system import Secret  # noqa: PLC0415  takes seconds to import, and few keys are there

    name = place.removeprefix(BLOCK)
    try:
        block = Secret.load(name)
    except ValueError:
        raise InputError(f"{place}: Prefect has no secret block of this name; make one there with the key") from None
    assert isinstance(block, Secret)  # a coroutine only where a loop runs
    return str(block.get())


def _text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: the key cannot be read ({error.strerror}); `rlhf keys new` makes one") from None
    if stat.S_IMODE(mode) & 0o077:
        _tell_of_readers(path)
    return text


@functools.cache
def _tell_of_readers(path: Path) -> None:
    """Once: secrets that are mounted into a container may have such a mode, so that it is no error."""
    warn(f"{path}: others may read this key; `chmod 600 {path}`, and take a new one if they did")
