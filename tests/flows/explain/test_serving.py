"""`rlhf explain`: pages that need nothing from elsewhere, served to this machine alone or written to a folder."""

import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.explain.serving import PAGES

HTML = sorted(PAGES.glob("*.html"))
NAMESPACE = "http://www.w3.org/2000/svg"


class Served(NamedTuple):
    process: subprocess.Popen[str]
    address: str


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A running `rlhf explain`, on another port than the one that was asked for, which is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [Path(sys.executable).with_name("rlhf"), "explain", "--port", str(taken.getsockname()[1])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            printed = process.stdout.readline()  # type: ignore[union-attr]
            found = re.fullmatch(r"pages +(http://127\.0\.0\.1:\d+)\n", printed)
            assert found and not found[1].endswith(f":{taken.getsockname()[1]}"), printed
            yield Served(process, found[1])
        finally:
            process.kill()
            process.wait()


def test_every_page_is_served(served: Served) -> None:
    for path in PAGES.iterdir():
        with urllib.request.urlopen(f"{served.address}/{path.name}", timeout=10) as answer:
            assert answer.read() == path.read_bytes()
    with urllib.request.urlopen(served.address, timeout=10) as answer:
        assert answer.read() == (PAGES / "index.html").read_bytes()


def test_nothing_beside_the_pages_is_served(served: Served) -> None:
    for path in ("../serving.py", "%2e%2e/serving.py", "..%2fserving.py", "/etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{served.address}/{path}", timeout=10)


def test_an_interrupt_ends_it(served: Served) -> None:
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(20) == 0
    assert served.process.stdout.read() == "Ctrl-C ends them\n"  # type: ignore[union-attr]


def test_the_pages_are_written_to_a_new_folder(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["explain", "--out", str(tmp_path / "new" / "pages")])
    assert done.exit_code == 0 and "index.html: open it in a browser" in done.output
    written = {path.name: path.read_bytes() for path in (tmp_path / "new" / "pages").iterdir()}
    assert written == {path.name: path.read_bytes() for path in PAGES.iterdir()}


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "index.html").write_text("mine")
    done = CliRunner().invoke(app, ["explain", "--out", str(folder)])
    assert done.exit_code == 2
    assert done.stderr == f"error: --out {folder}: is not empty; name a new folder, or an empty one\n"
    assert [path.read_text() for path in folder.iterdir()] == ["mine"]


def test_a_file_is_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(app, ["explain", "--out", str(tmp_path / "file")])
    assert done.exit_code == 2 and "is no folder; name another" in done.stderr


@pytest.mark.parametrize("page", HTML, ids=lambda page: page.name)
def test_a_page_needs_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "//" not in re.sub(r"^\s*//.*$|\s// .*$", "", text, flags=re.MULTILINE)
    needed = set(re.findall(r'(?:src|href)="([^"]+)"', text)) - {"data:,"}
    assert sorted(name for name in needed if not (PAGES / name).is_file()) == []


def test_the_scripts_name_no_address() -> None:
    for script in PAGES.glob("*.js"):
        assert set(re.findall(r'https?://[^"\s]+', script.read_text(encoding="utf-8"))) <= {NAMESPACE}


@pytest.mark.parametrize("page", HTML, ids=lambda page: page.name)
def test_every_figure_says_how_to_read_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    figures = re.findall(r"<figure>.*?</figure>", text, flags=re.DOTALL)
    assert all("<figcaption>How to read it: " in figure for figure in figures)
    assert text.count("How to read it: ") == len(figures) + text.count("<table")
    assert len(text.splitlines()) <= 300
