"""Tampers that were thought of when all earlier ones were noticed; `tampers` has the words of both."""

import json
import shutil

import pyarrow.parquet as pq

from benchmarks.tamper.kinds import BEYOND
from benchmarks.tamper.ladder import PROJECT, FinishedLadder
from benchmarks.tamper.tampers import add, alias, of_version, promoted, rewrite, tamper
from flows.attestation.log import read_log

FORGED = "e" * 32
RUN_COLUMNS = "source_type, source_name, entry_point_name, user_id"


def copied_run(it: FinishedLadder, run_id: str, *, status: str, later: int = 9_000_000) -> None:
    """A second run like one that there is, some milliseconds later, with its tags, metrics and files."""
    columns = f"{RUN_COLUMNS}, ?, start_time + ?, NULL, source_version, lifecycle_stage, replace(artifact_uri, ?, ?)"
    it.sql(
        f"INSERT INTO runs SELECT ?, name, {columns}, experiment_id, deleted_time FROM runs WHERE run_uuid = ?",  # noqa: S608 (ours)
        *(FORGED, status, later, run_id, FORGED, run_id),
    )
    it.sql("INSERT INTO tags SELECT key, value, ? FROM tags WHERE run_uuid = ?", FORGED, run_id)
    if (it.artifacts / run_id).is_dir():
        shutil.copytree(it.artifacts / run_id, it.artifacts / FORGED)


def untagged(it: FinishedLadder, *keys: str) -> None:
    """Take tags off the forged run."""
    for key in keys:
        it.sql("DELETE FROM tags WHERE key = ? AND run_uuid = ?", key, FORGED)


@tamper("promotions", "a promotion forged that has not ended, by another and for another reason")
def unended_promotion(it: FinishedLadder) -> None:
    """The history takes a move for done whose alias is there."""
    copied_run(it, promoted(it), status="RUNNING")
    untagged(it, "rlhf.ends")
    it.set_run_tag(FORGED, "by", "the.boss@office")
    it.set_run_tag(FORGED, "why", "two hundred answers were read")


@tamper("promotions", "who approved edited in the tag of the version")
def approver_edited(it: FinishedLadder) -> None:
    """One more has signed."""
    it.set_tag("policy", "promotion.approved", "Ada, Bob")


@tamper("promotions", "why a person approved edited")
def approval_edited(it: FinishedLadder) -> None:
    """In the history."""
    [(run_id,)] = it.ask("SELECT run_uuid FROM tags WHERE key = 'how' AND value = 'rlhf approve'")
    it.set_run_tag(str(run_id), "why", "it is the best")


@tamper("gates", "a climb forged that failed, and let the failed version pass")
def failed_climb(it: FinishedLadder) -> None:
    """Cards tell the verdicts of the last run that judged."""
    copied_run(it, it.climb, status="FAILED")
    untagged(it, "rlhf.ends")
    it.set_run_tag(FORGED, "stage.policy", f"{PROJECT}-policy/2")


@tamper("gates", "a gate that nobody had added to a version, which passed")
def gate_added(it: FinishedLadder) -> None:
    """On its page."""
    change = "INSERT INTO model_version_tags SELECT 'gate.safety', 'pass', name, version, workspace "
    it.sql(f"{change} FROM model_versions WHERE name = ? AND version = 1", f"{PROJECT}-policy")


@tamper("runs", "a run forged without a tag of the pipeline, with figures that none measured")
def figures_forged(it: FinishedLadder) -> None:
    """Beside the real ones in every table and chart of MLflow."""
    policy = it.run_of("policy")
    copied_run(it, policy, status="FINISHED")
    it.sql("DELETE FROM tags WHERE run_uuid = ?", FORGED)
    for table, columns in (("metrics", "timestamp, ?, step, is_nan"), ("latest_metrics", "timestamp, step, is_nan, ?")):
        change = f"INSERT INTO {table} SELECT key, value + 1, {columns} FROM {table} WHERE run_uuid = ?"  # noqa: S608 (ours)
        it.sql(change, FORGED, policy)


add("runs", "time of the end edited", lambda it: it.sql("UPDATE runs SET end_time = end_time + 86400000"))
add("runs", "owner edited", lambda it: it.sql("UPDATE runs SET user_id = 'somebody' WHERE run_uuid = ?", it.climb))


@tamper("runs", "files of a run looked for elsewhere")
def run_moved(it: FinishedLadder) -> None:
    """Where the figures are better."""
    policy = it.run_of("policy")
    shutil.copytree(it.artifacts / policy, it.artifacts / FORGED)
    it.change_json(it.file(FORGED, "estimates.json"), "kl_to_sft_nats", "value", to=0.001)
    it.sql("UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?) WHERE run_uuid = ?", policy, FORGED, policy)


@tamper("figures", "earlier point added to a final figure")
def final_curve(it: FinishedLadder) -> None:
    """Its page then draws a line that falls."""
    columns = "value + 5, timestamp - 1000, run_uuid, step, is_nan"
    where = "WHERE key = 'final/kl_to_sft_nats' AND run_uuid = ?"
    it.sql(f"INSERT INTO metrics SELECT key, {columns} FROM metrics {where}", it.run_of("policy"))  # noqa: S608 (ours)


@tamper("figures", "times of a curve edited")
def curve_times(it: FinishedLadder) -> None:
    """As if it had been trained another day."""
    change = "UPDATE metrics SET timestamp = timestamp - 86400000 WHERE key = 'loss_nats' AND run_uuid = ?"
    it.sql(change, it.run_of("sft"))


@tamper("versions", "a failed version put into the stage Production")
def production(it: FinishedLadder) -> None:
    """Which MLflow still serves by `models:/NAME/Production`."""
    it.sql("UPDATE model_versions SET current_stage = 'Production' WHERE name = ? AND version = 2", f"{PROJECT}-policy")


@tamper("versions", "place from which MLflow loads a version moved")
def loaded_elsewhere(it: FinishedLadder) -> None:
    """Its files and those of its logged model stay."""
    of_version("storage_location", it.files(it.model_of("sft")).as_uri())(it)


add("versions", "who registered a version edited", of_version("user_id", "somebody"))


@tamper("versions", "parameters added to the page of a model")
def model_params(it: FinishedLadder) -> None:
    """Where reviewers look."""
    change = "INSERT INTO logged_model_params SELECT model_id, experiment_id, 'safety_tuned', 'yes' FROM logged_models"
    it.sql(f"{change} WHERE model_id = ?", it.model_of("policy"))


@tamper("versions", "name and kind of a model edited")
def model_renamed(it: FinishedLadder) -> None:
    """On its page."""
    change = "UPDATE logged_models SET name = 'another', model_type = 'safe' WHERE model_id = ?"
    it.sql(change, it.model_of("policy"))


@tamper("versions", "a model forged that nobody trained, on the page of a run")
def model_forged(it: FinishedLadder) -> None:
    """Without a version."""
    columns = "name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage"
    columns += ", model_type, source_run_id, status_message FROM logged_models WHERE model_id = ?"
    it.sql(f"INSERT INTO logged_models SELECT 'm-forged', experiment_id, {columns}", it.model_of("policy"))


@tamper("weights", "weights of a version without an alias changed")
def weights_unaliased(it: FinishedLadder) -> None:
    """To which nobody looks until somebody promotes it."""
    it.retell_weights("policy", 2)


@tamper("inputs", "place of a dataset moved to other rows")
def dataset_moved(it: FinishedLadder) -> None:
    """Who loads it from MLflow's page gets them."""
    change = "UPDATE datasets SET dataset_source = json_set(dataset_source, '$.uri', '/tmp/other.parquet') "
    it.sql(f"{change} WHERE name = 'preferences'")


@tamper("inputs", "columns of a dataset edited")
def dataset_schema(it: FinishedLadder) -> None:
    """As MLflow's page shows them."""
    schema = json.dumps({"mlflow_colspec": [{"type": "string", "name": "reviewed_by", "required": True}]})
    it.sql("UPDATE datasets SET dataset_schema = ? WHERE name = 'preferences'", schema)


@tamper("evidence", "rows removed, and said to be pruned")
def pruned(it: FinishedLadder) -> None:
    """As if age had taken them."""
    policy = it.run_of("policy")
    shutil.rmtree(it.file(policy, "evidence"))
    it.sql("INSERT INTO tags VALUES ('evidence.pruned', '2026-11-30T10:00:00+00:00', ?)", policy)


@tamper("evidence", "rows cut off at the end together with the table on MLflow's page")
def rows_cut(it: FinishedLadder) -> None:
    """The worst of them."""
    file = it.file(it.run_of("policy"), "evidence/answers.parquet")
    it.change_rows(file, pq.read_table(file).slice(0, 10))
    it.file(it.run_of("policy"), "evidence/answers.json").unlink()


@tamper("log", "statement edited that the page of a version links to")
def linked_statement(it: FinishedLadder) -> None:
    """Its copy; the log stays."""
    path = it.file(it.run_of("policy"), "statement.json")
    path.write_text(path.read_text(encoding="utf-8")[:-40] + path.read_text(encoding="utf-8")[-80:], encoding="utf-8")


@tamper("log", "a folder and a loose link put among the statements, at which a reader stumbles")
def stumbling(it: FinishedLadder) -> None:
    """And a statement among them replaced by a link to a copy of it."""
    (it.log / "0-folder.json").mkdir()
    (it.log / "1-nowhere.json").symlink_to("/nowhere")
    (it.log / read_log(it.log)[3].name).rename(it.folder / "copy")


@tamper("log", "a statement replaced by brackets that no reader can close")
def nested(it: FinishedLadder) -> None:
    """A thousand times a thousand of them."""
    rewrite(it, read_log(it.log)[4].name, b"[" * 1_000_000)


@tamper("log", "log copied to the project of another name, with a champion of that name")
def another_project(it: FinishedLadder) -> None:
    """So that it seems to have statements."""
    it.sql("UPDATE registered_models SET name = 'other-policy' WHERE name = ?", f"{PROJECT}-policy")
    for table in ("model_versions", "model_version_tags", "registered_model_aliases"):
        it.sql(f"UPDATE {table} SET name = 'other-policy' WHERE name = ?", f"{PROJECT}-policy")  # noqa: S608 (ours)
    it.sql("UPDATE experiments SET name = 'other' WHERE name = ?", PROJECT)
    it.log.rename(it.log.with_name("other"))


@tamper("aliases", "challenger given to a model that is never one")
def base_challenger(it: FinishedLadder) -> None:
    """The base."""
    change = "INSERT INTO registered_model_aliases (alias, version, name) VALUES ('challenger', 1, ?)"
    it.sql(change, f"{PROJECT}-base")


add("aliases", "challenger removed", alias("DELETE FROM registered_model_aliases", "challenger"))


@tamper(BEYOND, "retirement of a key cut off at the end of the log")
def unretired(it: FinishedLadder) -> None:
    """So that the key counts again; nothing in the registry tells of it."""
    (it.log / read_log(it.log)[-1].name).unlink()
