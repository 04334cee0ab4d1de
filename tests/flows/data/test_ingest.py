"""The ingest flow under a real Prefect server: snapshots, reuse, drift, and nothing written when data are refused."""

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from data_contracts.records import COLUMNS
from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.config.errors import InputError
from flows.data.ingest import IngestPlan, ingest
from flows.data.refusal import DataRefused
from flows.data.tables import make_tables
from flows.registry.context import RunContext
from flows.registry.dataset_uploads import log_data
from flows.storage.snapshots import read_split
from rlhf_core.embedded_world.data import WorldConfig

SMALL = WorldConfig(demonstrations=80, preference_prompts=60, prompts=80)
SHARES = Shares(test=0.2, judge=0.2)
PLAN = IngestPlan(data=SMALL, contract=ContractConfig(), shares=SHARES)


@pytest.fixture(scope="module", autouse=True)
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    results = tmp_path_factory.mktemp("results")  # the harness isolates the server, not what tasks persist
    with prefect_test_harness(server_startup_timeout=180), temporary_settings({PREFECT_LOCAL_STORAGE_PATH: results}):
        yield


def context(storage: Path, run_id: str = "first") -> RunContext:
    return RunContext(project="test", seed=1, storage=storage, threads=1, run_id=run_id)


def files(folder: Path) -> list[str]:
    """All files but the database and empty lock files."""
    found = (path for path in folder.rglob("*") if path.is_file() and "mlflow" not in path.name)
    return sorted(path.name for path in found if path.suffix != ".lock")


def test_snapshots_are_made_once_and_made_again_when_damaged(storage: Path) -> None:
    refs = ingest(PLAN, context(storage))
    assert refs.ladder_run == "first"
    assert refs.ceiling is not None and 0.6 < refs.ceiling.lower < refs.ceiling.value < refs.ceiling.upper < 1.0
    for table in refs.tables:
        assert sum(table.splits.values()) == table.rows == refs.counts[table.name].written
        assert len(read_split(table, "train")) == table.splits["train"]
        assert json.loads((Path(table.report) / "suite.json").read_text())["success"] is True
        assert json.loads((Path(table.report) / "counts.json").read_text())["quarantined"] == 0
    page = (Path(refs.report) / "report.html").read_text(encoding="utf-8")
    assert refs.prompts.digest[:12] in page and "<h1>Data of test</h1>" in page
    single = refs.labels.noise["ceiling"] if refs.labels else None
    assert single is not None and single.value < refs.ceiling.value  # one pair in ten has five votes
    assert f"would agree with one annotator on {single.value:.3f} [" in page
    assert f"with the held-out labels, each the majority of its votes, on {refs.ceiling.value:.3f} [" in page
    assert "two annotators of a pair say the same" in page and "Cohen&#39;s kappa, for which votes must" in page
    assert "data:image/png;base64," in page and "After balance length: " in page
    kept = json.loads((Path(refs.preferences.report) / "labels.json").read_text())
    assert refs.labels is not None and kept == refs.labels.model_dump(mode="json")
    assert (Path(refs.preferences.report) / "odds.png").read_bytes().startswith(b"\x89PNG")
    assert (Path(refs.report) / "docs" / "index.html").is_file()
    assert {path.suffix for path in (storage / "work").iterdir()} == {".lock"}
    again = ingest(PLAN, context(storage, "second"))
    assert again == refs
    Path(refs.prompts.path).unlink()
    mended = ingest(PLAN, context(storage, "third"))
    assert mended.ladder_run == "third" and mended.tables == refs.tables


def test_changed_rules_are_applied_to_known_data(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(PLAN, context(storage))
    monkeypatch.setattr("flows.registry.keys.code_version", lambda rooms: "other rules")
    assert ingest(PLAN, context(storage, "second")).ladder_run == "second"


def questions(path: Path, **spoilt: str) -> FileData:
    """Sixty pairs in HH's format; row 8 has the given fields instead of its own."""
    rows = []
    for i in range(60):
        question = f"\n\nHuman: How do I mend part {i}?\n\nAssistant:"
        rows.append({"chosen": f"{question} Turn {i} off and wait", "rejected": f"{question} I do not know {i}"})
    rows[7] |= {name: f"\n\nHuman: How do I mend part 7?\n\nAssistant: {text}" for name, text in spoilt.items()}
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return FileData.model_validate({kind: (FileSource(path=str(path)),) for kind in COLUMNS})


def test_refused_data_leave_nothing_behind(storage: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl.gz"
    plan = PLAN.model_copy(update={"data": questions(path, rejected="\ud800")})
    with pytest.raises(DataRefused, match=r"pairs\.jsonl\.gz row 8, field rejected") as refused:
        ingest(plan, context(storage))
    assert refused.value.looks == (f"rlhf data inspect {path}  # which rows break which rule",)
    assert files(storage) == []
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged after row"):
        ingest(plan, context(storage))
    assert files(storage) == []


def test_quarantined_rows_lie_in_a_file_beside_the_snapshots(storage: Path, tmp_path: Path) -> None:
    data = questions(tmp_path / "pairs.jsonl.gz", rejected=" ")
    evaluated = tmp_path / "evaluated.jsonl"
    evaluated.write_text(json.dumps({"prompt": "How do I mend : part 30"}))
    data = data.model_copy(update={"held_out": (FileSource(path=str(evaluated)),)})
    refs = ingest(PLAN.model_copy(update={"data": data}), context(storage))
    with (Path(refs.preferences.report) / "quarantine.csv").open(encoding="utf-8") as file:
        lines = [(line["source"], line["row"], line["rule"]) for line in csv.DictReader(file)]
    assert lines == [
        ("pairs.jsonl.gz", "8", "rejected_not_empty"),
        ("pairs.jsonl.gz", "31", "prompt_near_held_out"),
    ]
    assert refs.counts["preferences"].by_rule == {"rejected_not_empty": 1, "prompt_near_held_out": 1}
    assert (refs.preferences.rows, refs.counts["prompts"].by_rule) == (58, {"prompt_near_held_out": 1})
    assert refs.preferences.sources == ("pairs.jsonl.gz",)
    page = (Path(refs.report) / "report.html").read_text(encoding="utf-8")
    (example,) = [line for line in page.splitlines() if "<td>rejected_not_empty</td>" in line]
    assert '<td class="number">8</td>' in example and "fill in rejected, or remove the row" in example
    assert "is unknown, as no pair has three votes" in page and "Turn 7 off" not in page


def test_a_file_that_changes_while_it_is_read_leaves_nothing(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pairs.jsonl.gz"
    plan = PLAN.model_copy(update={"data": questions(path, rejected="No")})

    def made_meanwhile(*arguments: Any, **settings: Any) -> Any:
        tables = make_tables(*arguments, **settings)
        path.write_bytes(path.read_bytes() + gzip.compress(b"\n"))
        return tables

    monkeypatch.setattr("flows.data.ingest.make_tables", made_meanwhile)
    with pytest.raises(InputError, match=r"^field 'data\.\w+': pairs\.jsonl\.gz changed while it was read"):
        ingest(plan, context(storage))
    assert not files(storage / "snapshots") and not files(storage / "ingests")


def test_votes_by_annotator_lie_beside_the_snapshot(storage: Path, tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    said = [{"ann": "a", "bo": "b" if i % 5 == 0 else "a", "cy": "a"} for i in range(60)]
    longer = (" and wait", "")
    answers = [(f"Turn it off{longer[i % 2]}.", f"No {i}{longer[1 - i % 2]}{longer[1 - i % 2]}.") for i in range(60)]
    rows = [{"prompt": f"Mend {i}?", "response_a": a, "response_b": b} for i, (a, b) in enumerate(answers)]
    path.write_text("\n".join(json.dumps(row | {"votes": votes}) for row, votes in zip(rows, said, strict=True)))
    data = FileData.model_validate({"preferences": [{"path": str(path)}]})
    refs = ingest(PLAN.model_copy(update={"data": data}), context(storage))
    with (Path(refs.preferences.report) / "votes.csv").open(encoding="utf-8") as file:
        votes = list(csv.DictReader(file))
    assert len(votes) == 180
    assert votes[1] == {"source": "votes.jsonl", "row": "1", "annotator": "bo", "verdict": "second"}
    assert refs.labels is not None and refs.labels.noise["kappa of ann and bo"].n == 60
    page = (Path(refs.report) / "report.html").read_text(encoding="utf-8")
    assert "Cohen&#39;s kappa of ann and bo" in page
    assert "Who labelled" in page and [item.labels for item in refs.raters.values()] == [60, 60, 60]
    registry = context(storage).registry()
    run_id = registry.start_run("ingest")
    log_data(refs, "test", registry, run_id)
    registry.end_run(run_id, "FINISHED")
    kept = json.loads(Path(registry.client.download_artifacts(run_id, "data/raters.json")).read_text())
    assert list(kept) == ["ann", "bo", "cy"] and kept["bo"] == refs.raters["bo"].model_dump(mode="json")


def test_a_table_that_is_odd_as_a_whole_is_refused_or_reported(storage: Path, tmp_path: Path) -> None:
    pairs = [
        {
            "prompt": f"question {row} of {row * 7}?",
            "chosen": f"a long answer to {row} with words",
            "rejected": f"no {row}",
        }
        for row in range(90)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    data = FileData(kind="files", preferences=(FileSource(path=str(path), format="trl"),))
    plan = PLAN.model_copy(update={"data": data})
    with pytest.raises(DataRefused, match=r"length alone tells(.|\n)* only be told: contract: \{tables: report\}"):
        ingest(plan, context(storage))
    taken = ingest(plan.model_copy(update={"contract": ContractConfig(tables="report")}), context(storage))
    assert any("length alone tells chosen from rejected" in line for line in taken.remarks) and not taken.drift


def test_data_are_held_against_what_the_champion_was_trained_on(storage: Path, tmp_path: Path) -> None:
    here = context(storage).model_copy(update={"seed": 7})  # so that no other test's snapshots are reused
    refs = ingest(PLAN, here)
    registry = here.registry()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    tags = {"dataset.training": f"preferences:{refs.preferences.digest}"}
    run = registry.start_run("reward-model")
    model = registry.register(
        tmp_path / "model", "test-reward-model", run_id=run, parents={}, tags=tags, description=""
    )
    registry.set_alias(model, "champion")
    other = questions(tmp_path / "pairs.jsonl.gz")
    reported = ingest(PLAN.model_copy(update={"data": other}), here)
    assert any("preferences-drift: the mix of sources changed" in line for line in reported.drift)
    assert "mix of sources changed" in (Path(reported.report) / "report.html").read_text(encoding="utf-8")
    strict = PLAN.model_copy(update={"data": other, "contract": ContractConfig(drift="fatal")})
    with pytest.raises(DataRefused, match="suite preferences-drift"):
        ingest(strict, here)
