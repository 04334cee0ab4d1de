"""The sides of a comparison: each is a process that keeps its models and works when it is told to."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.speed.vs_trl.workload import Workload

ROOT = Path(__file__).parents[3]
CURRENT, LAST_WITH_PPO = "1.16.0", "1.12.0"

SIDES: dict[str, list[tuple[str, str, str]]] = {
    "sft": [
        ("TRL padded", CURRENT, "peer sft"),
        ("TRL packing", CURRENT, "peer sft_packing"),
        ("ours", "", "ours sft"),
    ],
    "reward_model": [("TRL padded", CURRENT, "peer reward_model"), ("ours", "", "ours reward_model")],
    "dpo": [
        ("TRL padded", CURRENT, "peer dpo"),
        ("TRL precomputed", CURRENT, "peer dpo_precomputed"),
        ("ours", "", "ours dpo"),
    ],
    "ppo": [
        ("TRL padded", LAST_WITH_PPO, "peer_ppo ppo"),
        ("ours", "", "ours ppo_step"),
        ("ours, shared trunk", "", "ours ppo_shared_trunk"),
        ("ours, rollout", "", "ours ppo_rollout"),
    ],
}
"""Name, release of TRL, module and job of each side; ours scores and updates on what TRL has just sampled."""


class Side(NamedTuple):
    """A side at work.

    Attributes:
        name: as in `SIDES`.
        process: it waits for a line and answers with its figures.
        errors: file that receives what it says on its way.
    """

    name: str
    process: subprocess.Popen[str]
    errors: Path

    def take_turn(self) -> dict[str, Any]:
        """Let it work and wait for its figures.

        Raises:
            RuntimeError: if it ends instead, with the last that it said.
        """
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith('{"steps"'):
                return json.loads(line)
        raise RuntimeError(f"{self.name} ended with {self.process.wait()}:\n{self.errors.read_text()[-3000:]}")


@contextmanager
def started(work: Workload, name: str, release: str, job: str, trl: Path) -> Iterator[Side]:
    """Start a side; it has loaded its models when its first turn is over.

    Args:
        work: what it works on.
        name: as in `SIDES`.
        release: of TRL, empty for ours.
        job: module and function.
        trl: folder with a folder for each release.
    """
    path = [str(ROOT), *([str(trl / release), str(trl / "deps")] if release else []), os.environ.get("PYTHONPATH", "")]
    module, function = job.split()
    errors = work.folder / f"{name}.log"
    with (
        errors.open("w") as said,
        subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.speed.vs_trl.{module}", function, str(work.folder)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        try:
            yield Side(name, process, errors)
        finally:
            process.kill()
