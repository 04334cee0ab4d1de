"""The ingest flow under a real Prefect server: snapshots, reuse, and nothing written when data are refused."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from flows.checking import DataRefused
from flows.config import FileData, FileSource, InputError
from flows.datasets import Shares, read_split
from flows.ingest import ingest
from flows.place import Place
from rlhf_core.worlds.helpdesk.data import WorldConfig

SMALL = WorldConfig(demonstrations=80, preference_prompts=60, prompts=80)
SHARES = Shares(test=0.2, judge=0.2)


@pytest.fixture(scope="module", autouse=True)
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    results = tmp_path_factory.mktemp("results")  # the harness isolates the server, not what tasks persist
    with prefect_test_harness(server_startup_timeout=180), temporary_settings({PREFECT_LOCAL_STORAGE_PATH: results}):
        yield


def place(storage: Path, run_id: str = "first") -> Place:
    return Place(project="test", seed=1, storage=storage, threads=1, run_id=run_id)


def test_snapshots_are_made_once_and_made_again_when_damaged(tmp_path: Path) -> None:
    refs = ingest(SMALL, SHARES, place(tmp_path))
    assert refs.ladder_run == "first"
    assert refs.ceiling is not None and 0.6 < refs.ceiling.lower < refs.ceiling.value < refs.ceiling.upper < 1.0
    for table in refs.tables:
        assert sum(table.splits.values()) == table.rows
        assert len(read_split(table, "train")) == table.splits["train"]
        report = json.loads(Path(table.path).with_suffix(".suite.json").read_text())
        assert report["success"] is True
    again = ingest(SMALL, SHARES, place(tmp_path, "second"))
    assert again == refs
    Path(refs.prompts.path).unlink()
    mended = ingest(SMALL, SHARES, place(tmp_path, "third"))
    assert mended.ladder_run == "third" and mended.tables == refs.tables


def test_changed_rules_are_applied_to_known_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(SMALL, SHARES, place(tmp_path))
    monkeypatch.setattr("flows.ingest.rules_digest", lambda: "other rules")
    assert ingest(SMALL, SHARES, place(tmp_path, "second")).ladder_run == "second"


def test_refused_data_leave_nothing_behind(tmp_path: Path) -> None:
    rows = []
    for i in range(60):
        question = f"\n\nHuman: How do I mend part {i}?\n\nAssistant:"
        rows.append({"chosen": f"{question} Turn {i} off and wait", "rejected": f"{question} I do not know {i}"})
    rows[7]["rejected"] = "\n\nHuman: How do I mend part 7?\n\nAssistant: \ud800"
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    names = ("demonstrations", "preferences", "prompts")
    source = {kind: (FileSource(path=str(path), reader=f"hh-rlhf-{kind}"),) for kind in names}
    with pytest.raises(DataRefused, match=r"pairs\.jsonl\.gz row 8, field rejected"):
        ingest(FileData.model_validate(source), SHARES, place(tmp_path / "storage"))
    assert not [file for file in (tmp_path / "storage").rglob("*.parquet")]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged after row"):
        ingest(FileData.model_validate(source), SHARES, place(tmp_path / "storage"))
