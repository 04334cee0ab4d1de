"""PPO at 0.5B beside TRL's, and SFT, reward model and PPO at 1.5B, on one GPU in eight minutes.

Each part has a process and a time limit of its own, and what it measured is on disk at once: a cut loses nothing.
Models have random weights, so nothing is downloaded.
"""

import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from threading import Timer
from typing import Annotated, Any, NamedTuple

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common.machine import machine
from benchmarks.speed.vs_trl.limit import matmul_rate, needed_flops
from benchmarks.speed.vs_trl.sides import CURRENT, LAST_WITH_PPO, ROOT, started
from benchmarks.speed.vs_trl.workload import SEED, Batches, Workload, prepare
from rlhf_core.models.precision import device

RESULTS = ROOT / "benchmarks" / "results"

Record = dict[str, Any]


class Part(NamedTuple):
    """One side of one stage, with one model.

    Attributes:
        model: key of `SHAPES`.
        stage: what is trained.
        side: who does it.
        release: of TRL, empty for ours.
        job: module and function of `benchmarks.speed.vs_trl`.
        seconds: that it may take, start included.
    """

    model: str
    stage: str
    side: str
    release: str
    job: str
    seconds: float


PARTS = (
    Part("0.5b", "ppo", "ours", "", "ours ppo_step", 70),
    Part("0.5b", "ppo", "ours, rollout", "", "ours ppo_rollout", 60),
    Part("0.5b", "ppo", "TRL padded", LAST_WITH_PPO, "peer_ppo ppo", 130),
    Part("0.5b", "ppo", "ours, configs/hh_0_5b.yaml", "", "ours ppo_recipe", 110),
    Part("1.5b", "ppo", "ours", "", "ours ppo_step", 80),
    Part("1.5b", "reward_model", "ours", "", "ours reward_model", 60),
    Part("1.5b", "sft", "ours", "", "ours sft", 60),
    Part("1.5b", "ppo", "ours, rollout", "", "ours ppo_rollout", 60),
    Part("1.5b", "reward_model", "TRL padded", CURRENT, "peer reward_model", 60),
    Part("1.5b", "sft", "TRL padded", CURRENT, "peer sft", 60),
)
"""What is most wanted first; the limits add up to more than there is, as most parts need less."""

FULL = Batches(size=64, micro=32, max_tokens=16_384, compiled=False, steps=1, turns=8)
TINY = Batches(size=2, micro=1, max_tokens=512, compiled=False, steps=1, turns=2)


def main(
    trl: Annotated[Path, typer.Option(help="Folder with a folder for each release of TRL.")] = Path(".venv/trl"),
    limit_s: Annotated[float, typer.Option(help="Seconds for everything.")] = 480,
    tiny: Annotated[bool, typer.Option("--tiny", help="A tiny model and batches, to try this program.")] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file; else in benchmarks/results.")] = None,
) -> None:
    """Measure part after part until the time is up, and print what was measured."""
    until = time.monotonic() + limit_s
    parts = list(dict.fromkeys(part._replace(model="tiny", seconds=limit_s) for part in PARTS)) if tiny else list(PARTS)
    path = out or RESULTS / f"gpu_{device().type}.json"
    report: Record = {
        "machine": machine(),
        "batches": (TINY if tiny else FULL)._asdict(),
        "matmul_rate": matmul_rate(device(), torch.bfloat16 if device().type == "cuda" else torch.float32),
        "parts": [],
    }
    for model, group in groupby(parts, key=lambda part: part.model):
        with tempfile.TemporaryDirectory() as folder:
            for record in measured(Workload(Path(folder)), model, list(group), TINY if tiny else FULL, trl, until):
                report["parts"] = [part for part in report["parts"] if part["id"] != record["id"]] + [record]
                path.write_text(json.dumps(report, indent=1) + "\n")
    show(report)


def measured(
    work: Workload, model: str, parts: list[Part], batches: Batches, trl: Path, until: float
) -> Iterator[Record]:
    """Records of all parts of a model, each again after every turn.

    Args:
        work: an empty folder.
        model: key of `SHAPES`.
        parts: what is measured, in this order.
        batches: how much is done at a time.
        trl: folder with a folder for each release.
        until: when to be done, on the monotonic clock.
    """
    ready = prepared(work, model, batches, until)
    for part in parts:
        record = part._asdict() | {"id": f"{part.model} {part.stage} {part.side}", "turns": [], "status": "done"}
        left = min(part.seconds, until - time.monotonic())
        if not ready or left <= 0:
            yield record | {"status": "no time left"}
        elif part.release and not (trl / part.release).is_dir():
            yield record | {"status": f"skipped: {trl / part.release} is missing, `make bench` fills it"}
        else:
            yield from turns_of(work, part, record, trl, left)


def prepared(work: Workload, model: str, batches: Batches, until: float) -> bool:
    """Write models and dialogues in a process of its own, which gives the GPU back; False if time ran out."""
    if until <= time.monotonic():
        return False
    process = multiprocessing.get_context("spawn").Process(target=write_workload, args=(work.folder, model, batches))
    process.start()
    process.join(until - time.monotonic())
    process.kill()
    process.join()
    return process.exitcode == 0


def write_workload(folder: Path, model: str, batches: Batches) -> None:
    """What `prepare` writes, and the rollouts that PPO's scoring and update take; random models draw at random too."""
    work = prepare(folder, model, batches=batches, data=None)
    rng = random.Random(SEED)
    prompts = [row["ids"] for row in work.rollout_prompts]
    for index in range(batches.steps * batches.turns):
        responses = [[rng.randrange(5, 8000) for _ in range(length)] for length in work.response_lengths]
        (folder / f"rollout_{index}.json").write_text(json.dumps({"prompts": prompts, "responses": responses}))


def turns_of(work: Workload, part: Part, record: Record, trl: Path, seconds: float) -> Iterator[Record]:
    """The record of a part after every turn; one that runs out of time keeps the turns that it has."""
    began = time.monotonic()
    with started(work, part.side.replace("/", "_"), part.release, part.job, trl) as side:
        timer = Timer(seconds, side.process.kill)
        timer.start()
        try:
            for turn in range(work.batches.turns):
                record["turns"].append(side.take_turn())
                record["seconds_used"] = time.monotonic() - began
                if part.side in ("ours", "TRL padded"):
                    record["flops"] = needed_flops(work, part.stage, turn)
                yield record
        except RuntimeError as error:
            cut = time.monotonic() - began >= seconds
            yield record | {"status": f"cut after {seconds:.0f} s" if cut else f"failed: {str(error)[-1500:]}"}
        finally:
            timer.cancel()


def show(report: Record) -> None:
    """Print the median turn of each part, the first one dropped where there are more."""
    table = Table("model", "stage", "side", "s/step", "tokens/s", "peak GiB", "share of the chip", "status")
    for part in report["parts"]:
        turns = part["turns"][1:] or part["turns"]
        steps = [step for turn in turns for step in turn["steps"]]
        figures = ["", "", "", ""]
        if steps:
            seconds = statistics.median(step["seconds"] for step in steps)
            tokens = statistics.median(step["tokens"] / step["seconds"] for step in steps)
            share = part["flops"] / seconds / report["matmul_rate"] if "flops" in part else None
            peak = max(turn["peak_mib"] for turn in turns) / 1024
            figures = [f"{seconds:.3f}", f"{tokens:.0f}", f"{peak:.1f}", f"{share:.0%}" if share else ""]
        table.add_row(part["model"], part["stage"], part["side"], *figures, part["status"].splitlines()[-1])
    Console(width=130).print(table)


if __name__ == "__main__":
    typer.run(main)
