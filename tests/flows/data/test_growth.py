"""What is new since the last ingestion is said by source, annotator and file."""

from datetime import UTC, datetime
from pathlib import Path

from flows.data.growth import growth
from flows.registry.contributors import CONTRIBUTORS_FILE, Contributors
from flows.registry.ingestions import LastIngestion
from flows.registry.references import DatasetRef

FIELDS = {"name": "preferences", "digest": "d", "path": "", "rows": 0, "splits": {}, "sources": ()}


def table(folder: Path, sources: dict[str, int], annotators: dict[str, int]) -> DatasetRef:
    given = Contributors(sources=sources, annotators=annotators)
    (folder / CONTRIBUTORS_FILE).write_text(given.model_dump_json())
    return DatasetRef.model_validate({**FIELDS, "report": str(folder)})


def last(sources: dict[str, int], files: dict[str, str]) -> LastIngestion:
    given = {"preferences": Contributors(sources=sources, annotators={"ann": 100})}
    return LastIngestion(when=datetime(2026, 11, 23, 3, 0, tzinfo=UTC), contributors=given, files=files)


def test_new_rows_are_counted_by_source_and_annotator_and_files_named(tmp_path: Path) -> None:
    now = table(tmp_path, {"a.csv": 90, "c.csv": 30}, {"ann": 100, "ben": 20})
    files = {"preferences:0:a.csv": "1", "preferences:0:c.csv": "3"}
    before = last({"a.csv": 80, "b.csv": 20}, {"preferences:0:a.csv": "0", "preferences:0:b.csv": "2"})
    since = "since the ingestion of 2026-11-23 03:00 UTC"
    assert growth(before, {"preferences": now}, files) == (
        f"{since}, preferences: 40 rows more (c.csv 30, a.csv 10); 20 rows fewer (b.csv 20); 20 votes more (ben 20)",
        f"{since}, new files: c.csv; changed files: a.csv; files gone: b.csv",
    )


def test_the_first_ingestion_has_no_difference_and_the_same_one_nothing_new(tmp_path: Path) -> None:
    now = table(tmp_path, {"a.csv": 80}, {"ann": 100})
    files = {"preferences:0:a.csv": "1"}
    assert growth(None, {"preferences": now}, files) == ()
    (line,) = growth(last({"a.csv": 80}, files), {"preferences": now}, files)
    assert line.endswith("UTC, nothing new")


def test_of_many_names_a_few_are_listed(tmp_path: Path) -> None:
    now = table(tmp_path, {f"{number}.csv": number for number in range(1, 9)}, {"ann": 100})
    (line,) = growth(last({}, {}), {"preferences": now}, {})
    assert line.endswith("36 rows more (8.csv 8, 7.csv 7, 6.csv 6, 5.csv 5, 4.csv 4 and 3 more)")
