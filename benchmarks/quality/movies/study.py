"""Climbs on film reviews by arm and seed, and what the registry has of them."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run

from benchmarks.quality.movies.sentiment import textblob, vader

CONFIG = "configs/movies.yaml"

WITHOUT_ANCHOR = ("gates.mode=advisory", "policy.beta=0.0", "policy.kl_to_rollout_limit_nats=null")

ARMS: dict[str, tuple[str, ...]] = {
    "default": (),
    "advised": ("gates.mode=advisory",),
    "stopped": WITHOUT_ANCHOR,
    "free": (*WITHOUT_ANCHOR, "policy.kl_budget_nats=null", "policy.monitor=null", "policy.collapse=null"),
}
"""Settings by arm. `advised` goes on where a gate would end it.

`stopped` pays nothing for KL, and budget, judge and collapse may end it; nothing ends `free`.
"""

MEASURES = {"vader": vader, "textblob": textblob}


def climb(arm: str, seed: int, storage: Path) -> dict[str, Any]:
    """Climb once in a process of its own, and read what the registry has of it. Stages that arms share are reused."""
    command = [str(Path(sys.executable).with_name("rlhf")), "run", CONFIG]
    for setting in (f"seed={seed}", f"storage={storage}", *ARMS[arm]):
        command += ["--set", setting]
    started = time.monotonic()
    storage.mkdir(parents=True, exist_ok=True)
    with (storage / f"{arm}-{seed}.log").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    spent = {"exit": code, "seconds": time.monotonic() - started}
    return {"arm": arm, "seed": seed, "settings": ARMS[arm], **spent, **read(storage)}


def read(storage: Path) -> dict[str, Any]:
    """Figures by stage, outside measures, verdicts, samples and the curve of the newest climb of a storage."""
    client = MlflowClient(tracking_uri=f"sqlite:///{storage / 'mlflow.db'}")
    ladder = _newest(client)
    found: dict[str, Any] = {
        "outcome": ladder.data.tags.get("rlhf.outcome", ""),
        "outside": _json(client, ladder.info.run_id, "outside_measures.json"),
        "estimates": {},
        "verdicts": {},
    }
    stages = {tag.removeprefix("stage."): label for tag, label in ladder.data.tags.items() if tag.startswith("stage.")}
    for stage, labels in stages.items():
        name, _, version = labels.split(", ")[0].rpartition("/")
        run_id = str(client.get_model_version(name, version).run_id)
        found["estimates"][stage] = _json(client, run_id, "estimates.json")
        if (verdicts := _json(client, ladder.info.run_id, f"gates/{stage}.json")) is not None:
            found["verdicts"][stage] = {item["gate"]: item["status"] for item in verdicts["verdicts"]}
        if stage == "policy":
            found["curve"] = curve(_text(client, run_id, "answers.jsonl").splitlines())
    return found


def curve(lines: Sequence[str]) -> list[dict[str, float]]:
    """Of each evaluation on watched prompts: step, KL, proxy, judge, outside measures and words, means over answers."""
    rows = [json.loads(line) for line in lines]
    points = []
    for step in dict.fromkeys(row["step"] for row in rows):
        now = [row for row in rows if row["step"] == step]
        prompts, texts = [row["prompt"] for row in now], [row["response"] for row in now]
        columns = {
            "kl": [row["kl_to_sft_nats"] for row in now],
            "reward": [row["reward_score"] for row in now],
            "judge": [row["judge_score"] for row in now],
            "words": [len(text.split()) for text in texts],
            **{name: measure(prompts, texts) for name, measure in MEASURES.items()},
        }
        points.append({"step": step, **{name: float(np.mean(values)) for name, values in columns.items()}})
    return points


def _newest(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name("movies")
    assert experiment is not None, "the climb ended before it had a run; see its log"
    query, order = "attributes.run_name = 'ladder'", ["attributes.start_time DESC"]
    return client.search_runs([experiment.experiment_id], query, order_by=order, max_results=1)[0]


def _json(client: MlflowClient, run_id: str, path: str) -> Any:
    if not any(item.path == path for item in client.list_artifacts(run_id, str(Path(path).parent).strip("."))):
        return None
    return json.loads(_text(client, run_id, path))


def _text(client: MlflowClient, run_id: str, path: str) -> str:
    location = download_artifacts(run_id=run_id, artifact_path=path, tracking_uri=client.tracking_uri)
    return Path(location).read_text(encoding="utf-8")
