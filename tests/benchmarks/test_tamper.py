"""Tampers with the shared climb, of each kind some, and whether an audit notices: the short form of the bench."""

import json
from pathlib import Path

import pytest

from benchmarks.tamper.__main__ import counted, table
from benchmarks.tamper.bench import try_tamper
from benchmarks.tamper.every_tamper import EVERY_TAMPER
from benchmarks.tamper.kinds import BEYOND
from tests.conftest import Finished

AT_ONCE = {
    "metric edited",
    "parameter edited",
    "packages edited",
    "status edited",
    "dataset of a run removed",
    "digest removed, so that it seems to be none of a ladder",
    "description edited",
    "source moved to another model",
    "champion given that nobody promoted",
    "weights of a leaf policy changed together with its digest",
    "a whole reward model forged consistently, with what was made from it",
    "a version forged that nobody trained",
    "statement in the middle removed",
    "log signed anew by another key, which is put beside the registry",
    "a run forged without a tag of the pipeline, with figures that none measured",
    "time of the end edited",
    "parameters added to the page of a model",
    "a model forged that nobody trained, on the page of a run",
    "place of a dataset moved to other rows",
    "a folder and a loose link put among the statements, at which a reader stumbles",
    "a statement replaced by brackets that no reader can close",
}
DEEP = {
    "model that a run read removed",
    "point in the middle of a curve edited",
    "rows of a snapshot in another order",
    "provenance of rows edited",
    "count of quarantined rows edited",
    "rows edited together with the digest of their file",
    "place from which MLflow loads a version moved",
    "statement edited that the page of a version links to",
    "times of a curve edited",
}
BY_NAME = {tamper.what: tamper for tamper in EVERY_TAMPER}


def test_there_are_a_hundred_tampers_each_of_its_own() -> None:
    assert len(BY_NAME) == len(EVERY_TAMPER) >= 120
    assert {*AT_ONCE, *DEEP} <= {*BY_NAME}
    assert sum(tamper.kind == BEYOND for tamper in EVERY_TAMPER) == 3


def test_nothing_is_noticed_where_nothing_was_done(climbed: Finished, home: Path) -> None:
    assert try_tamper(None, home.parent).witnessed == ""


@pytest.mark.parametrize("what", sorted(AT_ONCE))
def test_an_audit_that_reads_no_files_notices(what: str, climbed: Finished, home: Path) -> None:
    assert try_tamper(BY_NAME[what], home.parent).quick


@pytest.mark.parametrize("what", sorted(DEEP))
def test_an_audit_that_reads_files_notices(what: str, climbed: Finished, home: Path) -> None:
    assert try_tamper(BY_NAME[what], home.parent).deep


def test_the_page_has_what_the_bench_found() -> None:
    root = Path(__file__).parents[2]
    notices = json.loads((root / "benchmarks" / "results" / "tamper.json").read_text(encoding="utf-8"))
    page = (root / "docs" / "evidence" / "audit.md").read_text(encoding="utf-8")
    assert counted(notices) in page
    assert all(line in page for line in table(notices))
    assert {notice["what"] for notice in notices if notice["kind"]} == {*BY_NAME}
    assert all(notice["deep"] for notice in notices if notice["kind"] not in ("", BEYOND))
