"""Stages on as many ranks as torchrun started, one after another. `test_distributed` runs it, jobs as argument."""

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rlhf_core import dpo
from rlhf_core.distributed import joined, rank
from rlhf_core.ppo import train as ppo
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.sft import train_sft
from rlhf_core.training.checkpoint import NEVER, Checkpoints

STAGES = {
    "sft": train_sft,
    "reward_model": train_reward_model,
    "reward_heads": train_reward_model,
    "dpo": dpo.train_policy,
    "ppo": ppo.train_policy,
    "ppo_shared": ppo.train_policy,
    "reward_adapter": train_reward_model,
    "ppo_adapter": ppo.train_policy,
}


class Job(NamedTuple):
    """A stage, what goes in, how its weights are kept, where it keeps its state and after how many events it stops."""

    stage: str
    config: Any
    inputs: dict[str, Any]
    out: Path
    fsdp: bool = False
    states: Path | None = None
    events: int | None = None


def run(job: Job) -> None:
    """Write the events without timings and, if it ends, the figures of a stage as JSON beside its folder."""
    os.environ["ACCELERATE_USE_FSDP"] = str(job.fsdp)
    checkpoints = NEVER if job.states is None else Checkpoints(job.states)
    stage = STAGES[job.stage](job.config, **job.inputs, out=job.out, seed=1, checkpoints=checkpoints)
    said: dict[str, Any] = {"events": [], "series": {}, "estimates": {}}
    try:
        while len(said["events"]) != job.events:
            step, metrics, _ = next(stage)
            said["events"].append((step, {name: metrics[name] for name in metrics if not name.endswith("_seconds")}))
        next(stage)  # it is cut off after it has kept its state
    except StopIteration as end:
        said["series"] = end.value.series
        said["estimates"] = {name: estimate.value for name, estimate in end.value.estimates.items()}
    if rank() == 0:
        job.out.with_suffix(".json").write_text(json.dumps(said))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined():
        for described in pickle.loads(Path(sys.argv[1]).read_bytes()):
            run(Job(*described))
