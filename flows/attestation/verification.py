"""Whether a log is what its writers wrote: signatures, hashes, order, and what a witness kept of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from securesystemslib.signer import SSlibKey

from flows.attestation.keys import public_key
from flows.attestation.log import LogEntry, name_of
from flows.attestation.order import chains, named_before, ordered, seen_by
from flows.attestation.statement import KEYS, PIPELINE, signatures, signed_by

LogProblem = Literal["missing", "altered", "unsigned", "out of order"]


class CheckedEntry(NamedTuple):
    """A file of a log, and what is wrong with it.

    Attributes:
        entry: as it was read.
        signers: ids of the trusted keys that signed it and were not retired before.
        problems: in words, by kind; none where all is well.
    """

    entry: LogEntry
    signers: tuple[str, ...]
    problems: tuple[tuple[LogProblem, str], ...]

    @property
    def is_believed(self) -> bool:
        """Whether what it says counts: it is whole, and a trusted key signed it."""
        return bool(self.signers) and not any(kind in ("altered", "unsigned") for kind, _ in self.problems)


class VerifiedLog(NamedTuple):
    """A log that was looked at.

    Attributes:
        entries: every file, in the order in which they were made.
        gone: what must have been there and is not.
        keys: trusted keys by id: those that were given, and those that statements of pipelines introduce.
        people: whose some of them are, by id, as they were introduced.
    """

    entries: tuple[CheckedEntry, ...]
    gone: tuple[str, ...]
    keys: dict[str, SSlibKey]
    people: dict[str, str]

    @property
    def believed(self) -> Iterator[LogEntry]:
        """Entries whose statements count, the oldest first."""
        return (checked.entry for checked in self.entries if checked.is_believed)


def verify_log(
    entries: Sequence[LogEntry], trusted: Sequence[SSlibKey], witness: Sequence[LogEntry] | None = None
) -> VerifiedLog:
    """Hold a log against keys, and against what a witness kept of it.

    Args:
        entries: all files of it, as `read_log` reads them.
        trusted: keys that the reader believes, of pipelines; others count once a statement signed by such a key, or by
            one that was introduced as a pipeline's, introduces them.
        witness: all files of the witness; None where nobody kept a copy.
    """
    in_order = ordered(entries)
    keys, people, retired = _keys_of(in_order, {key.keyid: key for key in trusted})
    linked = _linked(in_order)
    kept = None if witness is None else {entry.name: entry for entry in witness}
    checked = []
    for entry in in_order:
        bearing = signed_by(entry.content, list(keys.values()))
        signers = tuple(keyid for keyid in bearing if keyid not in retired or entry.name in retired[keyid])
        problems = [*_own(entry), *_signatures(entry, bearing, signers), *linked[entry.name]]
        if kept is not None:
            problems += _witnessed(entry, kept.get(entry.name))
        checked.append(CheckedEntry(entry, signers, tuple(problems)))
    return VerifiedLog(tuple(checked), tuple(_gone(in_order, witness or ())), keys, people)


def _keys_of(
    in_order: Sequence[LogEntry], trusted: Mapping[str, SSlibKey]
) -> tuple[dict[str, SSlibKey], dict[str, str], dict[str, set[str]]]:
    """Keys that count, whose they are, and of those that were retired what they had signed by then.

    That is what the statement of the retirement had seen: by a time anybody could say that they signed earlier. Keys of
    people introduce and retire nobody, so that nobody can double themselves.
    """
    keys, people, retired = dict(trusted), dict[str, str](), dict[str, set[str]]()
    vouching = dict(trusted)
    waiting = [entry for entry in in_order if entry.statement is not None and entry.statement.kind == KEYS]
    before = named_before(in_order) if waiting else {}
    while ready := [entry for entry in waiting if signed_by(entry.content, list(vouching.values()))]:
        waiting = [entry for entry in waiting if entry not in ready]
        for entry in ready:
            assert entry.statement is not None
            for name, pem in entry.statement.predicate.get("introduces", {}).items():
                key = public_key(pem)
                keys.setdefault(key.keyid, key)
                if name.startswith(PIPELINE):
                    vouching.setdefault(key.keyid, key)
                elif key.keyid not in vouching:
                    people.setdefault(key.keyid, name)
            for keyid in entry.statement.predicate.get("retires", ()):
                retired.setdefault(keyid, seen_by(entry.name, before))
    return keys, people, retired


def _own(entry: LogEntry) -> Iterator[tuple[LogProblem, str]]:
    """What is wrong with a file by itself."""
    if entry.statement is None or entry.position is None:
        yield "altered", "is no statement of a log"
    elif entry.name != name_of(entry.position, entry.hash):
        yield "altered", "holds another statement than its name says"


def _signatures(entry: LogEntry, bearing: Sequence[str], signers: Sequence[str]) -> Iterator[tuple[LogProblem, str]]:
    if entry.statement is None:
        return
    named = signatures(entry.content)
    if not named:
        yield "unsigned", "nobody signed it"
    elif not bearing:
        yield "unsigned", f"no trusted key signed it, but {', '.join(keyid[:12] for keyid in named)}"
    elif not signers:
        yield "unsigned", f"key {bearing[0][:12]} was retired by then"


def _linked(in_order: Sequence[LogEntry]) -> dict[str, list[tuple[LogProblem, str]]]:
    """What is wrong with the place of each entry, by its name."""
    problems: dict[str, list[tuple[LogProblem, str]]] = {entry.name: [] for entry in in_order}
    for chain in chains(in_order).values():
        for before, entry in zip([None, *chain], chain, strict=False):
            problems[entry.name] += _after(entry, before)
    return problems


def _after(entry: LogEntry, before: LogEntry | None) -> Iterator[tuple[LogProblem, str]]:
    """What is wrong with an entry that comes after another one of its chain, or is the first that is left."""
    position = entry.position
    assert position is not None
    last = -1 if before is None or before.position is None else before.position.number
    if position.number > last + 1:
        what = f"{last + 1}" if position.number == last + 2 else f"{last + 1} to {position.number - 1}"
        yield "missing", f"statement {what} of chain {position.chain} before it"
    elif position.number <= last:
        yield "out of order", f"two statements of chain {position.chain} have the number {position.number}"
    elif position.previous != ("" if before is None else before.hash):
        yield "out of order", "the statement before it is not the one that it names"


def _witnessed(entry: LogEntry, kept: LogEntry | None) -> Iterator[tuple[LogProblem, str]]:
    if kept is None:
        yield "missing", "the witness has no copy of it"
    elif kept.content != entry.content:
        yield "altered", "the witness has another statement by this name"


def _gone(in_order: Sequence[LogEntry], witness: Sequence[LogEntry]) -> Iterator[str]:
    """Statements that others name, or a witness kept, and that are not there."""
    names = {entry.name for entry in in_order}
    known: dict[str, str] = {}
    for entry in in_order:
        for chain, head in ({} if entry.position is None else entry.position.others).items():
            known.setdefault(f"{chain}-{head}.json", f"{entry.name} names it")
    known |= {entry.name: "the witness has it" for entry in witness}
    for name, why in sorted(known.items()):
        if name not in names:
            yield f"{name}: {why}"
