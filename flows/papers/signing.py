"""Signatures of model folders that `model_signing` of sigstore verifies, in a process without this project.

That tool takes keys of the curves P-256, P-384 and P-521, and no ed25519 as statements are signed with. So models are
signed by a key of their own, which a statement names that the pipeline signs.
"""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from flows.attestation.keys import pipeline_key_file
from flows.config.errors import InputError
from flows.config.folders import make_folder
from flows.registry.client import Registry
from flows.registry.references import ModelRef
from flows.registry.statements import file_subjects, state, version_subject
from flows.storage.digests import digests_of

SIGNATURE = "urn:rlhf-ladder:signature:v1"
"""Predicate of a version: by which key its files were signed for sigstore's tool."""

MODEL_KEY = "models.pem"
"""File of the key, in the folder of the pipeline's own; the public one lies beside it as `.pub`."""


class SignedModel(NamedTuple):
    """A version whose files were signed.

    Attributes:
        folder: where they lie.
        public: file of the public key.
    """

    ref: ModelRef
    folder: Path
    public: Path


def require_model_signing() -> None:
    """See that sigstore's library is there.

    Raises:
        InputError: naming what to install.
    """
    if find_spec("model_signing") is None or find_spec("OpenSSL") is None:
        raise InputError("signing models needs a package: `pip install rlhf-ladder[model-signing]`")


def sign_model(registry: Registry, ref: ModelRef, out: Path) -> SignedModel:
    """Sign the files of a version, and state by which key; the signature is written whole or not at all.

    Args:
        registry: where the version is.
        ref: the version.
        out: file of the signature, in sigstore's format.

    Raises:
        InputError: if its files are not those that were registered, or the key cannot be read.
    """
    from model_signing.signing import Config  # noqa: PLC0415 a package that only this needs

    folder = registry.folder(ref)
    key = model_key_file(registry.storage)
    public = _public(key)
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.") as scratch:
        draft = Path(scratch) / out.name
        Config().use_elliptic_key_signer(private_key=key).sign(folder, draft)
        [digest] = digests_of(draft.parent, [draft]).values()
        predicate = {"publicKey": public, "tool": "model_signing"}
        subjects = [version_subject(ref), *file_subjects({"model.sig": digest}, ref.label)]
        state(registry, SIGNATURE, subjects, predicate, {})
        os.replace(draft, out)
    return SignedModel(ref, folder, key.with_suffix(".pub"))


def model_key_file(storage: Path) -> Path:
    """The key by which models of a storage folder are signed, which is made where there is none.

    Raises:
        InputError: if it cannot be made.
    """
    path = pipeline_key_file(storage).with_name(MODEL_KEY)
    if path.exists():
        return path
    make_folder(path.parent, mode=0o700)
    text = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
            os.fsync(file.fileno())
    except FileExistsError:  # another process made it in the meantime
        return path
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error.strerror}); let it be written to") from None
    return path


def _public(path: Path) -> str:
    """The public key as PEM, also kept beside the private one."""
    try:
        private = load_pem_private_key(path.read_bytes(), None)
    except (OSError, TypeError, ValueError):
        private = None
    if not isinstance(private, EllipticCurvePrivateKey):
        raise InputError(f"{path}: is no key of a curve without a password, as PEM; move it away, and one is made")
    text = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    path.with_suffix(".pub").write_text(text, encoding="utf-8")
    return text
