"""What prompts are like: which are looked at, what people read, and a ladder that they stop before any training."""

import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Run

from data_contracts.conversation import write_conversation
from flows.data.audits.prompt_report import PROMPTS, in_short, prompt_sheet
from flows.data.audits.prompts import draw_prompts
from rlhf_core.embedded_world.data import WorldConfig, generate
from rlhf_core.metrics.estimates import Estimate
from tests.conftest import TINY

KEPT = ("gates/data.json", "data/estimates.json", "summary.txt", "data/report.html")
FOUND = {"prompt_shift_auc": Estimate(0.52, 0.48, 0.56, 130)}


def table(rows: int) -> pd.DataFrame:
    """A snapshot in which every prompt stands twice; every fourth prompt is held out."""
    prompts = [f"ask {index // 2}" for index in range(rows)]
    splits = ["test" if index // 2 % 4 == 0 else "train" for index in range(rows)]
    return pd.DataFrame({"prompt": prompts, "split": splits})


@given(st.integers(1, 60), st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_same_distinct_training_prompts_are_drawn_whatever_the_order(
    rows: int, size: int, rng: random.Random
) -> None:
    frame = table(rows)
    one = draw_prompts([frame], size)
    cut = rng.randint(0, rows)
    shuffled = frame.sample(frac=1, random_state=rng.randint(0, 99))
    training = set(frame.loc[frame["split"] == "train", "prompt"])
    assert draw_prompts([shuffled[:cut], shuffled[cut:]], size) == one
    assert len(one) == len(set(one)) == min(size, len(training))
    assert set(one) <= training
    assert draw_prompts([], size) == []


def test_a_conversation_is_read_turn_by_turn_without_its_json() -> None:
    talk = write_conversation([{"role": role, "content": f"{role} says"} for role in ("user", "assistant", "user")])
    (text,) = draw_prompts([pd.DataFrame({"prompt": [talk], "split": ["train"]})], 5)
    assert text == "user says\nassistant says\nuser says"


def test_people_read_what_is_known_and_what_is_not() -> None:
    near, shift = PROMPTS.values()
    assert in_short(FOUND) == [
        f"prompts: {near}: unknown, as there are too few",
        f"prompts: {shift}: 0.520 [0.480, 0.560]",
    ]
    assert prompt_sheet(FOUND).rows == [(near, "unknown", "", ""), (shift, "0.520", "0.480 to 0.560", "130")]


def write(path: Path, rows: list[dict[str, Any]]) -> dict[str, str]:
    path.write_text("\n".join(map(json.dumps, rows)))
    return {"path": str(path), "format": "trl"}


@pytest.fixture
def shifted(tmp_path: Path) -> Path:
    """A tiny ladder whose pairs are about a help desk and whose prompts are about numbers."""
    world = generate(WorldConfig(demonstrations=300, preference_prompts=200, prompts=200), seed=1)
    document = yaml.safe_load(TINY.read_text())
    told = [{"prompt": row["prompt"], "completion": row["response"]} for row in world.demonstrations]
    pairs = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in world.preferences]
    rng = random.Random(0)
    sums = {f"add {rng.randint(100, 999)} and {rng.randint(100, 999)}": None for _ in range(250)}
    document["data"] = {
        "kind": "files",
        "demonstrations": [write(tmp_path / "told.jsonl", told)],
        "preferences": [write(tmp_path / "pairs.jsonl", pairs)],
        "prompts": [write(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in sums])],
    }
    document["contract"] = {"max_quarantined": 1.0}
    document["base"] = {"kind": "from_text", "width": 32, "layers": 1, "heads": 2}
    path = tmp_path / "shifted.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.slow
def test_prompts_unlike_those_of_the_pairs_stop_a_ladder_before_it_trains_anything(
    climb: Callable[..., CompletedProcess[str]],
    client_of: Callable[[Path], MlflowClient],
    runs_of: Callable[[Path, str], list[Run]],
    shifted: Path,
    storage: Path,
    tmp_path: Path,
) -> None:
    done = climb(storage, config=shifted)
    assert done.returncode == 3, done.stderr
    (outcome,) = [line for line in done.stdout.splitlines() if "stopped by gate" in line]
    assert "prompts-known because prompt_shift_auc: upper bound" in outcome
    assert "prompts unlike those of the preference pairs" in outcome
    (verdict_line,) = [line for line in done.stdout.splitlines() if line.startswith("data") and "prompts-known" in line]
    assert " fail " in verdict_line
    assert "prompts: how well words tell them from the prompts of the pairs: .5 not at all, 1 always: 1" in done.stdout

    client = client_of(storage)
    assert client.search_registered_models() == []
    (ladder,) = runs_of(storage, "ladder")
    assert ladder.info.status == "FAILED"
    assert ladder.data.tags["rlhf.outcome"].startswith("stopped by gate prompts-known because")
    assert all(runs_of(storage, stage) == [] for stage in ("base", "sft", "reward-model"))
    kept = {name: Path(client.download_artifacts(ladder.info.run_id, name)).read_text() for name in KEPT}
    said = {verdict["gate"]: verdict["status"] for verdict in json.loads(kept["gates/data.json"])["verdicts"]}
    assert said["prompts-known"] == "fail"
    assert json.loads(kept["data/estimates.json"])["prompt_shift_auc"]["lower"] > 0.95
    assert "prompts-known" in kept["summary.txt"]
    assert "What the prompts are like" in kept["data/report.html"]
    assert {path.suffix for path in (storage / "work").iterdir()} <= {".lock"}
    with sqlite3.connect(storage / "prefect" / "prefect.db") as database:
        told = database.execute("select resource_id, payload from events where event = 'rlhf.gate.failed'").fetchall()
    ((subject, payload),) = told
    assert subject.startswith("rlhf.data.") and "prompts unlike those" in json.loads(payload)["prompts-known"]
