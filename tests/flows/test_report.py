"""What a terminal is given: text of users and models stays text."""

import io
import json
import sys
from pathlib import Path

import pytest
from rich.table import Table

from flows.data.inspection import inspect_path
from flows.report import Terminal, for_reader, visible

PLANTED = "a\x1b[2J\x1b]0;title\x07b\u202ec\x9b31m\u2066d\x00"
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
SHOWN = f"a\u241b[2J\u241b]0;title\u2407b{UNKNOWN}c{UNKNOWN}31m{UNKNOWN}d\u2400"


def test_what_a_terminal_would_obey_is_shown_as_signs() -> None:
    assert visible(PLANTED) == SHOWN


@pytest.mark.parametrize(
    "text", ["two\nlines\tand a tab", "naïve 漢字", "\u05e2\u05d1\u05e8", "\u0645\u06cc\u200c\u062e", "👩\u200d🔬"]
)
def test_text_of_any_alphabet_is_left_alone(text: str) -> None:
    assert visible(text) == text


def test_a_console_obeys_its_own_styles_and_no_text() -> None:
    file = io.StringIO()
    table = Table("prompt")
    table.add_row(PLANTED)
    Terminal(file=file, force_terminal=True, color_system="standard", width=80).print("[bold]title[/bold]", table)
    said = file.getvalue()
    assert "\x1b[1m" in said and "a\u241b[2J\u241b]0;title" in said
    assert not any(sign in said for sign in ("\x1b[2J", "\x1b]0", "\x07", "\u202e", "\x9b", "\x00"))


def test_a_program_gets_answers_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert for_reader(PLANTED) == PLANTED
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert for_reader(PLANTED) == SHOWN


def test_an_inspection_shows_cells_and_names_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"prompt": f"how {PLANTED}", "chosen": "\x1b[31mred", "rejected": "plain"}
    (tmp_path / "pairs\x1b[2J.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    inspect_path(tmp_path, formats=(), rows=10)
    said = capsys.readouterr().out
    assert "pairs\u241b[2J.jsonl" in said and said.count("\u241b") > 2
    assert not any(sign in said for sign in ("\x1b", "\x07", "\u202e", "\x9b", "\x00"))
