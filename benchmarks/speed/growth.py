"""How the cost of a training step grows: sequence length, vocabulary, batch and model, each doubled by itself.

`python -m benchmarks.speed.growth run` measures every point in a process of its own, `figure` draws the curves.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.common.machine import machine
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.models.attention import use_ragged_attention
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.precision import device, to_device
from rlhf_core.training.optimiser import Optimiser

RESULTS = Path(__file__).parents[1] / "results" / "growth.json"
BASE = {"length": 256, "vocabulary": 8_192, "batch": 8, "width": 320, "layers": 6}
"""A Llama of 10 million parameters on 2,048 tokens, half of them of the response."""
AXES: dict[str, list[int]] = {
    "length": [128, 256, 512, 1024, 2048, 4096],
    "vocabulary": [8_192, 16_384, 32_768, 65_536, 131_072, 151_936],
    "batch": [2, 4, 8, 16, 32, 64],
    "width": [64, 128, 256, 512, 768],
}
"""What is varied. With the width of 768 goes a depth of 12, the shape of 125 million parameters at 50k tokens."""
ADAM_BYTES = 16
"""For each parameter in float32: itself, its gradient and two moments."""

app = typer.Typer(add_completion=False)


@app.command()
def run(results: Path = RESULTS, repeats: Annotated[int, typer.Option(min=3, help="Steps at each point.")] = 5) -> None:
    """Measure every point and keep the figures."""
    points = []
    for axis, values in AXES.items():
        for value in values:
            settings = BASE | {axis: value} | ({"layers": 12} if axis == "width" and value == 768 else {})
            command = [sys.executable, "-m", "benchmarks.speed.growth", "point", json.dumps(settings), str(repeats)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            points.append({"axis": axis, "value": value, **settings, **json.loads(done.stdout.splitlines()[-1])})
            last = points[-1]
            typer.echo(f"{axis} {value}: {last['seconds']:.3f} s, {last['activations_mib']:.0f} MiB beside the model")
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps({"machine": machine(), "repeats": repeats, "points": points}, indent=1) + "\n")


@app.command()
def point(settings: str, repeats: int) -> None:
    """Train for some steps at one point and print its figures as JSON."""
    shape: dict[str, int] = json.loads(settings)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["width"],
        intermediate_size=shape["width"] * 27 // 10,
        num_hidden_layers=shape["layers"],
        num_attention_heads=max(shape["width"] // 64, 1),
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    to_device(model)
    use_ragged_attention(model)
    optimiser = Optimiser(model, OptimiserConfig(schedule="constant", warmup_share=0.0), repeats)
    half = shape["length"] // 2
    drawn = torch.randint(shape["vocabulary"], (shape["batch"], 2, half)).tolist()
    row = lay([Tree(prompt, [response]) for prompt, response in drawn], device())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        optimiser.accumulate([len(row.ids)], lambda model, _: (-response_logprobs(model, row)[0].mean(), {}))
        optimiser.step()
        seconds.append(time.perf_counter() - started)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    own = parameters * (ADAM_BYTES - 4) / 2**20  # the weights were there before
    figures = {"seconds": statistics.median(seconds[1:]), "range": [min(seconds[1:]), max(seconds[1:])]}
    print(json.dumps(figures | {"parameters": parameters, "activations_mib": max(grown - own, 0.0)}))


@app.command()
def figure(results: Path = RESULTS, out: Path = Path("docs/figures/growth.png")) -> None:
    """Draw seconds and memory of a step over each axis, with a line of proportional growth."""
    points = json.loads(results.read_text())["points"]
    drawing = Figure(figsize=(12, 5.4), layout="constrained")
    panels = drawing.subplots(2, len(AXES), sharey="row")
    for column, axis in enumerate(AXES):
        chosen = [item for item in points if item["axis"] == axis]
        places = [item["parameters"] if axis == "width" else item["value"] for item in chosen]
        _draw(panels[0, column], places, [item["seconds"] for item in chosen])
        _draw(panels[1, column], places, [item["activations_mib"] for item in chosen])
        panels[1, column].set_xlabel("parameters" if axis == "width" else axis)
    panels[0, 0].set_ylabel("seconds a step")
    panels[1, 0].set_ylabel("MiB beside model and Adam")
    out.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(out, dpi=150)


def _draw(panel: Any, places: list[float], values: list[float]) -> None:
    panel.loglog(places, values, marker="o")
    panel.loglog(places, [values[-1] * index / places[-1] for index in places], color="grey", linestyle=":")
    panel.set_xticks(places)
    panel.xaxis.set_major_formatter(EngFormatter(places=0, sep=""))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.tick_params(axis="x", rotation=60)


if __name__ == "__main__":
    app()
