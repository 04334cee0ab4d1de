"""Pages that a command shows: opened in a browser where there is one."""

import stat
import subprocess
import sys
from pathlib import Path

SHOW = "from flows.cli.common import show_page; show_page('<p>hello</p>', None, named='page.html', says='a page')"


def show(folder: Path, **environment: str) -> str:
    """What a process says that shows a page."""
    folder.mkdir()
    given = {"TMPDIR": str(folder), "PATH": str(folder), **environment}
    return subprocess.run([sys.executable, "-c", SHOW], env=given, capture_output=True, text=True, check=True).stdout


def test_a_page_is_opened_in_the_browser_of_the_person(tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n', encoding="utf-8")
    browser.chmod(0o755)
    said = show(tmp_path / "a folder", BROWSER=str(browser))
    [page] = (tmp_path / "a folder").glob("rlhf-*/page.html")
    assert said == f"{page}: a page\n" and stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert opened.read_text(encoding="utf-8").strip() == page.as_uri()
    assert page.read_text(encoding="utf-8") == "<p>hello</p>"


def test_where_there_is_no_browser_it_says_so(tmp_path: Path) -> None:
    said = show(tmp_path / "server")
    assert said.endswith("page.html: a page\nno browser is here: copy the file to a machine with one\n")
