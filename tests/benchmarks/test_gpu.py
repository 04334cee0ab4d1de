"""The measurement for a GPU, tried on a processor: what a part leaves when it is done, cut, skipped or out of time."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.speed.gpu import FULL, PARTS, TINY, Part, measured, turns_of
from benchmarks.speed.vs_trl.workload import Workload
from tests.conftest import ROOT

SFT = Part("tiny", "sft", "ours", "", "ours sft", 60)


def test_what_was_never_measured_comes_before_what_else_there_is_time_for() -> None:
    order = [(part.model, part.stage, part.side) for part in PARTS]
    assert order[0] == ("0.5b", "ppo", "ours") and order.index(("0.5b", "ppo", "TRL padded")) < 3
    ours = [order.index(("1.5b", stage, "ours")) for stage in ("sft", "reward_model", "ppo")]
    assert max(ours) < order.index(("1.5b", "sft", "TRL padded"))
    assert FULL.size * FULL.steps * FULL.turns >= 512, "a rollout of configs/hh_0_5b.yaml asks 512 prompts"


def test_parts_that_there_is_no_time_for_are_not_started(tmp_path: Path) -> None:
    records = list(measured(Workload(tmp_path), "tiny", [SFT], TINY, tmp_path, until=time.monotonic() - 1))
    assert [(record["status"], record["turns"]) for record in records] == [("no time left", [])]
    assert not (tmp_path / "policy").exists()


def test_a_part_that_takes_too_long_is_cut_and_ended(tmp_path: Path) -> None:
    (tmp_path / "batches.json").write_text(json.dumps(TINY._asdict()))
    began = time.monotonic()
    [record] = turns_of(Workload(tmp_path), SFT, {"turns": []}, tmp_path, seconds=0.2)
    assert record["status"] == "cut after 0 s" and time.monotonic() - began < 30


@pytest.mark.slow  # a process for each of five parts
def test_the_command_for_the_device_measures_all_of_ours(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.speed.gpu",
        "--tiny",
        "--limit-s",
        "500",
        "--trl",
        tmp_path,
        "--out",
        out,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    parts = {(part["stage"], part["side"]): part for part in json.loads(out.read_text())["parts"]}
    assert set(parts) == {(part.stage, part.side) for part in PARTS}
    for (_, side), part in parts.items():
        if side.startswith("TRL"):
            assert part["status"].startswith("skipped") and part["turns"] == []
        else:
            assert (part["status"], len(part["turns"])) == ("done", TINY.turns), part["status"]
            assert all(step["seconds"] > 0 and step["tokens"] > 0 for turn in part["turns"] for step in turn["steps"])
    [step] = parts["ppo", "ours, configs/hh_0_5b.yaml"]["turns"][-1]["steps"]
    assert step["seconds"] == pytest.approx(sum(step[f"{name}_seconds"] for name in ("rollout", "scoring", "update")))
    assert step["tokens"] <= TINY.size * TINY.turns * 256
