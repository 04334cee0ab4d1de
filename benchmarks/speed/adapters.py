"""What PPO holds in memory with all weights trained and with adapters: the same stage, each side in a process alone.

The models are a Llama with random weights, so that nothing is learned; two updates are measured, with gradient
checkpointing too.
"""

import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.common.machine import machine
from rlhf_core.base.embedded_tokenizer import build_tokenizer
from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.embedded_world.grammar import prompts as questions
from rlhf_core.models.loading import save
from rlhf_core.ppo.train import train_policy
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Stage

RESULTS = Path(__file__).parents[1] / "results"
SHAPE = {"num_hidden_layers": 8, "num_attention_heads": 8, "max_position_embeddings": 256}
SIDES = {"all weights": (False, False), "adapters": (True, False), "adapters, recomputed": (True, True)}
"""Whether adapters learn, and whether activations are computed again."""

app = typer.Typer()


@app.command()
def run(
    width: Annotated[int, typer.Option(help="Hidden size of the model of 8 layers.")] = 512,
    rank: Annotated[int, typer.Option(help="Rank of the adapters.")] = 16,
    results: Annotated[Path, typer.Option(help="Folder for the JSON.")] = RESULTS,
) -> None:
    """Measure every side and keep the figures."""
    figures = {}
    for side in SIDES:
        with tempfile.TemporaryDirectory() as folder:
            for step in ("prepare", "measure"):
                command = [sys.executable, "-m", "benchmarks.speed.adapters", step, side, folder, str(width), str(rank)]
                said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        figures[side] = json.loads(said.splitlines()[-1])
        typer.echo(f"{side}: {figures[side]}")
    told = {"machine": machine(), "width": width, "rank": rank, **SHAPE, "sides": figures}
    results.mkdir(exist_ok=True)
    (results / "adapters.json").write_text(json.dumps(told, indent=1) + "\n")


@app.command()
def prepare(side: str, folder: Path, width: int, rank: int) -> None:
    """Make the SFT model, the reward model and the judge."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    shape = LlamaConfig(hidden_size=width, intermediate_size=4 * width, vocab_size=len(tokenizer), **SHAPE)
    save(LlamaForCausalLM(shape), tokenizer, folder / "sft")
    asked = sorted(questions())[:8]
    pairs = [Pair(prompt, "check the plug first .", "no .") for prompt in asked]
    demonstrations = [Demonstration(prompt, "check the plug .") for prompt in asked]
    config = RewardModelConfig(optimiser=OptimiserConfig(), adapter=_adapter(side, rank))
    data: dict[str, Any] = {"train": pairs, "held_out": pairs, "demonstrations": demonstrations}
    for seed, name in enumerate(("reward_model", "judge")):
        _finish(train_reward_model(config, init_from=folder / "sft", **data, out=folder / name, seed=seed))


@app.command()
def measure(side: str, folder: Path, width: int, rank: int) -> None:
    """Train, and print what was held while updates went on."""
    _, recomputed = SIDES[side]
    optimiser = OptimiserConfig(gradient_checkpointing=recomputed)
    config = PPOConfig(
        updates=3,
        rollout_size=32,
        evaluate_every=2,
        evaluation_prompts=16,
        kl_budget_nats=None,
        optimiser=optimiser,
        value=SeparateValueConfig(optimiser=optimiser),
        sampling=SamplingConfig(max_response_tokens=32),
        adapter=_adapter(side, rank),
    )
    models = {name: folder / name for name in ("sft", "reward_model", "judge")}
    asked = sorted(questions())
    stage = train_policy(
        config,
        **models,
        prompts=asked[:64],
        held_out_prompts=asked[64:128],
        out=folder / "out",
        seed=1,
        checkpoints=Checkpoints(folder / "states"),
    )
    events = (next(stage) for _ in range(3))
    seconds = [taken for taken, event in _timed(events) if event.step > 0]
    states = [sum(file.stat().st_size for file in kept.rglob("*.distcp")) for kept in (folder / "states").iterdir()]
    said = {
        "weights_held": sum(_held().values()),
        "weights_trained": sum(weight.numel() for weight in _parameters() if weight.grad is not None),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "state_mib": round(max(states) / 2**20, 1),
        "seconds": [round(taken, 2) for taken in seconds],
    }
    typer.echo(json.dumps(said))


def _adapter(side: str, rank: int) -> AdapterConfig | None:
    return AdapterConfig(rank=rank, alpha=2.0 * rank) if SIDES[side][0] else None


def _parameters() -> list[nn.Parameter]:
    return [found for found in gc.get_objects() if isinstance(found, nn.Parameter)]


def _held() -> dict[int, int]:
    """Numbers of every weight that is alive, each once."""
    return {weight.data_ptr(): weight.numel() for weight in _parameters() if weight.device.type != "meta"}


def _timed(events: Iterator[Any]) -> Iterator[tuple[float, Any]]:
    started = time.perf_counter()
    for event in events:
        yield time.perf_counter() - started, event
        started = time.perf_counter()


def _finish(stage: Stage) -> None:
    for _ in stage:
        pass


if __name__ == "__main__":
    app()
