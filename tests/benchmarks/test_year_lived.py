"""Six weeks with five incidents, lived for real without servers, on climbs too small to learn anything."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.year.calendar import SHORT
from benchmarks.year.incidents.late import LateFinding
from benchmarks.year.outcome import Outcome, read_outcomes
from tests.conftest import CHOSEN_BY_STORAGE, ROOT

pytestmark = pytest.mark.slow


def live(folder: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name not in CHOSEN_BY_STORAGE}
    command = ["run", "--tiny", "--no-stack", "--weeks", "6", "--storage", str(folder), "--results", str(folder)]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.year", *command],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The weeks, whose machine went down in the second one."""
    folder = tmp_path_factory.mktemp("year")
    first, deadline = live(folder), time.monotonic() + 600
    while not (folder / "seed-1" / "steps" / "week-01-1.before.json").exists() and time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.1)
    for process in [*psutil.Process(first.pid).children(recursive=True), first]:
        process.kill()
    first.communicate()
    second = live(folder)
    said = second.communicate(timeout=1200)[0]
    assert second.returncode == 0, said
    return read_outcomes(folder)[0]


def test_every_incident_ends_well_and_nothing_is_lost_or_made_twice(year: Outcome) -> None:
    assert len(year.records) == 7 and year.problems() == []
    assert {row.name for row in year.incidents} == {kind.name for kind in SHORT}
    assert all(row.well and row.when != "never" for row in year.incidents)
    counted = ("runs unfinished", "steps logged twice", "versions made twice", "aliases wrong", "left for the doctor")
    assert not any(year.counts[name] for name in counted), year.counts
    assert all(found["code"] == 0 for name, found in year.questions.items() if name != "status")


def test_a_batch_found_bad_later_is_named_taken_back_and_trained_out(year: Outcome) -> None:
    (notes,) = (record.notes[LateFinding.name] for record in year.records if LateFinding.name in record.notes)
    assert {version.rpartition("/")[0] for version in notes["named"]["right"]} == {
        f"year-{stage}" for stage in ("reward-model", "judge", "policy", "value")
    }
    assert notes["named"]["missed"] == notes["named"]["too_many"] == []
    assert notes["marked"] == notes["named"]
    assert notes["retrained"] == ["judge", "policy", "reward-model", "value"]
    assert all(now == wanted != "" for now, wanted in notes["champions"].values())


def test_every_week_promotes_what_passed_and_knows_what_it_is_worth(year: Outcome) -> None:
    assert {"sft", "reward-model", "policy"} <= set(year.records[0].champions)
    assert all({"champion", "without gates", "never again"} == set(record.worth) for record in year.records)
    assert [record.labels for record in year.records[:3]] == sorted(record.labels for record in year.records[:3])
