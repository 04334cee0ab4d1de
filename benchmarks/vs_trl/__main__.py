"""`python -m benchmarks.vs_trl`: both sides in turns on one machine, each run a process of its own.

TRL is not a dependency of the product: `make bench` installs the two releases of it into folders of their own.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig

from benchmarks.machine import machine
from benchmarks.vs_trl.limit import TRAINING_PASSES, forward_flops, matmul_rate
from benchmarks.vs_trl.workload import BATCH, PPO_EPOCHS, RESPONSE_TOKENS, SHAPES, Workload, prepare
from rlhf_core.models import device

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
DEVICE = device()
CURRENT, LAST_WITH_PPO = "1.16.0", "1.12.0"
MODELS = StrEnum("MODELS", {name: name for name in SHAPES})  # type: ignore[misc]


class Stage(StrEnum):
    """What is compared."""

    sft = "sft"
    reward_model = "reward_model"
    dpo = "dpo"
    ppo = "ppo"


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

OTHER_WORK = ("ours, shared trunk", "ours, rollout")
"""Sides that do not do what the limit is computed for."""

COUNTED = {
    "sft": "optimiser steps",
    "reward_model": "optimiser steps; tokens of both sequences, as if the prompt were read twice",
    "dpo": "optimiser steps with the reference's pass over their pairs, as in a first epoch without a cache; where "
    "that pass comes before training it is timed batch by batch, `reference_seconds`, and added; tokens of both "
    "sequences, as if the prompt were read twice",
    "ppo": "scoring and update, tokens of responses as long as those of the dialogues, at most `response_tokens`; the "
    "rollout apart, with `response_tokens` for each prompt",
}
"""What `seconds` and `tokens` of a step hold."""


def main(
    stage: Annotated[Stage, typer.Option(help="What to compare.")],
    trl: Annotated[Path, typer.Option(help="Folder with a folder for each release of TRL; `make bench` fills it.")],
    model: Annotated[MODELS, typer.Option(help="Shape of the model.")] = MODELS.small,  # type: ignore[attr-defined]
    alternations: Annotated[int, typer.Option(min=1, help="How often each side has its turn.")] = 5,
    steps: Annotated[int, typer.Option(min=2, help="Optimiser steps of a turn; the first is dropped.")] = 4,
    data: Annotated[Path | None, typer.Option(help="Pairs as HH-RLHF has them (.jsonl.gz); else generated.")] = None,
) -> None:
    """Run both sides in turns, check that they lose the same, and keep the figures."""
    with tempfile.TemporaryDirectory() as folder:
        work = prepare(Path(folder), model.value, steps=steps, data=data)
        turns, matmul_rates = [], []
        for _ in range(alternations):
            turns.append(
                {
                    name: _turn(work, job, trl / release if release else None, steps)
                    for name, release, job in SIDES[stage]
                }
            )
            matmul_rates.append(matmul_rate(DEVICE, torch.bfloat16 if DEVICE.type == "cuda" else torch.float32))
        flops = _needed_flops(work, stage, steps)
    result = {
        "stage": stage.value,
        "model": model.value,
        "data": "HH-RLHF" if data else "generated",
        "machine": machine(),
        "trl": LAST_WITH_PPO if stage is Stage.ppo else CURRENT,
        "counted": COUNTED[stage],
        "batch": BATCH,
        "response_tokens": RESPONSE_TOKENS,
        "loss_gap": max(_loss_gap(turn) for turn in turns),
        "flops_per_step": flops,
        "matmul_rates": matmul_rates,
        "turns": turns,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"vs_trl_{stage}_{model}_{DEVICE.type}.json").write_text(json.dumps(result, indent=1) + "\n")
    show(result)


def show(result: dict[str, Any]) -> None:
    """Print the figures of one comparison."""
    table = Table(title=f"{result['stage']}, {result['model']} model, {result['data']} lengths, TRL {result['trl']}")
    for heading in ("side", "tokens/s [range]", "ours is faster by", "s/step", "x limit", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    ours = rates(result, "ours")
    for name in result["turns"][0]:
        found = rates(result, name)
        ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, found, strict=True))
        seconds = statistics.median(_seconds(turn[name]) for turn in result["turns"])
        over_limit = statistics.median(
            _seconds(turn[name]) * rate / result["flops_per_step"]
            for turn, rate in zip(result["turns"], result["matmul_rates"], strict=True)
        )
        table.add_row(
            name,
            f"{statistics.median(found):.0f} [{min(found):.0f}, {max(found):.0f}]",
            "" if name.startswith("ours") else f"{ratio:.2f}",
            f"{seconds:.2f}",
            "" if name in OTHER_WORK else f"{over_limit:.2f}",
            f"{max(turn[name]['peak_mib'] for turn in result['turns']):.0f}",
        )
    console = Console()
    console.print(table)
    if result["stage"] == "ppo":
        sampled = rates(result, "ours, rollout")
        theirs = [BATCH * RESPONSE_TOKENS / _seconds(turn["TRL padded"], "rollout_seconds") for turn in result["turns"]]
        ratio = statistics.median(mine / other for mine, other in zip(sampled, theirs, strict=True))
        console.print(f"rollout: TRL {statistics.median(theirs):.0f} tokens/s, ours faster by {ratio:.2f}")
        shared = rates(result, "ours, shared trunk")
        padded = rates(result, "TRL padded")
        ratio = statistics.median(mine / other for mine, other in zip(shared, padded, strict=True))
        console.print(f"with a shared trunk, which is other mathematics than TRL's: ours faster by {ratio:.2f}")
    if result["stage"] == "dpo":
        console.print(_later_epochs(result["turns"]))
    console.print(f"largest relative difference of the losses: {result['loss_gap']:.1e}")


def rates(result: dict[str, Any], name: str) -> list[float]:
    """Tokens a second of each turn of a side."""
    return [_tokens(turn[name]) / _seconds(turn[name]) for turn in result["turns"]]


def _later_epochs(turns: list[dict[str, Any]]) -> str:
    """DPO once the log-probabilities under the reference are known."""

    def speeds(name: str) -> list[float]:
        return [
            _tokens(turn[name]) / (_seconds(turn[name]) - _seconds(turn[name], "reference_seconds")) for turn in turns
        ]

    ours, theirs = speeds("ours"), speeds("TRL precomputed")
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return (
        f"without the reference's pass, as in later epochs: TRL precomputed {statistics.median(theirs):.0f} tokens/s, "
        f"ours {statistics.median(ours):.0f}, faster by {ratio:.2f}"
    )


def _tokens(run: dict[str, Any]) -> float:
    return statistics.mean(step["tokens"] for step in run["steps"][1:])


def _seconds(run: dict[str, Any], kind: str = "seconds") -> float:
    return statistics.mean(step[kind] for step in run["steps"][1:])


def _turn(work: Workload, job: str, trl: Path | None, steps: int) -> dict[str, Any]:
    """One process that prints its figures as its last line."""
    path = [str(ROOT), *([str(trl), str(trl.parent / "deps")] if trl else [])]
    module, name = job.split()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.vs_trl.{module}", name, str(work.folder), str(steps)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise typer.BadParameter(f"{job} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _loss_gap(turn: dict[str, Any]) -> float:
    """Largest relative difference between the losses of ours and of TRL padded; of PPO in the first step, see there."""
    pairs = list(zip(turn["ours"]["steps"], turn["TRL padded"]["steps"], strict=True))
    compared = pairs[:1] if "ours, rollout" in turn else pairs
    return max(abs(ours["loss"] - theirs["loss"]) / abs(theirs["loss"]) for ours, theirs in compared)


def _needed_flops(work: Workload, stage: Stage, steps: int) -> float:
    """Floating-point operations that the mathematics of a step needs."""
    config = AutoConfig.from_pretrained(work.policy)
    if stage is Stage.ppo:
        lengths = work.response_lengths
        trees = [(len(row["ids"]), [length]) for row, length in zip(work.rollout_prompts, lengths, strict=True)]
        with_head = forward_flops(config, trees, sum(lengths))
        without = forward_flops(config, trees, 0)
        scoring = with_head + 2 * without  # reference; reward model and value model
        return scoring + PPO_EPOCHS * TRAINING_PASSES * (with_head + without)
    rows = work.ids[BATCH : steps * BATCH]
    responses = ("chosen",) if stage is Stage.sft else ("chosen", "rejected")
    trees = [(len(row["prompt"]), [len(row[name]) for name in responses]) for row in rows]
    scored = 0 if stage is Stage.reward_model else sum(sum(lengths) for _, lengths in trees)
    passes = TRAINING_PASSES + 1 if stage is Stage.dpo else TRAINING_PASSES  # DPO: the reference's too
    return passes * forward_flops(config, trees, scored) / (steps - 1)


if __name__ == "__main__":
    typer.run(main)
