"""What the ladder reaches on the embedded world, over seeds and on purpose-made failures, with the truth beside it.

`python -m benchmarks.quality.embedded_world run` climbs every scenario with every seed through `rlhf run` and keeps the
figures as JSON; stages that scenarios share are trained once. `table`, `over-optimisation` and `bias` print what is in
that JSON, `figure` draws the over-optimisation.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from scipy import stats

from benchmarks.common.climbs.truth import curve
from benchmarks.common.machine import machine

CONFIG = "configs/embedded.yaml"
RESULTS = Path(__file__).parents[1] / "results" / "embedded_world.json"
BIASED = ("data.annotators.length_bias=1", "data.annotators.flattery_bias=0.5")
FREE = (
    "gates.mode=advisory",
    "policy.beta=0.0",
    "policy.kl_to_rollout_limit_nats=null",
    "policy.optimiser={lr: 1.0e-4, eps: 1.0e-5, schedule: linear, warmup_share: 0.0}",
    "policy.updates=48",
    "policy.evaluate_every=2",
)
SCENARIOS: dict[str, tuple[str, ...]] = {
    "default": (),
    "biased": ("gates.mode=advisory", "policy.kl_budget_nats=null", *BIASED),
    "free": (*FREE, "policy.kl_budget_nats=null"),
    "free-biased": (*FREE, "policy.kl_budget_nats=null", *BIASED),
    "budgeted": FREE,
    "budgeted-biased": (*FREE, *BIASED),
    "shuffled": ("data.annotators.careless_share=1",),
}
"""Settings by scenario. `free` has neither anchor nor limits; `budgeted` is the same run with the configuration's KL
budget. Both learn at a third of the usual rate, so that the curve has points before its peak."""

COLUMNS = (
    ("EOS of SFT", "sft", "eos_rate"),
    ("regurgitation of SFT", "sft", "regurgitation_rate"),
    ("gold of base", "gold", "base_gold"),
    ("gold of SFT", "gold", "sft_gold"),
    ("RM agreement", "reward-model", "agreement"),
    ("above floors", "reward-model", "agreement_above_floor"),
    ("share of ceiling", "reward-model", "share_of_ceiling"),
    ("ECE", "reward-model", "ece"),
    ("share in band", "reward-model", "share_in_band"),
    ("gold win rate over SFT", "gold", "policy_win_rate"),
    ("right, SFT", "gold", "sft_right"),
    ("right, policy", "gold", "policy_right"),
    ("KL to SFT, nats", "policy", "kl_to_sft_nats"),
    ("duplicates", "policy", "duplicate_share"),
    ("distinct-2 ratio", "policy", "distinct_2_ratio"),
)
"""Heading, stage and figure; `gold` is the truth, which no gate sees."""

app = typer.Typer(add_completion=False)


@app.command()
def run(
    storage: Annotated[Path, typer.Option(help="Folder of all climbs.")],
    seeds: Annotated[list[int], typer.Option("--seed", help="Give several.")],
    scenarios: Annotated[list[str] | None, typer.Option("--scenario", help="All, unless some are named.")] = None,
    results: Path = RESULTS,
) -> None:
    """Climb and keep the figures; climbs that the results already hold with this seed are replaced."""
    kept = json.loads(results.read_text()) if results.exists() else {"climbs": []}
    for seed in seeds:
        for scenario in scenarios or SCENARIOS:
            climb = measure(scenario, seed, storage)
            others = [item for item in kept["climbs"] if (item["scenario"], item["seed"]) != (scenario, seed)]
            kept = {"machine": machine(), "config": CONFIG, "climbs": [*others, climb]}
            results.parent.mkdir(parents=True, exist_ok=True)
            results.write_text(json.dumps(kept, indent=1) + "\n")
            typer.echo(f"{scenario} seed {seed}: exit {climb['exit']} after {climb['seconds']:.0f} s")


@app.command()
def figure(results: Path = RESULTS, out: Path = Path("docs/figures/over_optimisation.png")) -> None:
    """Draw proxy, judge and gold reward over sqrt(KL), honest annotators beside biased ones."""
    drawing = Figure(figsize=(10, 4.2), layout="constrained")
    panels = drawing.subplots(1, 2, sharey=True)
    climbs = json.loads(results.read_text())["climbs"]
    for panel, scenario, title in zip(
        panels, ("free", "free-biased"), ("honest annotators", "biased annotators"), strict=True
    ):
        curves = [climb["curve"] for climb in climbs if climb["scenario"] == scenario]
        for name, colour in (("reward", "#4477aa"), ("judge", "#ccbb44"), ("gold", "#ee6677")):
            for index, path in enumerate(curves):
                distance = np.sqrt(np.maximum([point["kl"] for point in path], 0.0))
                gains = [point[name] - path[0][name] for point in path]
                panel.plot(distance, gains, color=colour, alpha=0.8, label=name if index == 0 else None)
        panel.axhline(0.0, color="grey", linewidth=0.8)
        panel.set(title=f"{title}, beta 0, no limits", xlabel="sqrt(KL to SFT), KL in nats per response")
    panels[0].set_ylabel("gain over SFT on held-out prompts, logits")
    panels[0].legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(out, dpi=150)


@app.command()
def table(
    scenarios: Annotated[list[str] | None, typer.Option("--scenario", help="All, unless some are named.")] = None,
    results: Path = RESULTS,
) -> None:
    """Print the figures of every climb as Markdown, a table for each scenario, with medians and ranges over seeds."""
    climbs = json.loads(results.read_text())["climbs"]
    for scenario in scenarios or SCENARIOS:
        chosen = sorted((climb for climb in climbs if climb["scenario"] == scenario), key=lambda climb: climb["seed"])
        if not chosen:
            continue
        _print_row(scenario, *(f"seed {climb['seed']}" for climb in chosen), "median [range]")
        _print_row(*["---"] * (len(chosen) + 2))
        _print_row("exit code", *(str(climb["exit"]) for climb in chosen), "")
        for heading, stage, name in COLUMNS:
            values = [found[name]["value"] for climb in chosen if (found := _figures(climb, stage))]
            spread = f"{np.median(values):.3f} [{min(values):.3f}, {max(values):.3f}]" if values else "-"
            _print_row(heading, *(_cell(climb, stage, name) for climb in chosen), spread)
        typer.echo()


@app.command()
def over_optimisation(results: Path = RESULTS) -> None:
    """Print, as Markdown, where gold peaks without limits and what the KL budget keeps of that gain."""
    climbs = {(climb["scenario"], climb["seed"]): climb for climb in json.loads(results.read_text())["climbs"]}
    _print_row(
        "annotators", "seed", "SFT gold", "peak gold (nats)", "end gold (nats)", "kept gold (nats)", "share of gain"
    )
    _print_row(*["---"] * 7)
    for free, budgeted in (("free", "budgeted"), ("free-biased", "budgeted-biased")):
        for seed in sorted(seed for scenario, seed in climbs if scenario == free):
            path, limited = climbs[free, seed]["curve"], climbs[budgeted, seed]["curve"]
            peak = max(path, key=lambda point: float(point["gold"]))
            kept = limited[-2] if limited[-1]["step"] < path[-1]["step"] else limited[-1]
            gain = peak["gold"] - path[0]["gold"]
            share = f"{(kept['gold'] - path[0]['gold']) / gain:.0%}" if gain > 0 else "no gain"
            reached = [f"{point['gold']:.2f} ({point['kl']:.1f})" for point in (peak, path[-1], kept)]
            annotators = "biased" if "biased" in free else "honest"
            _print_row(annotators, str(seed), f"{path[0]['gold']:.2f}", *reached, share)


@app.command()
def bias(results: Path = RESULTS) -> None:
    """Print, as Markdown, what biased annotators change at the same seed and settings, with t intervals over seeds."""
    ends = {
        (climb["scenario"], climb["seed"]): climb["curve"][-1]
        for climb in json.loads(results.read_text())["climbs"]
        if climb["scenario"] in ("default", "biased")
    }
    seeds = sorted(seed for scenario, seed in ends if scenario == "biased")
    _print_row("biased - honest", *(f"seed {seed}" for seed in seeds), "mean [95 % interval]")
    _print_row(*["---"] * (len(seeds) + 2))
    for figure in ("gold", "right", "words", "filler", "reward", "judge", "kl"):
        changes = np.array([ends["biased", seed][figure] - ends["default", seed][figure] for seed in seeds])
        interval = stats.ttest_1samp(changes, 0.0).confidence_interval()
        shown = f"{changes.mean():+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
        _print_row(figure, *(f"{change:+.3f}" for change in changes), shown)


def _print_row(*cells: str) -> None:
    typer.echo(f"| {' | '.join(cells)} |")


def _figures(climb: dict[str, Any], stage: str) -> dict[str, Any]:
    found = climb["gold"] if stage == "gold" else climb["estimates"].get(stage)
    return found or {}


def _cell(climb: dict[str, Any], stage: str, name: str) -> str:
    """A figure with its interval; a dash where the climb did not get so far."""
    figures = _figures(climb, stage)
    if not figures:
        return "-"
    return f"{figures[name]['value']:.3f} [{figures[name]['lower']:.3f}, {figures[name]['upper']:.3f}]"


def measure(scenario: str, seed: int, storage: Path) -> dict[str, Any]:
    """Climb once in a process of its own and read what the registry has of it."""
    settings = (f"seed={seed}", f"storage={storage}", *SCENARIOS[scenario])
    command = [str(Path(sys.executable).with_name("rlhf")), "run", CONFIG]
    for setting in settings:
        command += ["--set", setting]
    started = time.monotonic()
    with (storage.parent / f"{scenario}-{seed}.log").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    seconds = time.monotonic() - started
    return {
        "scenario": scenario,
        "seed": seed,
        "settings": SCENARIOS[scenario],
        "exit": code,
        "seconds": seconds,
    } | read(storage)


def read(storage: Path) -> dict[str, Any]:
    """Figures, verdicts and curve of the newest climb of a storage."""
    client = MlflowClient(tracking_uri=f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("helpdesk")
    if experiment is None:
        raise typer.BadParameter(f"{storage} has no climb")
    query = "attributes.run_name = 'ladder'"
    ladder = client.search_runs(
        [experiment.experiment_id], query, order_by=["attributes.start_time DESC"], max_results=1
    )[0]
    stages = {tag.removeprefix("stage."): label for tag, label in ladder.data.tags.items() if tag.startswith("stage.")}
    found: dict[str, Any] = {"outcome": ladder.data.tags.get("rlhf.outcome", ""), "estimates": {}, "verdicts": {}}
    for stage, labels in stages.items():
        name, _, version = labels.split(", ")[0].rpartition("/")
        run_id = str(client.get_model_version(name, version).run_id)
        found["estimates"][stage] = _json(client, run_id, "estimates.json")
        if (verdicts := _json(client, ladder.info.run_id, f"gates/{stage}.json")) is not None:
            found["verdicts"][stage] = {item["gate"]: item["status"] for item in verdicts["verdicts"]}
        if stage == "policy":
            found["curve"] = curve(_lines(client, run_id, "answers.jsonl"))
    found["gold"] = _json(client, ladder.info.run_id, "gold.json")
    return found


def _json(client: MlflowClient, run_id: str, path: str) -> Any:
    if not any(item.path == path for item in client.list_artifacts(run_id, str(Path(path).parent).strip("."))):
        return None
    return json.loads(_text(client, run_id, path))


def _lines(client: MlflowClient, run_id: str, path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _text(client, run_id, path).splitlines()]


def _text(client: MlflowClient, run_id: str, path: str) -> str:
    location = download_artifacts(run_id=run_id, artifact_path=path, tracking_uri=client.tracking_uri)
    return Path(location).read_text(encoding="utf-8")


if __name__ == "__main__":
    app()
