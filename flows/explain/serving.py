"""The teaching pages, which lie beside this module: served on this machine, or written to a folder."""

import contextlib
import shutil
import signal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from flows.config.errors import InputError
from flows.config.folders import make_folder

HOST = "127.0.0.1"

PAGES = Path(__file__).with_name("pages")


def serve_pages(port: int) -> None:
    """Serve the pages to this machine alone until interrupted, and print where.

    Args:
        port: where they are wanted; any free one is taken where it is in use.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt), _server(port) as server:
        print(f"pages    http://{HOST}:{server.server_port}\nCtrl-C ends them", flush=True)
        server.serve_forever()


def write_pages(folder: Path) -> None:
    """Write the pages to a folder, which a browser can open without a server.

    Args:
        folder: made where it is not there.

    Raises:
        InputError: if it holds something already, or cannot be made.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"--out {folder}: is not empty; name a new folder, or an empty one")
    make_folder(folder.absolute())
    for page in sorted(PAGES.iterdir()):
        shutil.copyfile(page, folder / page.name)


def _server(port: int) -> ThreadingHTTPServer:
    for wanted in (port, 0):
        with contextlib.suppress(OSError):
            return ThreadingHTTPServer((HOST, wanted), partial(_Quiet, directory=str(PAGES)))
    raise InputError(f"no port is free on {HOST}")


class _Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, with no line for each that is asked for."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
