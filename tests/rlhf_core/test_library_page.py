"""docs/guide/library.md, executed in an empty folder."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.pages import assert_shown, blocks_of

PAGE = ROOT / "docs" / "guide" / "library.md"


def test_the_page_says_what_its_code_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    typed: dict[str, Any] = {}
    for block in blocks_of(PAGE, "python"):
        exec(compile(block.code, PAGE.name, "exec"), typed)
        assert block.shown
        assert_shown(block, capsys.readouterr().out)
