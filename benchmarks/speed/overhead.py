"""What a climb costs beside its training: wall time of a real one, by part, from what Prefect and MLflow recorded.

`python -m benchmarks.speed.overhead` climbs the embedded data in full with a short training, in a process of its own
and on a new storage, then once more on the same storage, where nothing is left to train.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common.machine import machine
from flows.deploy.environment import prepare, quiet

RESULTS = Path(__file__).parents[1] / "results" / "overhead.json"
SHORT = (
    *("gates.mode=advisory", "base.width=16", "base.heads=1", "base.layers=1", "base.documents=500", "base.steps=10"),
    *("sft.epochs=1", "sft.evaluation_prompts=30", "sft.batch_size=128", "sft.optimiser.max_tokens=8192"),
    *("reward_model.batch_size=128", "reward_model.optimiser.max_tokens=8192"),
    *("judge.batch_size=128", "judge.optimiser.max_tokens=8192"),
    *("policy.updates=1", "policy.rollout_size=16", "policy.minibatch_size=8", "policy.epochs=1"),
    *("policy.evaluation_prompts=20",),
)
"""Settings under which training, of which the overhead does not depend, takes a minute instead of ten."""
COMPUTED = ("training", "final answers")
"""Parts that are no overhead."""
DONE = re.compile(r"^[a-z-]+: done after ([0-9.]+) s$")

app = typer.Typer(add_completion=False)


class Watched(NamedTuple):
    """A climb as it is seen from outside, times in seconds since the epoch.

    Attributes:
        configured: when it said that its configuration is sound.
        training: seconds that its stages said they took.
    """

    began: float
    configured: float
    ended: float
    training: float


@app.command()
def main(
    config: Path = Path("configs/embedded.yaml"),
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Instead of the short training.")] = None,
    results: Path = RESULTS,
) -> None:
    """Climb twice, and keep and print where the time went."""
    settings = SHORT if overrides is None else tuple(overrides)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        storage = Path(folder) / "storage"
        climbs = [_climb(config, storage, settings) for _ in range(2)]
        parts = [split(watched, recorded) for watched, recorded in zip(climbs, _recorded(storage), strict=True)]
    kept = {"machine": machine(), "config": config.name, "set": settings, "first": parts[0], "again": parts[1]}
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(kept, indent=1) + "\n")
    Console().print(_table(*parts))


def split(watched: Watched, recorded: Mapping[str, float]) -> dict[str, float]:
    """Seconds of a climb by part, which add up to its wall time; `recorded` as in `benchmarks.common.recorded`."""
    body = recorded["ended"] - recorded["began"]
    answers = recorded["reported"] - recorded["judged"]
    return {
        "configuration": watched.configured - watched.began,
        "imports, servers and databases": recorded["began"] - watched.configured,
        "ingest": recorded["ingest"],
        "around the stages": recorded["stages"] - watched.training,
        "gates and summary": body - recorded["ingest"] - recorded["stages"] - answers,
        "end": watched.ended - recorded["ended"],
        "training": watched.training,
        "final answers": answers,
    }


def _climb(config: Path, storage: Path, settings: tuple[str, ...]) -> Watched:
    chosen = [part for setting in (f"storage={storage}", *settings) for part in ("--set", setting)]
    command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(config), *chosen]
    began = time.time()
    configured, training = began, 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            print(line, end="", file=sys.stderr)
            if line.startswith("climbing "):
                configured = time.time()
            if done := DONE.match(line):
                training += float(done.group(1))
    if process.returncode != 0:
        raise SystemExit(f"the climb ended with {process.returncode}")
    return Watched(began, configured, time.time(), training)


def _recorded(storage: Path) -> list[dict[str, float]]:
    """What the climbs of a storage left in Prefect and MLflow, the oldest first."""
    quiet()
    prepare(storage)
    command = [sys.executable, "-m", "benchmarks.common.recorded"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: list[dict[str, float]] = json.loads(done.stdout)
    return found


def _table(*climbs: Mapping[str, float]) -> Table:
    table = Table("part", "first climb, s", "again, s")
    parts = [part for part in climbs[0] if part not in COMPUTED]
    for part in parts:
        table.add_row(part, *(f"{climb[part]:.1f}" for climb in climbs))
    table.add_section()
    table.add_row("overhead", *(f"{sum(climb[part] for part in parts):.1f}" for climb in climbs), style="bold")
    for part in COMPUTED:
        table.add_row(part, *(f"{climb[part]:.1f}" for climb in climbs))
    return table


if __name__ == "__main__":
    app()
