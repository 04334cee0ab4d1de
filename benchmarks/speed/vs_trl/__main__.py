"""`python -m benchmarks.speed.vs_trl`: both sides in turns on one machine, each in a process of its own.

TRL is not a dependency of the product: `make bench` installs the two releases of it into folders of their own.
"""

import json
import os
import tempfile
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.common.machine import machine
from benchmarks.speed.vs_trl.limit import matmul_rate, needed_flops
from benchmarks.speed.vs_trl.show import show
from benchmarks.speed.vs_trl.sides import CURRENT, LAST_WITH_PPO, ROOT, SIDES, started
from benchmarks.speed.vs_trl.workload import RESPONSE_TOKENS, SHAPES, Batches, Workload, prepare
from rlhf_core.models.precision import device

RESULTS = ROOT / "benchmarks" / "results"
MODELS = StrEnum("MODELS", {name: name for name in SHAPES})  # type: ignore[misc]


class Stage(StrEnum):
    """What is compared."""

    sft = "sft"
    reward_model = "reward_model"
    dpo = "dpo"
    ppo = "ppo"


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


class Device(StrEnum):
    """Where both sides work."""

    cpu = "cpu"
    cuda = "cuda"


FOUND = Device(device().type)


def main(
    stage: Annotated[list[Stage], typer.Option(help="What to compare; may be given several times.")],
    trl: Annotated[Path, typer.Option(help="Folder with a folder for each release of TRL; `make bench` fills it.")],
    model: Annotated[MODELS, typer.Option(help="Shape of the model.")] = MODELS.small,  # type: ignore[attr-defined]
    on: Annotated[Device, typer.Option("--device", help="Where; an accelerator if there is one.")] = FOUND,
    batch: Annotated[int, typer.Option(min=2, help="Demonstrations, pairs or prompts in an optimiser step.")] = 16,
    micro_batch: Annotated[int, typer.Option(min=1, help="Of them in a forward pass of TRL's.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens in a forward pass of ours.")] = 1024,
    compiled: Annotated[bool, typer.Option("--compiled", help="Whether our layers are compiled.")] = False,
    alternations: Annotated[int, typer.Option(min=1, help="How often each side has its turn.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of a turn.")] = 3,
    data: Annotated[Path | None, typer.Option(help="Pairs as HH-RLHF has them (.jsonl.gz); else generated.")] = None,
) -> None:
    """Run both sides in turns, check that they lose the same, and keep the figures.

    All sides keep their models between turns, so memory must hold them all; the first turn of each is dropped.
    """
    if on is Device.cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    batches = Batches(
        size=batch,
        micro=micro_batch,
        max_tokens=max_tokens,
        compiled=compiled,
        steps=steps,
        turns=alternations + 1,
    )
    with tempfile.TemporaryDirectory() as folder:
        work = prepare(Path(folder), model.value, batches=batches, data=data)
        for one in stage:
            said = {"stage": one.value, "model": model.value, "data": "HH-RLHF" if data else "generated"}
            result = said | {"machine": machine()} | _compare(work, one, trl)
            RESULTS.mkdir(exist_ok=True)
            path = RESULTS / f"vs_trl_{one}_{model}_{on}.json"
            path.write_text(json.dumps(result, indent=1) + "\n")
            show(result)


def _compare(work: Workload, stage: Stage, trl: Path) -> dict[str, Any]:
    """All turns of all sides of one stage."""
    turns, matmul_rates = [], []
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(started(work, name, release, job, trl)) for name, release, job in SIDES[stage]
        }
        for _ in range(work.batches.turns):
            turns.append({name: side.take_turn() for name, side in sides.items()})
            matmul_rates.append(matmul_rate(device(), torch.bfloat16 if device().type == "cuda" else torch.float32))
    return {
        "trl": LAST_WITH_PPO if stage is Stage.ppo else CURRENT,
        "counted": COUNTED[stage],
        "batches": work.batches._asdict(),
        "response_tokens": RESPONSE_TOKENS,
        "loss_gap": _loss_gap(turns, first_step_only=stage is Stage.ppo),
        "flops_per_turn": [needed_flops(work, stage, turn) for turn in range(1, len(turns))],
        "matmul_rates": matmul_rates[1:],
        "turns": turns[1:],
    }


def _loss_gap(turns: list[dict[str, Any]], *, first_step_only: bool) -> float:
    """Largest relative difference of the losses of ours from TRL's; `peer_ppo` says why only the first of PPO."""
    pairs = [
        (ours["loss"], theirs["loss"])
        for turn in turns
        for ours, theirs in zip(turn["ours"]["steps"], turn["TRL padded"]["steps"], strict=True)
    ]
    return max(abs(ours - theirs) / abs(theirs) for ours, theirs in (pairs[:1] if first_step_only else pairs))


if __name__ == "__main__":
    typer.run(main)
