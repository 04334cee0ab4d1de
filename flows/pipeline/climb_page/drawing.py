"""Pictures of a page, drawn in a process of their own: V8, which draws, ends the process where it gets no memory."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from flows.report import warn

SECONDS = 120
"""For all pictures of a page; twenty take one."""

DRAWER = Path(__file__).with_name("drawer.py")
"""Program that reads a specification a line, and writes a picture a line."""


def draw(specifications: Iterable[str]) -> dict[str, str]:
    """Draw all pictures of a page in one process; whatever ends it, the page is made without those that lack.

    Args:
        specifications: of Vega-Lite, each JSON in one line.

    Returns:
        SVG by specification, of those that were drawn; a warning tells of the others.
    """
    asked = list(dict.fromkeys(specifications))
    if not asked:
        return {}
    written, why = _run("\n".join(asked).encode())
    lines = written.split(b"\n")[:-1]
    if len(lines) < len(asked):
        warn(f"{len(asked) - len(lines)} of {len(asked)} pictures of the page could not be drawn: {why}")
    return {spec: json.loads(line) for spec, line in zip(asked, lines, strict=False)}


def _run(specifications: bytes) -> tuple[bytes, str]:
    """What was drawn, and in words what ended the drawing."""
    command = [sys.executable, "-P", str(DRAWER)]
    try:
        done = subprocess.run(command, input=specifications, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as late:
        return late.stdout or b"", f"they took more than {SECONDS} s"
    except OSError as error:
        return b"", str(error)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return done.stdout, f"drawing was ended by {name}, as where `ulimit -v` is less than V8 reserves"
    said = (line for line in reversed(done.stderr.decode(errors="replace").splitlines()) if line[:1].strip())
    return done.stdout, next(said, "")
