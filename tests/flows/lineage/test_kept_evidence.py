"""The held-out rows that figures rest on, as a real climb keeps them, and an audit that computes figures again."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from flows.config.evidence import EvidenceConfig
from flows.lineage.archive import Archive
from flows.lineage.audit import audit
from flows.lineage.evidence import STAGE_FIGURES, readable, recorded_figures
from flows.lineage.finding import DOUBTS, AuditFinding
from flows.registry.names import EVIDENCE_PREFIX
from flows.stages.evidence import write_evidence
from flows.storage.digests import digests_of
from rlhf_core.data.stress_cases import StressCase
from rlhf_core.metrics.stress import stress_figures, stress_table
from tests.conftest import Finished

STAGES = ("sft", "reward-model", "judge", "policy")


@pytest.fixture
def client(climbed: Finished, home: Path, client_of: Callable[[Path], MlflowClient]) -> MlflowClient:
    return client_of(home)


def findings(client: MlflowClient, name: str) -> list[AuditFinding]:
    archive = Archive(client)
    return [item for item in audit(archive, [archive.find(f"{name}/1")]) if item.what == "figures"]


def artifact(client: MlflowClient, name: str, path: str) -> Path:
    """Where an artifact of the run that made a version lies."""
    run = client.get_run(str(client.get_model_version(name, "1").run_id))
    return Path(unquote(urlparse(run.info.artifact_uri).path)) / path


@contextmanager
def replaced(path: Path, content: bytes | None) -> Iterator[None]:
    """Another content of a file, or none, while the context lasts."""
    kept = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(kept)


def test_the_figures_of_every_stage_follow_from_what_is_kept_with_it(client: MlflowClient) -> None:
    found = findings(client, "tiny-policy")
    holding = {finding.of: finding.detail for finding in found if finding.status == "holds"}
    left = {finding.of: finding.detail for finding in found if finding.status == "not recomputable"}
    assert holding.keys() == {f"tiny-{stage}/1" for stage in STAGES} and len(holding) + len(left) == len(found)
    for of, detail in holding.items():
        again, count = int(detail.split()[0]), int(detail.split()[2])
        assert again >= 7 and again + int(left.get(of, "0").split()[0]) == count
    assert left["tiny-judge/1"].endswith(": ceiling, parameter_ratio, temperature") and "tiny-sft/1" not in left


def test_rows_say_where_they_come_from_and_how_long_they_are(client: MlflowClient) -> None:
    kept = {
        "tiny-sft": {"demonstrations": ("tokens",), "answers": ("base_tokens", "sft_tokens")},
        "tiny-reward-model": {
            "pairs": ("chosen_tokens", "rejected_tokens"),
            "demonstrations": ("tokens",),
            "stress": ("honest_tokens", "attack_tokens"),
        },
        "tiny-policy": {"answers": ("tokens",)},
    }
    for name, files in kept.items():
        for file, lengths in files.items():
            table = pq.read_table(artifact(client, name, f"evidence/{file}.parquet"))
            assert set(table["source"].to_pylist()) == {"helpdesk"}
            groups, prompts = table["group"].to_pylist(), table["prompt"].to_pylist()
            assert all(groups) and len(set(groups)) <= len(set(prompts))
            for column in ("prompt_tokens", *lengths):
                assert pc.min(table[column]).as_py() >= 1


def test_every_answer_is_kept_with_prompt_and_scores_and_is_an_input_of_its_run(client: MlflowClient) -> None:
    table = pq.read_table(artifact(client, "tiny-policy", "evidence/answers.parquet"))
    version = client.get_model_version("tiny-policy", "1")
    run = client.get_run(version.run_id)
    judged = table.filter(pc.equal(table["answered_by"], "policy"))
    assert (
        judged.num_rows
        == json.loads(artifact(client, "tiny-policy", "estimates.json").read_text())["judge_win_rate"]["n"]
    )
    assert set(table["answered_by"].to_pylist()) >= {"policy", "sft"}
    assert all(judged["prompt"].to_pylist()) and judged["judge_score"].null_count == 0
    (used,) = [item for item in run.inputs.dataset_inputs if item.tags[0].value == "evidence"]
    digest = version.tags[f"{EVIDENCE_PREFIX}answers"]
    assert json.loads(used.dataset.profile) == {"num_rows": table.num_rows, "sha256": digest}
    shown = json.loads(artifact(client, "tiny-policy", "evidence/answers.json").read_text())
    assert shown["columns"] == table.column_names and len(shown["data"]) == min(table.num_rows, 500)


def test_a_figure_that_does_not_follow_from_the_rows_is_named(client: MlflowClient) -> None:
    path = artifact(client, "tiny-policy", "estimates.json")
    said = json.loads(path.read_text())
    said["judge_win_rate"]["lower"] += 0.1
    with replaced(path, json.dumps(said).encode()):
        archive = Archive(client)
        found = [item for item in audit(archive, [archive.find("tiny-policy/1")]) if item.status in DOUBTS]
    figure, metric = found
    assert (figure.of, figure.what, figure.status) == ("tiny-policy/1", "figure judge_win_rate", "differs")
    assert metric.what == "metric final/judge_win_rate/lower" and "the page of the model" in metric.detail


@pytest.mark.parametrize(
    ("said", "status", "detail"),
    [({"temperature": 3}, "altered", "holds what is no figure"), ({}, "missing", "'temperature' is not among")],
)
def test_figures_that_are_none_end_no_audit(
    client: MlflowClient, said: dict[str, int], status: str, detail: str
) -> None:
    path = artifact(client, "tiny-reward-model", "estimates.json")
    with replaced(path, json.dumps(said).encode()):
        (found,) = (item for item in findings(client, "tiny-reward-model") if item.of == "tiny-reward-model/1")
    assert found.status == status and detail in found.detail


def test_rows_with_another_digest_are_altered_and_rows_that_are_gone_are_missing(client: MlflowClient) -> None:
    path = artifact(client, "tiny-reward-model", "evidence/pairs.parquet")
    table = pq.read_table(path)
    scores = table["chosen_score"].to_pylist()
    other = table.set_column(table.column_names.index("chosen_score"), "chosen_score", pa.array([9.0, *scores[1:]]))
    sink = pa.BufferOutputStream()
    pq.write_table(other, sink)
    with replaced(path, sink.getvalue().to_pybytes()):
        doubts = {item.of: item.status for item in findings(client, "tiny-reward-model") if item.status in DOUBTS}
    assert doubts == {"tiny-reward-model/1": "altered"}
    with replaced(path, None):
        statuses = {item.of: item.status for item in findings(client, "tiny-reward-model")}
    assert statuses["tiny-reward-model/1"] == "missing"


def test_hashed_texts_keep_scores_and_no_word(tmp_path: Path) -> None:
    table = pa.table({"answered_by": ["policy"], "prompt": ["a secret"], "response": [None], "judge_score": [0.5]})
    table = table.set_column(2, "response", pa.array([None], pa.string()))
    (path,) = write_evidence({"answers": table}, EvidenceConfig(texts="hashed"), tmp_path / "hashed")
    (row,) = pq.read_table(path).to_pylist()
    assert (row["answered_by"], row["response"], row["judge_score"]) == ("policy", None, 0.5)
    assert len(row["prompt"]) == 64 and b"secret" not in Path(path).read_bytes()
    attacked = stress_table([StressCase("echo", "who ?", "me", "who ?")] * 3, np.array([[0.0, 1.0]] * 3))
    (stress,) = write_evidence({"stress": attacked}, EvidenceConfig(texts="hashed"), tmp_path / "stress")
    assert "who ?" not in str(pq.read_table(stress).to_pylist())
    assert stress_figures(pq.read_table(stress)) == stress_figures(attacked)
    (again,) = write_evidence({"answers": table}, EvidenceConfig(texts="hashed"), tmp_path / "again")
    assert digests_of(tmp_path / "again", [Path(again)]) == digests_of(tmp_path / "hashed", [Path(path)])


def test_figures_follow_from_rows_without_texts_unless_they_need_words(client: MlflowClient, tmp_path: Path) -> None:
    for stage in STAGES:
        name = f"tiny-{stage}"
        folder = artifact(client, name, "evidence")
        kept = {path.stem: pq.read_table(path) for path in folder.glob("*.parquet")}
        hashed = {
            Path(path).stem: pq.read_table(path)
            for path in write_evidence(kept, EvidenceConfig(texts="hashed"), tmp_path / stage)
        }
        run_id = str(client.get_model_version(name, "1").run_id)
        recorded = recorded_figures(Archive(client), run_id)
        rows, without_texts = readable(hashed)
        assert recorded is not None and rows is not None and without_texts
        compute, of_words = STAGE_FIGURES[stage]
        again = compute(rows, recorded)
        known = {figure: each for figure, each in again.items() if figure not in of_words}
        assert len(known) > 4 and known == {figure: recorded[figure] for figure in known}
        assert stage == "sft" or any(again.get(figure) != recorded[figure] for figure in of_words & recorded.keys())
