"""What is counted at the end of a year: what was lost, done twice or left behind, and how long questions take."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from benchmarks.year.configuration import PROJECT
from benchmarks.year.ground import Ground
from benchmarks.year.registry import holders, look
from benchmarks.year.reviewer import configured
from flows.registry.names import (
    CHALLENGER,
    CHAMPION,
    DIGEST_TAG,
    FAILED,
    PARENT_PREFIX,
    SECONDS_TAG,
    STAGE_TAG,
    registered_name,
)
from flows.registry.runs import FINAL

PAGE = 1000


def count(ground: Ground) -> dict[str, Any]:
    """Runs, steps, versions and aliases that are not as they should be, and what `rlhf doctor` finds.

    Args:
        ground: on which all weeks are over.
    """
    client = MlflowClient()
    experiments = [found.experiment_id for found in client.search_experiments() if found.name.startswith(PROJECT)]
    runs, token = list[Run](), None
    while True:
        page = client.search_runs(experiments, max_results=PAGE, page_token=token)
        runs, token = [*runs, *page], page.token
        if not token:
            break
    doctor = ground.rlhf("doctor", configured(ground)[1], "--json")
    return {
        "runs": len(runs),
        "runs unfinished": sum(run.info.status == "RUNNING" for run in runs) + len(ground.unfinished()),
        "steps logged twice": sum(_steps_twice(client, run) for run in runs if run.data.tags.get(STAGE_TAG)),
        "versions": {stage: len(model.versions) for stage, model in look().items()},
        "versions made twice": _made_twice(client),
        "aliases wrong": _wrong_aliases(),
        "left for the doctor": json.loads(doctor.text) if doctor.code in (0, 1) else doctor.text[-300:],
        "stage hours": round(sum(float(run.data.tags.get(SECONDS_TAG, 0)) for run in runs) / 3600, 3),
    }


def ask_questions(ground: Ground) -> dict[str, dict[str, float | int]]:
    """What commands take that people type, the second time each: exit code, CPU and wall seconds."""
    champions = holders(look(), CHAMPION)
    option = configured(ground)
    version = champions.get("policy", registered_name(PROJECT, "policy") + "/1")
    digest = next(
        (path.stem for path in (ground.folder / "storage" / "snapshots" / "preferences").glob("*.parquet")), ""
    )
    commands: Mapping[str, tuple[str, ...]] = {
        "history": ("history", *option),
        "lineage": ("lineage", version, *option),
        "impact": ("impact", f"dataset:{digest}", *option),
        "audit": ("audit", version, *option),
        "status": ("status", option[1]),
    }
    found: dict[str, dict[str, float | int]] = {}
    for name, command in commands.items():
        for _ in range(2 if ground.has_stack else 1):  # what is forked from a process that has imported all is warm
            began = time.monotonic()
            said = ground.rlhf(*command)
            spent = time.monotonic() - began
            found[name] = {"code": said.code, "cpu_seconds": round(said.cpu_seconds, 2), "seconds": round(spent, 2)}
    return found


def prune(ground: Ground) -> int:
    """Remove what no version with an alias needs; the exit code."""
    return ground.rlhf("prune", "--keep-days", "0", "--yes", *configured(ground)).code


def _steps_twice(client: MlflowClient, run: Run) -> int:
    """Steps that a run logged more than once, over its metrics."""
    twice = 0
    for name in run.data.metrics:
        if not name.startswith(FINAL):
            steps = Counter(metric.step for metric in client.get_metric_history(run.info.run_id, name))
            twice += sum(times - 1 for times in steps.values())
    return twice


def _made_twice(client: MlflowClient) -> int:
    """Versions with the files of an earlier one of their name, and made of the same models.

    A policy whose judge alone is another one is trained to the same weights, and is another version.
    """
    twice = 0
    for stage in look():
        versions = client.search_model_versions(f"name='{registered_name(PROJECT, stage)}'", max_results=10_000)
        same = Counter(tuple(sorted(_identity(version.tags))) for version in versions)
        twice += sum(times - 1 for times in same.values())
    return twice


def _identity(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    """Digest of the files, and the models that went in."""
    return [(name, text) for name, text in tags.items() if name == DIGEST_TAG or name.startswith(PARENT_PREFIX)]


def _wrong_aliases() -> list[str]:
    """Challengers whose gates failed."""
    models = look()
    return [
        f"{version} is {CHALLENGER}, and its gates failed"
        for stage, version in holders(models, CHALLENGER).items()
        if models[stage].status.get(int(version.rpartition("/")[2])) == FAILED
    ]
