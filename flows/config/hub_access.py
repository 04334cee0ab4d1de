"""The Hugging Face hub: whether it answers, and in one line why it does not give what it is asked for."""

import errno
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from threading import Thread
from time import monotonic

import httpx2
from huggingface_hub import HfApi, constants, get_session
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from flows.config.errors import InputError

PATIENCE_SECONDS = 5.0
"""Time in which the hub must answer; names are resolved within it."""

REFUSALS: dict[type[HfHubHTTPError], str] = {
    GatedRepoError: "the hub gives {what} only to who accepted its terms; accept them on its page and set HF_TOKEN",
    DisabledRepoError: "the hub has closed {what}: take another",
    RevisionNotFoundError: "the hub has no such revision of {what}: check the revision",
    RepositoryNotFoundError: "the hub has no {what} that it shows: check the name, and set HF_TOKEN if it is private",
    RemoteEntryNotFoundError: "{what} lacks {file} on the hub: take another revision, or another repository",
}
"""What the hub means by an answer; a kind of another comes before that."""

NOT_KEPT = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
"""What a disk says on which the cache cannot be written."""


@contextmanager
def asking_hub(what: str, *, field: str | None = None, otherwise: str = "") -> Iterator[None]:
    """Ask the hub for something, or its local cache at once where the hub does not answer.

    Args:
        what: is asked for, such as `model owner/name@0123abcd`.
        field: of the configuration that names it.
        otherwise: what else than to connect can be done about a hub that does not answer.

    Raises:
        InputError: naming field, what is asked for and the mend, if it cannot be had.
    """
    silence: str | None
    if constants.is_offline_mode():
        silence, mend = "HF_HUB_OFFLINE is set", "unset it"
    else:
        silence, mend = _silence(constants.ENDPOINT, int(monotonic() // 60)), "connect"
    try:
        with _from_cache() if silence else nullcontext():
            yield
    except InputError:
        raise
    except Exception as error:
        refusal = next((said for part in _chain(error) if (said := _refusal(part, what))), None)
        if refusal is None:
            raise
        if silence:
            refusal = f"the hub cannot be reached ({silence}), and its cache here lacks {what}: {mend}{otherwise}"
        raise InputError(f"field '{field}': {refusal}" if field else refusal) from None


def require_on_hub(field: str, kind: str, name: str, revision: str) -> None:
    """See that the hub has something, and gives it.

    Args:
        field: of the configuration that names it.
        kind: model or dataset.
        name: owner/name.
        revision: commit, branch or tag.

    Raises:
        InputError: naming field, name and the mend.
    """
    hub = HfApi()
    with asking_hub(f"{kind} {name}@{revision[:8]}", field=field, otherwise=", or check the rest with --offline"):
        hub.repo_info(name, revision=revision, repo_type=kind, timeout=PATIENCE_SECONDS)
        hub.auth_check(name, repo_type=kind)


@lru_cache(maxsize=1)
def _silence(address: str, minute: int) -> str | None:
    """Why the hub does not answer, None if it does; asked once a minute.

    Looking up a name heeds no time-out, so that a thread does it.
    """
    answer: Future[str | None] = Future()

    def ask() -> None:
        try:
            get_session().head(address, timeout=PATIENCE_SECONDS, follow_redirects=False)
        except httpx2.TimeoutException:
            answer.set_result(late)
        except Exception as error:
            answer.set_result(f"{address}: {_first_line(error)}")
        else:
            answer.set_result(None)

    late = f"{address}: no answer in {PATIENCE_SECONDS:g} seconds"
    Thread(target=ask, daemon=True).start()
    try:
        return answer.result(PATIENCE_SECONDS)
    except TimeoutError:
        return late


@contextmanager
def _from_cache() -> Iterator[None]:
    """Have libraries look only into the cache, as HF_HUB_OFFLINE does, rather than wait for each file in turn."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, the first cause first, as libraries wrap what the hub said."""
    at_work = isinstance(error, OSError | httpx2.HTTPError)
    cause = error.__cause__ or (error.__context__ if at_work else None)
    if cause is not None:
        yield from _chain(cause)
    yield error


def _refusal(error: BaseException, what: str) -> str | None:
    """What an error says of the hub, and the mend; None if it says nothing of it."""
    match error:
        case HfHubHTTPError():
            return _answer(error, what)
        case HFValidationError():
            return f"the hub can have no {what} ({_first_line(error)}): write owner/name"
        case (
            httpx2.TransportError()
            | httpx2.InvalidURL()
            | ConnectionError()
            | TimeoutError()
            | RevisionResolutionError()
        ):
            return f"the hub broke off at {what} ({_first_line(error)}): try again"
        case OSError(errno=int(number)) if number in NOT_KEPT:
            return f"{what} cannot be kept in the cache ({error.strerror}: {error.filename}): set HF_HOME to a folder"
        case OSError(errno=None):
            return f"the hub gives no {what} ({_first_line(error)}): check name and revision"
    return None


def _answer(error: HfHubHTTPError, what: str) -> str:
    """What an answer without what was asked for means."""
    status, asked = error.response.status_code, error.response.url.path
    if said := next((said for kind, said in REFUSALS.items() if isinstance(error, kind)), None):
        return said.format(what=what, file=asked.rpartition("/")[2])
    match status:
        case 401:
            return f"the hub does not know who asks for {what} (401): check the name, and mend HF_TOKEN or log in anew"
        case 403:
            return f"the hub forbids {what} to this token (403): give it the right to read"
        case 429:
            return f"the hub has had too many requests (429), one for {what}: wait a few minutes, or set HF_TOKEN"
        case _ if status >= 500:
            return f"the hub fails at {what} ({status}): try again later"
    return f"the hub gives no {what} ({status}): check name and revision"


def _first_line(error: BaseException) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:200]
