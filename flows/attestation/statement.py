"""Statements as in-toto has them: subjects by digest, and a predicate that says what is true of them.

Each becomes one DSSE envelope, whose payload is canonical JSON (RFC 8785).
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import rfc8785
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from rlhf_core.config import Frozen

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

PROVENANCE = "https://slsa.dev/provenance/v1"
"""Predicate of what was made: by a stage, of data, by a climb as a whole."""

JUDGEMENT, PROMOTION, APPROVAL, REMOVAL, KEYS, TAGGED = (
    f"urn:rlhf-ladder:{kind}:v1" for kind in ("judgement", "promotion", "approval", "removal", "keys", "tagged")
)
"""Predicates of our own: what gates said; how an alias moved; that a person signs for a version; what was removed or
withdrawn; which keys count; what is said of a run after it ended."""

PERSON = "rlhf_person"
"""Field of a predicate: id of the own key of the person who did it, which signed it too."""

PIPELINE = "pipeline"
"""Begins the name under which a key of a pipeline is introduced: it is no person's, and may introduce others."""

REGISTRY = "rlhf_registry"
"""Field of a predicate: what the registry must hold from then on, by address; None where it must hold nothing."""

MADE = "rlhf_made"
"""Field of a predicate: who made the statement, by which command and process, on which machine."""

POSITION = "rlhf_log"
"""Field of a predicate: place of the statement in the log."""

FOLDER, ROWS = "rlhfFolder", "rlhfRows"
"""Digests that are none of a file: of a model's files together, and of what the rows of a table say."""


UNREADABLE = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""What reading something raises that is not what it should be."""


class NoStatement(ValueError):
    """What lies in a log and is no statement."""


class Subject(Frozen):
    """What a statement is about, or what went into that.

    Attributes:
        name: of a file, a version or a table.
        digest: hexadecimal digests by algorithm.
        uri: where it is, empty where the name says it.
    """

    name: str
    digest: dict[str, str]
    uri: str = ""

    def as_json(self) -> dict[str, Any]:
        """As in-toto writes it."""
        return {"name": self.name, "digest": self.digest, **({"uri": self.uri} if self.uri else {})}


class Statement(Frozen):
    """An in-toto Statement v1.

    Attributes:
        subjects: what it is about; at least one.
        kind: its predicate type.
        predicate: what is true of them.
    """

    subjects: tuple[Subject, ...]
    kind: str
    predicate: dict[str, Any]

    @property
    def registry(self) -> dict[str, Any]:
        """What the registry must hold from then on, by address."""
        return dict(self.predicate.get(REGISTRY, {}))

    def as_json(self) -> dict[str, Any]:
        """As in-toto writes it."""
        return {
            "_type": STATEMENT_TYPE,
            "subject": [subject.as_json() for subject in self.subjects],
            "predicateType": self.kind,
            "predicate": self.predicate,
        }

    @property
    def payload(self) -> bytes:
        """Canonical JSON: the same statement is the same bytes, on every machine."""
        return rfc8785.dumps(self.as_json())

    @classmethod
    def read(cls, payload: bytes) -> "Statement":
        """Read a payload.

        Raises:
            NoStatement: if it is none.
        """
        try:
            document = json.loads(payload)
            if document["_type"] != STATEMENT_TYPE:
                raise NoStatement(f"its type is {document['_type']}, not {STATEMENT_TYPE}")
            subjects = tuple(Subject.model_validate(subject) for subject in document["subject"])
            return cls(subjects=subjects, kind=document["predicateType"], predicate=document["predicate"])
        except UNREADABLE as error:
            raise NoStatement(f"no in-toto statement ({type(error).__name__})") from None


def seal(statement: Statement, signers: Iterable[CryptoSigner]) -> bytes:
    """A statement in its envelope, as JSON; unsigned where nobody signs."""
    envelope = Envelope(statement.payload, PAYLOAD_TYPE, {})
    for signer in signers:
        envelope.sign(signer)
    return rfc8785.dumps(envelope.to_dict())


def unseal(envelope: bytes) -> tuple[Statement, str]:
    """The statement of an envelope and the SHA-256 of its payload, whoever signed it.

    Raises:
        NoStatement: if there is none.
    """
    try:
        payload = base64.b64decode(json.loads(envelope)["payload"], validate=True)
    except UNREADABLE as error:
        raise NoStatement(f"no envelope ({type(error).__name__})") from None
    return Statement.read(payload), hashlib.sha256(payload).hexdigest()


def signed_by(envelope: bytes, keys: Sequence[SSlibKey]) -> tuple[str, ...]:
    """Ids of those of some keys whose signature an envelope bears; one that does not fit counts as none."""
    try:
        sealed = Envelope.from_dict(json.loads(envelope))
    except (FormatError, *UNREADABLE):
        return ()
    return tuple(key.keyid for key in keys if _bears(sealed, key))


def signatures(envelope: bytes) -> tuple[str, ...]:
    """Ids of the keys by which an envelope says that it is signed."""
    try:
        return tuple(str(signature["keyid"]) for signature in json.loads(envelope)["signatures"])
    except UNREADABLE:
        return ()


def digest_of(document: Mapping[str, Any] | Sequence[Any]) -> str:
    """SHA-256 over the canonical JSON of a document."""
    return hashlib.sha256(rfc8785.dumps(document)).hexdigest()


def _bears(sealed: Envelope, key: SSlibKey) -> bool:
    try:
        return bool(sealed.verify([key], 1))
    except VerificationError:
        return False
