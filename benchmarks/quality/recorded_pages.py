"""What was recorded and the teaching pages show: `python -m benchmarks.quality.recorded_pages margins`, then `fill`."""

import json
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer
from mlflow import MlflowClient
from mlflow.entities import Run

from benchmarks.quality.mitigations.arms import MONITORS, SEEDS
from benchmarks.quality.mitigations.record import Record
from benchmarks.quality.mitigations.tables import BUDGET_NATS, By, by_arm, turned
from flows.registry.names import STAGE_TAG
from rlhf_core.gates.defaults import DEFAULT_REWARD_MODEL_GATES

RESULTS = Path(__file__).parents[1] / "results"
RECORDED = Path(__file__).parents[2] / "flows" / "explain" / "pages" / "recorded.js"
GATES = ("delta-in-band", "delta-not-small", "delta-not-large", "not-overconfident", "calibrated")
"""Those of the reward model that judge margins alone."""
POINT = ("step", "kl", "kl_upper", "reward", "judge", "gold")
STOPS = {
    "the judge's monitor": ("honest", "biased"),
    "the judge's monitor, patient": ("honest, patient", "biased, patient"),
    "the monitor of an honest judge": (None, "biased, the judge's honest"),
    "the monitor of an honest judge, patient": (None, "biased, the judge's honest, patient"),
}
"""What a page calls a stop, with its name in the study for honest annotators and for biased ones."""

app = typer.Typer(add_completion=False)


@app.command()
def margins(
    storage: Annotated[Path, typer.Argument(help="Storage of a climb on configs/embedded.yaml.")] = Path(".rlhf"),
    results: Annotated[Path, typer.Option(help="JSON of the margins.")] = RESULTS / "margins.json",
) -> None:
    """Keep the margins of a reward model's held-out pairs, as the newest climb of a storage has measured them."""
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    results.write_text(json.dumps(margins_of(client, newest_reward_model(client))) + "\n", encoding="utf-8")


@app.command()
def fill(page: Annotated[Path, typer.Option(help="Script of the pages.")] = RECORDED) -> None:
    """Put what was recorded into the script that the pages read."""
    page.write_text(script(), encoding="utf-8")


def newest_reward_model(client: MlflowClient) -> Run:
    """The run that trained the newest reward model."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    query = f"tags.`{STAGE_TAG}` = 'reward-model' AND attributes.status = 'FINISHED'"
    return client.search_runs(experiments, query, max_results=1, order_by=["attributes.start_time DESC"])[0]


def margins_of(client: MlflowClient, run: Run) -> dict[str, Any]:
    """Margins as trained of a run's held-out pairs, in units of 1e-5 logits, those of a prompt together.

    Args:
        client: of the registry.
        run: of a reward model.
    """
    pairs = pq.read_table(client.download_artifacts(run.info.run_id, "evidence/pairs.parquet")).to_pylist()
    ordered = sorted(pairs, key=itemgetter("prompt"))
    return {
        "config": "configs/embedded.yaml",
        "seed": int(run.data.params["seed"]),
        "code": run.data.tags["mlflow.source.git.commit"][:7],
        "temperature": round(run.data.metrics["final/temperature"], 6),
        "agreement": round(run.data.metrics["final/agreement"], 6),
        "prompts": [[_margin(pair) for pair in own] for _, own in groupby(ordered, key=itemgetter("prompt"))],
    }


def _margin(pair: dict[str, Any]) -> int:
    return round(1e5 * (pair["chosen_score"] - pair["rejected_score"]))


def script() -> str:
    """The script: one constant, a line for each run and for some prompts."""
    records = json.loads((RESULTS / "mitigations.json").read_text(encoding="utf-8"))["records"]
    kept = json.loads((RESULTS / "margins.json").read_text(encoding="utf-8"))
    parts = {
        "budget_nats": BUDGET_NATS,
        "gates": [_gate(name) for name in GATES],
        "runs": leash(by_arm(records)),
        "margins": kept,
    }
    lines = ",\n".join(f'"{name}": {_lines(value)}' for name, value in parts.items())
    return f"// Made by benchmarks/quality/recorded_pages.py.\nconst recorded = {{\n{lines}\n}};\n" + EXPORT


EXPORT = 'if (typeof module !== "undefined") module.exports = recorded;\n'


def _lines(value: Any) -> str:
    """JSON, each entry of a list on a line of its own."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"
    return json.dumps(value)


def _gate(name: str) -> dict[str, Any]:
    gate = next(gate for gate in DEFAULT_REWARD_MODEL_GATES if gate.name == name)
    return gate.model_dump(include={"name", "metric", "direction", "threshold", "min_samples", "failure"})


def leash(by: By) -> list[dict[str, Any]]:
    """Every run of the study that nothing stopped, with the states that its stops would have ended with.

    Args:
        by: the study's records by arm and seed.
    """
    return [_run(by, kind, seed) for kind in ("honest", "biased") for seed in SEEDS]


def _run(by: By, kind: str, seed: int) -> dict[str, Any]:
    free, _ = MONITORS[kind]
    curve = by[free.name][seed]["curve"]
    studies: Iterable[tuple[str, str]] = (
        (told, study) for told, studies in STOPS.items() for study in studies if study and study.startswith(kind)
    )
    return {
        "annotators": kind,
        "seed": seed,
        "curve": [{name: round(point[name], 4) + 0.0 for name in POINT} for point in curve],
        "stops": [_stop(told, by[MONITORS[study][1].name][seed]) for told, study in studies],
    }


def _stop(told: str, run: Record) -> dict[str, Any]:
    """What a stop is called, after which update it came, if it did, and the update whose state was the result."""
    last = run["curve"][-1]["step"]
    return {
        "name": told,
        "stopped": last if turned(run) else None,
        "kept": run["curve"][run["result"]]["step"] if turned(run) else last,
    }


if __name__ == "__main__":
    app()
