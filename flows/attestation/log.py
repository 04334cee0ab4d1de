"""The log of a project: one file per statement, each naming the hash of the one before.

A storage folder writes a chain of its own, so that machines need not wait for each other; each statement also names the
last ones of the other chains that its writer saw. A statement is on the disk of its writer before it is copied to the
artifact store and the witness, and what is not there yet is copied with the next one: a kill loses none and tears none.

    log = StatementLog(storage, "helpdesk", "file:///…/artifacts", signers=[pipeline_key(storage)])
    log.append(JUDGEMENT, [Subject(name="helpdesk-sft/1", digest={…})], {"verdicts": […]})
    entries = read_log(folder)
"""

import hashlib
import logging
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException
from securesystemslib.signer import CryptoSigner

from flows.attestation.statement import POSITION, NoStatement, Statement, Subject, seal, signed_by, unseal
from flows.attestation.store import STATEMENTS, LogStore, log_address, names_in, write_once
from flows.attestation.witness import KeptLog, Witness
from flows.storage.locks import exclusive
from rlhf_core.config import Frozen

NAME = re.compile(r"(?P<chain>[0-9a-f]{12})-(?P<number>\d{8})-(?P<hash>[0-9a-f]{16})\.json")
"""How a file of a log is called: its chain, its number in that, and the beginning of the hash of its statement."""

log = logging.getLogger(__name__)


class Position(Frozen):
    """Place of a statement in its log, which it signs with the rest.

    Attributes:
        chain: which storage folder wrote it.
        number: of the statement in that chain, from 0.
        previous: SHA-256 of the statement before it there; empty for the first.
        others: last statements of other chains that the writer saw, as `number-hash` by chain.
        time: when it was made, in UTC.
    """

    chain: str
    number: int
    previous: str
    others: dict[str, str] = {}
    time: datetime


class LogEntry(NamedTuple):
    """A file of a log.

    Attributes:
        name: of the file.
        content: its bytes, a DSSE envelope.
        statement: None where there is none in it.
        hash: SHA-256 of the statement; empty where there is none.
        position: as the statement says it, None where it does not.
    """

    name: str
    content: bytes
    statement: Statement | None
    hash: str
    position: Position | None


class StatementLog:
    """A log that is written to.

    Args:
        storage: folder whose chain it is.
        project: whose log it is.
        artifacts: where the artifacts of the project's experiment lie.
        signers: who signs; nobody leaves statements unsigned, which an audit tells.
        witness: address of who keeps a copy, as `Witness` has it; None for none.
    """

    def __init__(
        self,
        storage: Path,
        project: str,
        artifacts: str,
        *,
        signers: Sequence[CryptoSigner] = (),
        witness: str | None = None,
    ) -> None:
        self.chain = hashlib.sha256(f"{socket.gethostname()}\0{storage.resolve()}".encode()).hexdigest()[:12]
        self.signers = tuple(signers)
        self._written = storage / STATEMENTS / project
        self._lock = storage / "work" / f"{STATEMENTS}-{project}.lock"
        self._places: list[KeptLog] = [LogStore(log_address(artifacts, project))]
        if witness is not None:
            self._places.append(Witness(witness, storage).log(project))

    def append(
        self,
        kind: str,
        subjects: Iterable[Subject],
        predicate: Mapping[str, Any],
        *,
        beside: Sequence[CryptoSigner] = (),
    ) -> LogEntry:
        """Add a statement; it is on the disk when this returns.

        Args:
            kind: its predicate type.
            subjects: what it is about.
            predicate: what is true of them; its place in the log is added.
            beside: who signs it besides.

        Raises:
            MlflowException: if the artifact store cannot be asked what is in it; then nothing was added.
        """
        with exclusive(self._lock):
            position = self._next(self._places[0].names())
            whole = {**predicate, POSITION: position.model_dump(mode="json")}
            statement = Statement(subjects=tuple(subjects), kind=kind, predicate=whole)
            content = seal(statement, [*self.signers, *beside])
            file = self._written / name_of(position, hashlib.sha256(statement.payload).hexdigest())
            write_once(file, content)
            self._publish()
        return read_entry(file.name, content)

    def read(self) -> list[LogEntry]:
        """All files of the log that the artifact store has, those of other storage folders too."""
        with self._places[0].copied() as folder:
            return read_log(folder)

    def publish(self) -> None:
        """Copy to artifact store and witness what is not there yet; what is away gets it the next time."""
        with exclusive(self._lock):
            self._publish()

    def _publish(self) -> None:
        written = names_in(self._written)
        for place in self._places:
            try:
                if new := sorted(written - place.names()):
                    place.put([self._written / name for name in new])
            except (MlflowException, OSError, RequestException) as error:
                log.warning("statements wait in %s until %s can be had: %s", self._written, place.address, error)

    def _next(self, stored: set[str]) -> Position:
        """The place after the last statement of this chain, of which the store may know more than this folder.

        A storage folder that has statements of its own believes of others in its name only those that it signed.
        """
        written = names_in(self._written)
        own = any(name.startswith(self.chain) for name in written)
        only_stored = sorted(name for name in stored - written if name.startswith(self.chain)) if own else []
        last = heads(stored - self._forged(only_stored) | written)
        number, previous = -1, ""
        if self.chain in last:
            number = int(last[self.chain].partition("-")[0])
            previous = self._hash(f"{self.chain}-{last[self.chain]}.json")
        others = {chain: head for chain, head in sorted(last.items()) if chain != self.chain}
        now = datetime.now(UTC)
        return Position(chain=self.chain, number=number + 1, previous=previous, others=others, time=now)

    def _forged(self, names: Sequence[str]) -> set[str]:
        """Of files in the name of this chain those that come after the last which was signed here."""
        if not names:
            return set()
        keys = [signer.public_key for signer in self.signers]
        with self._places[0].copied() as folder:
            for number, name in reversed(list(enumerate(names, start=1))):
                if signed_by((folder / name).read_bytes(), keys):
                    return set(names[number:])
        return set(names)

    def _hash(self, name: str) -> str:
        """The whole hash of a statement of this chain."""
        path = self._written / name
        if path.exists():
            return read_entry(name, path.read_bytes()).hash
        with self._places[0].copied() as folder:
            return read_entry(name, (folder / name).read_bytes()).hash


def heads(names: Iterable[str]) -> dict[str, str]:
    """The last statement of each chain, as `number-hash`, by what files are called."""
    matches = filter(None, map(NAME.fullmatch, sorted(names)))
    return {match["chain"]: f"{match['number']}-{match['hash']}" for match in matches}


def name_of(position: Position, digest: str) -> str:
    """What the file of a statement is called."""
    return f"{position.chain}-{position.number:08d}-{digest[:16]}.json"


def read_log(folder: Path) -> list[LogEntry]:
    """All files of a log, statements or not, in the order of their names."""
    return [read_entry(name, (folder / name).read_bytes()) for name in sorted(names_in(folder))]


def read_entry(name: str, content: bytes) -> LogEntry:
    """What a file of a log holds."""
    try:
        statement, digest = unseal(content)
        position = Position.model_validate(statement.predicate[POSITION])
    except NoStatement:
        return LogEntry(name, content, None, "", None)
    except (KeyError, ValueError):
        return LogEntry(name, content, statement, digest, None)
    return LogEntry(name, content, statement, digest, position)
