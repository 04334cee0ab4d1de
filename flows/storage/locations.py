"""Places of artifacts that are folders of this machine."""

from pathlib import Path
from urllib.parse import unquote, urlparse


def local_folder(location: str) -> Path | None:
    """The folder that an artifact location means, None where it is on a server."""
    address = urlparse(location)
    return Path(unquote(address.path)) if address.scheme in ("", "file") else None
