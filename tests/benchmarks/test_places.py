"""Tables on pages."""

from pathlib import Path

import pytest

from benchmarks.common.places import NoPlace, fill_places

PAGE = "# Page\n\n<!-- one -->\nold\n<!-- /one -->\nbetween\n<!-- two -->\n<!-- /two -->\nend\n"


def test_tables_go_between_their_comments_and_all_else_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    fill_places(page, {"two": ["c"], "one": iter(["a", "b"])})
    assert page.read_text() == PAGE.replace("old\n", "a\nb\n").replace("<!-- two -->\n", "<!-- two -->\nc\n")


def test_a_page_without_a_place_is_refused_and_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    with pytest.raises(NoPlace, match="three"):
        fill_places(page, {"one": ["a"], "three": ["b"]})
    assert page.read_text() == PAGE
