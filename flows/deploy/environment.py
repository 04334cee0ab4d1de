"""Environment variables of a run: where Prefect and MLflow keep their files, and no telemetry.

Libraries read their settings when they are imported, so `quiet` comes before all other imports, and `prepare` before
those of Prefect and MLflow.
"""

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir

from dotenv import load_dotenv

from flows.config.addresses import check_addresses, shown
from flows.config.credentials import part_credentials
from flows.config.errors import InputError
from flows.config.folders import check_parts, make_folder
from flows.config.shown import bare

QUIET = {
    "DO_NOT_TRACK": "true",  # MLflow accepts only the word true; Prefect accepts it too
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

DEFAULTS = {
    "GIT_PYTHON_REFRESH": "quiet",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",  # what cannot be had is said once, by us
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # no page of ours has a job, and eight processes wait for one
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",  # what cannot be sent to a server that is away, it would quote
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the terminal is for the progress bar; the UI has the log
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}

PROXIES = ("http_proxy", "https_proxy", "all_proxy")

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")

NUMBERS = ("SOURCE_DATE_EPOCH", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")

LOOPBACK = ("127.0.0.1", "localhost", "::1")

OBJECTS_BETWEEN_COLLECTIONS = 20_000


def quiet() -> None:
    """Switch telemetry off, and the chatter of libraries unless the user asked for it."""
    os.environ.update(QUIET)
    logging.raiseExceptions = False  # that a log cannot be written, as to a server that is away, is not for people
    _name_home()
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def prepare(storage: Path, *, threads: int | None = None) -> None:
    """Point Prefect and MLflow at the running stack, else at the storage folder, unless the user chose otherwise.

    The stack's folder is `.stack`, or the one that `STACK` names; it holds a file `env` for as long as the stack is up.

    Args:
        storage: absolute folder of the climb; made if absent.
        threads: CPU threads for torch and its libraries; None leaves the choice to them.

    Raises:
        InputError: if the folder, or a database in it, cannot be made or written to, or a proxy cannot be used.
    """
    name_servers(storage)
    make_folder(storage)
    check_parts(storage, "*.db", "*.lock")
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def name_servers(storage: Path) -> None:
    """The part of `prepare` that makes nothing: only variables are set.

    Raises:
        InputError: if what a variable names cannot be a server, or a proxy cannot be used.
    """
    load_dotenv(Path(os.environ.get("STACK") or ".stack") / "env", override=False)
    places = {
        "PREFECT_HOME": str(storage / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(storage / "results"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{storage / 'mlflow.db'}",
    }
    os.environ.update({name: place for name, place in places.items() if not os.environ.get(name)})
    check_addresses()
    check_numbers()
    part_credentials()
    pass_by_proxies()
    refuse_proxies()


def pass_by_proxies() -> None:
    """Have servers on this machine, which no proxy can reach, asked directly, by child processes too."""
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    passed = [host.strip() for host in listed.split(",") if host.strip()]
    if _proxies() and "*" not in passed:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*passed, *LOOPBACK]))


def check_numbers() -> None:
    """See that variables hold numbers where libraries read them as such without a word of which it is.

    Raises:
        InputError: naming the variable.
    """
    for name in NUMBERS:
        value = os.environ.get(name)
        if value and not value.isdecimal():
            raise InputError(f"{name} {bare(value)}: is no whole number; set one, or unset it")


def refuse_proxies() -> None:
    """Refuse a proxy on which the clients here break, even if they would not use it.

    Raises:
        InputError: naming the variable, and the mend: SOCKS needs packages.
    """
    for name, url in _proxies().items():
        scheme, is_said, _ = url.lower().partition("://")
        if scheme.startswith("socks") and find_spec("socksio") is None:
            raise InputError(
                f"{name} {shown(url)}: a SOCKS proxy needs a package: `pip install socksio pysocks`, or unset it"
            )
        if is_said and scheme not in PROXY_SCHEMES:
            known = ", ".join(PROXY_SCHEMES)
            raise InputError(f"{name} begins with '{bare(scheme)}', and must with one of {known}: mend it, or unset it")


def _proxies() -> dict[str, str]:
    return {name: url for name, url in os.environ.items() if name.lower() in PROXIES and url}


def _name_home() -> None:
    """Give a user who has no home, as in containers, one to keep caches in; libraries look for it when imported."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = gettempdir()


@contextmanager
def importing() -> Iterator[None]:
    """Look for garbage less often, as nearly everything that an import makes stays."""
    usual = gc.get_threshold()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
