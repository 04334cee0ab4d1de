"""`rlhf data inspect` and `rlhf ingest` as a person types them."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.config.columns import ColumnFormat
from flows.config.data import FileData

if TYPE_CHECKING:
    from mlflow import MlflowClient

Rlhf = Callable[..., "CompletedProcess[str]"]


def inspect(*arguments: str | Path) -> str:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["data", "inspect", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_inspection_names_format_records_and_broken_rules(tmp_path: Path) -> None:
    rows = [
        {"prompt": "How?", "chosen": "So.", "rejected": "No."},
        {"prompt": "Why?", "chosen": "So.", "rejected": ""},
        {"prompt": "When?", "chosen": "So."},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = inspect(path)
    assert "pairs.jsonl: trl, which gives prompts, preferences" in shown
    assert "How?" in shown and "1:0" in shown
    (broken,) = [line for line in shown.splitlines() if line.startswith("rejected_not_empty")]
    assert broken.split()[1:3] == ["1", "2"] and "fill in rejected, or remove the row" in broken
    (misfit,) = [line for line in shown.splitlines() if line.startswith("fits_format")]
    assert "rejected is missing" in misfit


def test_inspection_looks_at_every_file_and_at_formats_of_ones_own(own_format: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jsonl").write_text(json.dumps({"prompt": "How?"}))
    (tmp_path / "raw" / "b.jsonl").write_text(json.dumps({"winner": "So.", "loser": "No.", "question": "How?"}))
    shown = inspect(tmp_path / "raw", "--formats", own_format)
    assert "a.jsonl: trl, which gives prompts" in shown and "b.jsonl: winners, which gives preferences" in shown
    own_format.write_text("1 / 0")
    refused = CliRunner().invoke(app, ["data", "inspect", str(tmp_path / "raw"), "--formats", str(own_format)])
    assert refused.exit_code == 2 and "own.py does not run (ZeroDivisionError" in refused.stderr


VENDOR = (
    "prompt,response_a,response_b,preferred,rater\nHow?,So.,No.,A,r1\nHow?,So.,No.,B,r2\nWhy?,So.,No.,both bad,r1\n"
)


def pasted(shown: str) -> FileData:
    """What the one mapping that is shown says in a configuration."""
    written = shown[shown.index("data:\n") : shown.index("preferences: ", shown.index("data:\n"))]
    return FileData.model_validate(yaml.safe_load(written)["data"])


def test_inspection_guesses_a_mapping_that_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "vendor.csv"
    path.write_text(VENDOR)
    shown = inspect(path)
    assert "vendor.csv: trl, which gives prompts\n" in shown
    assert "trl does not read: response_a, response_b, preferred, rater" in shown
    assert "warning labels or their annotators seem to stand in preferred, rater, and trl does not read them" in shown
    (source,) = pasted(shown).preferences
    assert source.path == str(path) and source.repeats == "votes"
    assert "annotators: 2" in shown and "preferences: 3 raw rows read, 2 records" in shown
    assert "a label that means skip" in shown


def test_inspection_counts_what_ingestion_would_keep(tmp_path: Path) -> None:
    said = [
        *("How?,So.,No.,A,r1", "How?,So.,No.,B,r2", "How?,So.,No.,A,r3"),  # one pair of three votes
        *("How?,No.,So.,B,r3", "How?,So.,No.,B,r1"),  # whose voters vote again, with the responses swapped too
        *("Why?,So.,No.,A,r1", "Why?,So.,No.,B,r2"),  # even
        *("When?,So.,So.,A,r1", "Who?,So.,No.,A,r1"),
    ]
    path = tmp_path / "vendor.csv"
    path.write_text("\n".join(["prompt,response_a,response_b,preferred,rater", *said]))
    shown = inspect(path)
    counted = {line.split()[0]: line.split()[1:3] for line in shown.splitlines() if re.match(r"\w+ +\d+ +\d+ ", line)}
    assert counted["annotator_votes_once"] == ["2", "4"] and counted["responses_differ"] == ["1", "8"]
    assert "left out              1                   a tie of the votes" in shown
    # 9 rows: 2 pairs kept, into one of which 2 rows went, 1 pair of 2 rows left out, 3 rows quarantined
    assert "ingestion of these rows alone would keep 2: 3 merged with others, 3 quarantined" in shown
    assert "3 of 8 records would be quarantined, more than the share of 0.05" in shown


def test_inspection_names_what_a_prompt_is_nearly(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{start} {' '.join(f'word{at}-{n}' for n in range(14))}", "chosen": "So.", "rejected": "No."}
        for start in ("Well,", "Please")
        for at in range(30)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = inspect(tmp_path / "pairs.jsonl")
    (near,) = [line.split() for line in shown.splitlines() if line.startswith("prompt_near_held_out")]
    assert int(near[1]) > 0 and f"{60 - int(near[1])}: {near[1]} quarantined" in shown


def test_inspection_says_what_a_mapping_would_need(tmp_path: Path) -> None:
    path = tmp_path / "vendor.csv"
    path.write_text("prompt,response_a,response_b\nHow?,So.,No.\n")
    assert "response_a, response_b seem to be responses, but there is no column that looks like a label" in inspect(
        path
    )
    path.write_text("zebra,horse\n1,2\n")
    refused = CliRunner().invoke(app, ["data", "inspect", str(path)])
    assert refused.exit_code == 2 and "as there is no column that looks like a prompt" in refused.stderr
    path.write_bytes("Frage,Antwort Ä,Antwort Ö,偏好\nWie?,So.,Nein.,A\n".encode("utf-16"))
    refused = CliRunner().invoke(app, ["data", "inspect", str(path)])
    assert refused.exit_code == 2 and "has the fields Frage, Antwort Ä, Antwort Ö, 偏好;" in refused.stderr
    assert "; write it: `format: {columns: {prompt: ..., responses: [..., ...], label: ...}, labels" in refused.stderr


def test_shards_are_inspected_as_one_table_whose_folder_is_named(tmp_path: Path) -> None:
    said = [("response_1", [1000, 1001]), ("tie", [2000, 2001]), ("response_2", [3000, 3001])]
    for number, (label, index) in enumerate(said):
        asked = [[{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"How {at}?"}] for at in index]
        columns = {"messages": asked, "responses": [["So.", f"No {at}."] for at in index], "preference": label}
        frame = pd.DataFrame(columns, index=index[::-1]).astype({"preference": "category"})
        frame.to_parquet(tmp_path / f"part-{number}.parquet")
    shown = inspect(tmp_path)
    assert "part-0.parquet and 2 more with the same columns: looks like trl, which reads no row of it; these" in shown
    assert "preferences: 6 raw rows read, 4 records" in shown and shown.count("preferences:\n") == 1
    assert "not read, as they have no name: column 4 of 4, in 3 of 3 files" in shown
    (source,) = pasted(shown).preferences
    assert source.path == str(tmp_path) and isinstance(source.format, ColumnFormat)
    assert set(source.format.labels) == {"response_1", "tie", "response_2"}  # no shard has them all
    (tmp_path / "z.csv").write_text("question,language\nWhy?,en\n")
    assert [Path(source.path).name for source in pasted(inspect(tmp_path)).preferences] == [
        f"part-{number}.parquet" for number in range(3)
    ]


def test_what_a_known_format_leaves_unread_is_offered_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"How {at}?", "chosen": "So.", "rejected": "No.", "annotator": "ab"[at % 2], "a": at}
        for at in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "\nto read annotator too, map the columns:\ndata:\n" in inspect(path)


@pytest.mark.parametrize("answers", ["a list", "two conversations"])
def test_inspection_reads_lists_and_messages_that_stand_in_cells_as_json(answers: str, tmp_path: Path) -> None:
    def turn(role: str, text: str) -> dict[str, str]:
        return {"role": role, "content": text}

    said = [("So {}.", "No {}.", "A"), ("What {}?", "This {}.", "B")] * 2
    rows = []
    for at, (one, other, label) in enumerate(said):
        asked, texts = [turn("system", "Be kind."), turn("user", f"How {at}?")], [one.format(at), other.format(at)]
        whole = [json.dumps([*asked, turn("assistant", text)]) for text in texts]
        lists = {"task": json.dumps(asked), "responses": json.dumps(texts)}
        rows.append({**(lists if answers == "a list" else dict(zip("ab", whole, strict=True))), "winner": label})
    names = {"a": "conversation_a", "b": "conversation_b"}
    pd.DataFrame(rows).rename(columns=names).to_csv(tmp_path / "vendor.csv", index=False)
    shown = inspect(tmp_path / "vendor.csv")
    assert "preferences: 4 raw rows read, 4 records" in shown and "no row read breaks a rule" in shown
    assert re.search(r"1 +\[1 turns\] How 0\? +So 0\. +No 0\.", shown)
    assert re.search(r"2 +\[1 turns\] How 1\? +This 1\. +What 1\?", shown)


@pytest.mark.slow
def test_ingestion_alone_leaves_snapshots_a_report_and_a_run(
    rlhf: Rlhf, tmp_path: Path, client_of: "Callable[[Path], MlflowClient]"
) -> None:
    storage = tmp_path / "storage"
    done = rlhf("ingest", "configs/tiny.yaml", "--set", f"storage={storage}")
    assert done.returncode == 0, done.stderr
    assert "records = written + merged + quarantined" in done.stdout
    report = Path(done.stdout.splitlines()[-1].removeprefix("report: "))
    assert report.is_file()
    assert len(list((storage / "snapshots").rglob("*.parquet"))) == 3
    client = client_of(storage)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = [client.get_run(found.info.run_id) for found in client.search_runs([experiment.experiment_id])]
    assert {item.dataset.name for item in run.inputs.dataset_inputs} == {"demonstrations", "preferences", "prompts"}
    kept = {item.path for item in client.list_artifacts(run.info.run_id, "data")}
    assert {"data/report.html", "data/docs", "data/preferences"} <= kept


@pytest.mark.slow
@pytest.mark.skipif("RLHF_DATA" not in os.environ, reason="RLHF_DATA names no folder with the real files")
def test_the_shipped_configuration_for_several_annotators_ingests(rlhf: Rlhf, tmp_path: Path) -> None:
    done = rlhf("ingest", "configs/pandalm.yaml", "--set", f"storage={tmp_path / 'storage'}")
    assert done.returncode == 0, done.stderr
    kappas = re.findall(r"Cohen's kappa of annotator \d and annotator \d +(\S+) +\S+ to \S+ +\d+ *\n", done.stdout)
    assert [round(float(kappa), 2) for kappa in kappas] == [0.85, 0.88, 0.86]
    assert "quarantined: chosen_is_text" in done.stdout and "left out: a tie of the votes" in done.stdout
