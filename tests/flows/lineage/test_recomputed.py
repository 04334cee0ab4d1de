"""What somebody changes in a finished climb, with all of its digests, is found by computing it again, and named."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from flows.lineage.archive import Archive
from flows.lineage.finding import DOUBTS, AuditFinding
from flows.lineage.recomputation import Recomputation
from flows.registry.names import EVIDENCE_PREFIX, PARENT_RUN_TAG
from flows.storage.digests import digests_of
from tests.flows.lineage.test_kept_evidence import artifact, replaced

POLICY = "tiny-policy"


class Finished:
    """A copy of the database of a finished climb; the artifacts are its own."""

    def __init__(self, storage: Path, client: MlflowClient) -> None:
        self.database, self.client = storage / "mlflow.db", client
        self.run_id = str(client.get_model_version(POLICY, "1").run_id)
        self.ladder = client.get_run(self.run_id).data.tags[PARENT_RUN_TAG]

    def forge(self, statement: str, *values: object) -> None:
        """Change the database behind MLflow's back."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            assert connection.execute(statement, values).rowcount > 0

    def doubts(self, name: str = POLICY) -> list[AuditFinding]:
        """What is found of a version by computing again, without what it was made from."""
        archive = Archive(self.client)
        version = archive.find(f"{name}/1")
        training = archive.training(version.run_id)
        assert training is not None
        return [each for each in Recomputation(archive).findings(version, training) if each.status in DOUBTS]

    @contextmanager
    def rescored(self, column: str, change: Callable[[list[float]], list[float]]) -> Iterator[None]:
        """Other numbers in the rows of the policy's answers, with their digest wherever it is recorded."""
        path = artifact(self.client, POLICY, "evidence/answers.parquet")
        table = pq.read_table(path)
        numbers = change(table[column].to_pylist())
        place = table.column_names.index(column)
        sink = pa.BufferOutputStream()
        pq.write_table(table.set_column(place, column, pa.array(numbers, table.schema.field(column).type)), sink)
        was = self.client.get_model_version(POLICY, "1").tags[f"{EVIDENCE_PREFIX}answers"]
        with replaced(path, sink.getvalue().to_pybytes()):
            (now,) = digests_of(path.parent, [path]).values()
            self.forge("UPDATE model_version_tags SET value = ? WHERE value = ?", now, was)
            self.forge("UPDATE datasets SET dataset_profile = replace(dataset_profile, ?, ?)", was, now)
            self.forge("UPDATE datasets SET digest = ? WHERE digest = ?", now[:36], was[:36])
            yield

    def document(self, path: str, run_id: str | None = None) -> Path:
        """Where a document of the ladder's run lies."""
        return Path(self.client.get_run(run_id or self.ladder).info.artifact_uri.removeprefix("file://")) / path


@pytest.fixture
def finished(copied_home: Path, client_of: Callable[[Path], MlflowClient]) -> Finished:
    return Finished(copied_home, client_of(copied_home))


def test_one_score_with_its_digest_recorded_anew_is_found_by_the_figures_that_do_not_follow(finished: Finished) -> None:
    recorded = json.loads(artifact(finished.client, POLICY, "estimates.json").read_text())["judge_reward_gain"]
    with finished.rescored("judge_score", lambda scores: [scores[0] + 5.0, *scores[1:]]):
        doubts = {finding.what: finding for finding in finished.doubts()}
    gain = doubts["figure judge_reward_gain"]
    assert (gain.of, gain.status) == ("tiny-policy/1", "differs")
    expected = recorded["value"] + 5.0 / recorded["n"]
    assert f"run {finished.run_id}: recorded {recorded['value']:.4f} [" in gain.detail
    assert f"the rows give {expected:.4f} [" in gain.detail
    shown = doubts.pop("table answers")
    assert "row 1 of judge_score: MLflow shows " in shown.detail
    assert all(finding.what.startswith("figure judge_") for finding in doubts.values())


def test_a_verdict_falls_with_the_rows_that_it_rests_on(finished: Finished) -> None:
    with finished.rescored("kl_to_sft_nats", lambda nats: [100.0 for _ in nats]):
        doubts = {finding.what: finding.detail for finding in finished.doubts()}
    assert doubts.keys() >= {"figure kl_to_sft_nats", "verdict kl-budget", "gate kl-budget", "gate status"}
    assert "status: recorded pass, recomputed fail" in doubts["verdict kl-budget"]
    assert doubts["gate status"] == "the registry says passed, its figures and thresholds give failed"


@pytest.mark.parametrize(
    ("table", "key", "value", "run", "where"),
    [
        ("latest_metrics", "key", "value", "run_uuid", "its page"),
        ("metrics", "key", "value", "run_uuid", "its curve"),
        ("logged_model_metrics", "metric_name", "metric_value", "run_id", "the page of the model"),
    ],
)
def test_a_metric_that_mlflow_shows_otherwise_is_named(
    finished: Finished, table: str, key: str, value: str, run: str, where: str
) -> None:
    statement = f"UPDATE {table} SET {value} = 0.987 WHERE {key} = 'final/judge_win_rate' AND {run} = ?"  # noqa: S608
    finished.forge(statement, finished.run_id)
    (doubt,) = finished.doubts()
    assert (doubt.of, doubt.what, doubt.status) == ("tiny-policy/1", "metric final/judge_win_rate", "differs")
    assert f"run {finished.run_id}: recorded 0." in doubt.detail and f"{where} in MLflow shows 0.987" in doubt.detail


def test_a_metric_of_the_ladders_run_is_named_too(finished: Finished) -> None:
    statement = "UPDATE latest_metrics SET value = 0.01 WHERE key = 'final/prompt_shift_auc' AND run_uuid = ?"
    finished.forge(statement, finished.ladder)
    (doubt,) = finished.doubts()
    assert (doubt.of, doubt.what) == (f"climb {finished.ladder[:12]}", "metric final/prompt_shift_auc")


@pytest.mark.parametrize("change", ["score", "row", "none"])
def test_a_table_that_mlflow_shows_otherwise_is_named(finished: Finished, change: str) -> None:
    path = artifact(finished.client, POLICY, "evidence/answers.json")
    table = json.loads(path.read_text())
    if change == "score":
        table["data"][2][table["columns"].index("judge_score")] = 9.5
    else:
        del table["data"][0]
    with replaced(path, None if change == "none" else json.dumps(table).encode()):
        (doubt,) = finished.doubts()
    assert (doubt.what, doubt.status) == ("table answers", "missing" if change == "none" else "differs")
    told = {"score": "row 3 of judge_score: MLflow shows 9.5, the file has ", "row": "rows of", "none": "is gone"}
    assert finished.run_id in doubt.detail and told[change] in doubt.detail


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"status": "fail"}, "status: recorded fail, recomputed pass"),
        ({"value": 0.001}, "value: recorded 0.001, recomputed 0."),
        ({"threshold": 99.0}, "threshold: recorded 99.0, recomputed 10.0"),
        ({"explanation": "fine"}, "explanation: recorded fine, recomputed kl_to_sft_nats: upper bound"),
        ({"gate": "other"}, "its configuration has no such gate"),
    ],
)
def test_a_verdict_that_does_not_follow_is_named(finished: Finished, change: dict[str, object], told: str) -> None:
    path = finished.document("gates/policy.json")
    (verdict,) = json.loads(path.read_text())["verdicts"]
    with replaced(path, json.dumps({"verdicts": [verdict | change]}).encode()):
        *others, doubt = finished.doubts()
    named = change.get("gate", "kl-budget")
    assert (doubt.of, doubt.what, doubt.status) == ("tiny-policy/1", f"verdict {named}", "differs")
    assert finished.ladder in doubt.detail and told in doubt.detail
    assert [other.detail.rpartition(": ")[2] for other in others] == ["it is not among those recorded"] * len(others)


@pytest.mark.parametrize("path", ["gates/policy.json", "config.json"])
def test_verdicts_or_thresholds_that_are_gone_are_missing(finished: Finished, path: str) -> None:
    with replaced(finished.document(path), None):
        doubts = finished.doubts()
    assert {(doubt.what, doubt.status) for doubt in doubts} == {("verdicts", "missing")}
    assert all(f"{path} of run {finished.ladder}" in doubt.detail for doubt in doubts)


def test_a_threshold_that_was_loosened_afterwards_is_named(finished: Finished) -> None:
    path = finished.document("config.json")
    config = json.loads(path.read_text())
    config["gates"]["policy"][0]["threshold"] = 11.0
    with replaced(path, json.dumps(config).encode()):
        (doubt,) = finished.doubts()
    assert doubt.what == "verdict kl-budget" and "threshold: recorded 10.0, recomputed 11.0" in doubt.detail


@pytest.mark.parametrize("name", [POLICY, "tiny-value"])
@pytest.mark.parametrize("tag", ["gate.status", "gate.kl-budget"])
def test_a_status_that_the_verdicts_do_not_give_is_named(finished: Finished, name: str, tag: str) -> None:
    finished.client.set_model_version_tag(name, "1", tag, "wonderful")
    (doubt,) = finished.doubts(name)
    assert (doubt.of, doubt.what, doubt.status) == (f"{name}/1", tag.replace(".", " "), "differs")
    assert doubt.detail.startswith("the registry says wonderful, ")


def test_rows_that_only_the_run_names_are_named(finished: Finished) -> None:
    finished.client.delete_model_version_tag(POLICY, "1", f"{EVIDENCE_PREFIX}answers")
    (doubt,) = finished.doubts()
    assert (doubt.what, doubt.status) == ("evidence", "altered") and finished.run_id in doubt.detail


def test_a_run_that_judged_and_is_gone_is_missed(finished: Finished) -> None:
    finished.client.delete_run(finished.ladder)
    for name in (POLICY, "tiny-value"):
        (doubt,) = finished.doubts(name)
        assert (doubt.of, doubt.what, doubt.status) == (f"{name}/1", "gates", "missing")
