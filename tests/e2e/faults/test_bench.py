"""The fault bench in short: a climb killed at a named point in each of its steps ends as one that nobody disturbed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHOSEN_BY_STORAGE, ROOT, Finished


@pytest.mark.slow
def test_a_climb_that_is_killed_at_every_kind_of_point_loses_nothing(
    climbed: Finished, home: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "run", "--short", "--calm", home, "--storage", tmp_path / "f"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "faults.json"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in CHOSEN_BY_STORAGE},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (outcome,) = json.loads((tmp_path / "faults.json").read_text())["outcomes"]
    assert outcome["times"] == 9 and outcome["problems"] == [] and outcome["left"] == 0
    assert outcome["comparison"] == {
        "identical": True, "twice": 0, "missing": 0, "spare_runs": 0, "spare_versions": 0,
    }  # fmt: skip
