"""What the teaching pages show is what the committed results hold."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.quality.recorded_pages import RECORDED, RESULTS, margins_of, script


def test_the_pages_show_the_committed_results() -> None:
    assert RECORDED.read_text(encoding="utf-8") == script(), "run `python -m benchmarks.quality.recorded_pages fill`"


def test_a_stop_keeps_a_state_of_its_run_and_no_later_one() -> None:
    runs = json.loads(RECORDED.read_text(encoding="utf-8").partition('"runs": ')[2].partition(',\n"margins"')[0])
    assert len(runs) == 10
    for run in runs:
        steps = [point["step"] for point in run["curve"]]
        for stop in run["stops"]:
            assert stop["kept"] in steps
            assert stop["kept"] < stop["stopped"] if stop["stopped"] else stop["kept"] == steps[-1]


def test_the_margins_are_those_of_the_model_that_the_page_names() -> None:
    kept = json.loads((RESULTS / "margins.json").read_text(encoding="utf-8"))
    margins = [margin for own in kept["prompts"] for margin in own]
    hits = [(margin > 0) + (margin == 0) / 2 for margin in margins]
    assert (len(margins), len(kept["prompts"])) == (4920, 822)
    assert abs(sum(hits) / len(hits) - kept["agreement"]) < 1e-6


def test_margins_of_a_prompt_stay_together(tmp_path: Path) -> None:
    rows = [("b", 1.25, 0.25), ("a", -1.0, 1.0), ("b", 0.0, 0.123456)]
    columns = dict(zip(("prompt", "chosen_score", "rejected_score"), zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), tmp_path / "pairs.parquet")
    client: Any = SimpleNamespace(download_artifacts=lambda run, path: tmp_path / Path(path).name)
    data = SimpleNamespace(
        params={"seed": "7"},
        tags={"mlflow.source.git.commit": "0123456789"},
        metrics={"final/temperature": 1.5, "final/agreement": 0.5},
    )
    run: Any = SimpleNamespace(info=SimpleNamespace(run_id="r"), data=data)
    kept = margins_of(client, run)
    assert kept["prompts"] == [[-200000], [100000, -12346]]
    assert (kept["seed"], kept["code"], kept["temperature"]) == (7, "0123456", 1.5)
