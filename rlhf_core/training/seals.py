"""Seals: what a folder of a state held when it was written, so that none is read that has changed since.

XXH3 tells damage, not forgery: whoever may write a state may seal it. It is read at memory speed, so a state of any
size is looked through in a share of the time that reading it takes. All ranks call these together.
"""

import json
from pathlib import Path

import xxhash

from rlhf_core.distributed import gathered, rank, ranks, wait
from rlhf_core.training.durable import flush

SEAL = "seal.json"
"""The file with a digest for every other file below a folder."""

CHUNK_BYTES = 1 << 24


def seal(folder: Path) -> None:
    """Note the digest of every file, and see all of them onto the disk."""
    digests = _digests(folder)
    if rank() == 0:
        (folder / SEAL).write_text(json.dumps(digests), encoding="utf-8")
        for path in (folder, *folder.rglob("*")):
            flush(path)
    wait()


def damage(folder: Path) -> str:
    """The first file that is not as it was sealed, and how; empty where all are."""
    try:
        sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        sealed = None
    found = _digests(folder)
    if not isinstance(sealed, dict):
        return f"{SEAL} is missing or damaged"
    changed = sorted(name for name in {*sealed, *found} if sealed.get(name) != found.get(name))
    return f"{changed[0]} is {'damaged' if changed[0] in found else 'missing'}" if changed else ""


def _digests(folder: Path) -> dict[str, str]:
    """Digest by file; every rank reads a share of the files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    mine = {path.relative_to(folder).as_posix(): _digest(path) for path in files[rank() :: ranks()]}
    return {name: digest for part in gathered(mine) for name, digest in part.items()}


def _digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
