"""A git remote as a witness: every statement is a commit on its branch `statements`, which is only added to.

The remote is what makes it one: let it refuse pushes that are not fast-forward, and the deletion of the branch.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows.attestation.store import STATEMENTS
from flows.config.redaction import redact_address

GIT = "git+"
"""Begins the address of a witness that is a git remote, before what git takes."""

BRANCH = "statements"

SECONDS = 60
"""How long git may take to answer."""

TRIES = 5
"""Pushes, between which others may have pushed."""

TOLD = ("fatal:", "error:", "remote:", " ! ")
"""How the line begins in which git says what is wrong."""

HERE = (
    *("-c", "user.name=RLHF Ladder", "-c", "user.email=statements@localhost"),
    *("-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=false"),
)
"""Settings that do not depend on who runs it."""


class WitnessAway(OSError):
    """A remote that cannot be had, or refuses; the message is what git says."""


class GitLog:
    """The log of a project at a git remote.

    Args:
        address: as a configuration has it, with `git+`.
        project: whose log.
        clone: folder of a copy, which is made, and may be removed at any time.
    """

    def __init__(self, address: str, project: str, clone: Path) -> None:
        self.address = redact_address(address)
        self._remote = address.removeprefix(GIT)
        self._below = f"{STATEMENTS}/{project}"
        self._clone = clone

    def names(self) -> set[str]:
        """Names of the files that the remote had when it was asked last; it is asked where there is no copy yet."""
        if not self._clone.is_dir():
            self._fetch()
        if not self._has_branch():
            return set()
        listed = self._git("ls-tree", "--name-only", f"origin/{BRANCH}", f"{self._below}/")
        return {line.rpartition("/")[2] for line in listed.splitlines()}

    def put(self, files: Sequence[Path]) -> None:
        """Push files, by the names that they have; those that are there already stay as they are.

        Raises:
            WitnessAway: if the remote cannot be had, or takes nothing.
        """
        for attempt in range(TRIES):
            if attempt or not self._clone.is_dir():
                self._fetch()
            self._go_to_remote()
            new = [file for file in files if not (self._clone / self._below / file.name).exists()]
            if not new:
                return
            (self._clone / self._below).mkdir(parents=True, exist_ok=True)
            for file in new:
                shutil.copy(file, self._clone / self._below / file.name)
            self._git("add", "--force", self._below)
            self._git("commit", "--quiet", "--message", f"{len(new)} more in {self._below}")
            try:
                self._git("push", "--quiet", "origin", f"HEAD:refs/heads/{BRANCH}")
            except WitnessAway:
                if attempt == TRIES - 1:
                    raise
            else:
                return

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """The files as the remote has them now; a folder that is not there where it has none."""
        self._fetch()
        self._go_to_remote()
        yield self._clone / self._below

    def _fetch(self) -> None:
        if not self._clone.is_dir():
            self._clone.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._clone.parent) as draft:
                self._git("init", "--quiet", "--initial-branch", BRANCH, where=Path(draft))
                self._git("remote", "add", "origin", self._remote, where=Path(draft))
                shutil.copytree(draft, self._clone)
        self._git("fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*")

    def _go_to_remote(self) -> None:
        """What a push that failed left is dropped: the next one brings it again."""
        if self._has_branch():
            self._git("checkout", "--quiet", "--force", "-B", BRANCH, f"origin/{BRANCH}")

    def _has_branch(self) -> bool:
        return bool(self._git("for-each-ref", f"refs/remotes/origin/{BRANCH}"))

    def _git(self, *arguments: str, where: Path | None = None) -> str:
        folder = where or self._clone
        environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_DIR": str(folder / ".git")}
        environment |= {"GIT_WORK_TREE": str(folder), "LC_ALL": "C"}
        environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        command = ["git", *HERE, *arguments]
        try:
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise WitnessAway(f"git {arguments[0]}: no answer within {SECONDS} s") from None
        if done.returncode:
            if arguments[0] not in ("fetch", "push"):
                shutil.rmtree(folder, ignore_errors=True)  # a copy that a kill left half made is made anew
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["failed"]
            why = next((line for line in said if line.startswith(TOLD)), said[-1])
            raise WitnessAway(redact_address(f"git {arguments[0]}: {why}"))
        return done.stdout.decode(errors="replace")


def clone_of(address: str, project: str, storage: Path) -> Path:
    """Where a storage folder has its copy of the log at a remote."""
    return storage / "witness" / f"{project}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
