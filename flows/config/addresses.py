"""Addresses of servers that the environment names: whether they can be any, and how messages show them."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from flows.config.errors import InputError
from flows.config.folders import check_folder
from flows.config.shown import bare

WEB = ("http", "https")

SQLITE = "sqlite:///"

STORES = (*WEB, "sqlite", "postgresql", "mysql", "mssql", "databricks", "file")

SCHEMES: Mapping[str, Sequence[str]] = {
    "MLFLOW_TRACKING_URI": STORES,
    "MLFLOW_REGISTRY_URI": (*STORES, "databricks-uc", "uc"),
    "PREFECT_API_URL": WEB,
}
"""What addresses of each variable begin with; databases name a driver after a `+`."""


def check_addresses() -> None:
    """See that the variables that name servers hold addresses; nobody is asked.

    Raises:
        InputError: naming the variable, its value without a password, and the mend.
    """
    for variable, schemes in SCHEMES.items():
        address = os.environ.get(variable, "")
        if address and (problem := _problem(address, schemes)):
            raise InputError(f"{variable} {shown(address)}: {problem}")


def shown(address: str) -> str:
    """An address as messages have it: without the name and password that it may hold."""
    return bare(re.sub(r"//.*@", "//", address, flags=re.DOTALL))


def _problem_of_file(address: str) -> str | None:
    """What keeps a local database from being made, on which MLflow would try for minutes."""
    path = Path(address.removeprefix(SQLITE))
    try:
        if not address.startswith(SQLITE) or path == Path() or path.is_dir():
            return f"names no file; write {SQLITE}PATH"
        if not path.exists():
            check_folder(path.absolute().parent)
    except OSError as error:
        return f"names no file ({error.strerror}); write {SQLITE}PATH"
    except InputError as error:
        return str(error)
    return None


def _problem(address: str, schemes: Sequence[str]) -> str | None:
    """What is wrong, and the mend."""
    example = "write one such as http://127.0.0.1:5000"
    scheme, _, rest = address.partition(":")
    if not address.isprintable() or (" " in address and scheme not in ("sqlite", "file")):
        return f"is no address, as it holds white space or control letters; {example}"
    if rest[:2] != "//" and scheme.partition("+")[0] not in ("databricks", "databricks-uc", "uc", "sqlite", "file"):
        return None if address.startswith("/") and "file" in schemes else f"does not say http:// or https://; {example}"
    if scheme.partition("+")[0] not in schemes:
        return f"begins with '{scheme}', and must with one of {', '.join(schemes)}; {example}"
    if scheme.startswith("sqlite"):
        return _problem_of_file(address)
    try:
        parts = urlsplit(address)
        lost = (scheme in WEB and not parts.hostname) or parts.port == 0
    except ValueError:
        lost = True
    return f"has no host, or no port from 1 to 65535; {example}" if lost else None
