"""The tampers: what somebody changes who can write to registry and artifact store, and has no key."""

import json
import shutil
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from securesystemslib.signer import CryptoSigner

from benchmarks.tamper.kinds import BEYOND
from benchmarks.tamper.ladder import PROJECT, FinishedLadder
from flows.attestation.keys import load_key, public_pem
from flows.attestation.log import name_of, read_log
from flows.attestation.statement import POSITION, seal, unseal

Change = Callable[[FinishedLadder], None]


class Tamper(NamedTuple):
    """One change to a finished ladder.

    Attributes:
        kind: what is changed.
        what: is done to it.
        change: does it.
    """

    kind: str
    what: str
    change: Change


TAMPERS: list[Tamper] = []


def tamper(kind: str, what: str) -> Callable[[Change], Change]:
    """Add a tamper to the list."""

    def add(change: Change) -> Change:
        TAMPERS.append(Tamper(kind, what, change))
        return change

    return add


def add(kind: str, what: str, change: Change) -> None:
    """Add a tamper of one step to the list."""
    TAMPERS.append(Tamper(kind, what, change))


def of_version(column: str, value: str, model: str = "policy") -> Change:
    """Set a column of a version."""
    change = f"UPDATE model_versions SET {column} = ? WHERE name = ? AND version = 1"  # noqa: S608 (ours)
    return lambda it: it.sql(change, value, f"{PROJECT}-{model}")


def tag(key: str, value: str, model: str = "policy", version: int = 1) -> Change:
    """Set a tag of a version."""
    return lambda it: it.set_tag(model, key, value, version)


def run_tag(key: str, value: str, model: str = "policy") -> Change:
    """Set a tag of the run that made a version."""
    return lambda it: it.set_run_tag(it.run_of(model), key, value)


def edited(path: str, *places: str | int, to: object, model: str = "") -> Change:
    """Set a value in a JSON file of the climb, or of the run that made a version."""
    return lambda it: it.change_json(it.file(it.run_of(model) if model else it.climb, path), *places, to=to)


add("gates", "status of a failed version forged to passed", tag("gate.status", "passed", version=2))
add("gates", "verdict of a failed version forged in its tags, status too", lambda it: forge_tags(it))
add("gates", "verdict edited in the file of the climb", edited("gates/policy.json", "verdicts", 0, "value", to=0.01))
add("gates", "reason of a verdict edited", edited("gates/policy.json", "verdicts", 0, "explanation", to="fine"))
add(
    "gates", "threshold moved in the climb's configuration", edited("config.json", "gates", "sft", 0, "threshold", to=9)
)
add("gates", "gates removed from the configuration", edited("config.json", "gates", "policy", to=[]))
add("gates", "verdicts of the data edited", edited("gates/data.json", "verdicts", 0, "status", to="abstain"))


def forge_tags(it: FinishedLadder) -> None:
    """Let a failed version have passed, in all of its tags."""
    it.set_tag("policy", "gate.status", "passed", 2)
    it.set_tag("policy", "gate.kl-budget", "pass", 2)


@tamper("gates", "verdicts, tags, files and thresholds of a failed version forged to fit each other")
def forge_verdicts(it: FinishedLadder) -> None:
    """Let a failed version have passed, wherever that is written."""
    forge_tags(it)
    query = "SELECT run_uuid FROM runs WHERE name = 'ladder' ORDER BY start_time DESC LIMIT 1"
    climb = str(it.ask(query)[0][0])
    it.change_json(it.file(climb, "config.json"), "gates", "policy", 0, "threshold", to=10.0)
    for field, value in {"status": "pass", "threshold": 10.0}.items():
        it.change_json(it.file(climb, "gates/policy.json"), "verdicts", 0, field, to=value)


KL = "kl_to_sft_nats"
add("figures", "figure edited in the file", edited("estimates.json", KL, "value", to=0.001, model="policy"))
add("figures", "interval narrowed in the file", edited("estimates.json", KL, "upper", to=0.002, model="policy"))
add("figures", "sample size raised", edited("estimates.json", KL, "n", to=9999, model="policy"))
add("figures", "metric edited", lambda it: it.set_metric(it.run_of("policy"), f"final/{KL}", 0.001))


@tamper("figures", "metric of the climb edited")
def climb_metric(it: FinishedLadder) -> None:
    """Any one."""
    [(key,)] = it.ask("SELECT key FROM latest_metrics WHERE run_uuid = ? LIMIT 1", it.climb)
    it.set_metric(it.climb, key, 0.123)


@tamper("figures", "metric removed")
def metric_removed(it: FinishedLadder) -> None:
    """From the page of the run."""
    it.sql("DELETE FROM latest_metrics WHERE key = ? AND run_uuid = ?", f"final/{KL}", it.run_of("policy"))


@tamper("figures", "point in the middle of a curve edited")
def curve(it: FinishedLadder) -> None:
    """Of the loss of SFT."""
    run = it.run_of("sft")
    change = "UPDATE metrics SET value = 0.5 WHERE key = 'loss_nats' AND run_uuid = ? AND step = (SELECT min(step) "
    it.sql(f"{change} FROM metrics WHERE key = 'loss_nats' AND run_uuid = ?)", run, run)


@tamper("figures", "metric edited on the page of the model")
def model_metric(it: FinishedLadder) -> None:
    """Where reviewers look."""
    change = "UPDATE logged_model_metrics SET metric_value = 0 WHERE metric_name = ? AND model_id = ?"
    it.sql(change, f"final/{KL}", it.model_of("policy"))


@tamper("figures", "figure, metric, verdict and curve edited to fit each other")
def figures_together(it: FinishedLadder) -> None:
    """All that shows one number."""
    it.change_json(it.file(it.run_of("policy"), "estimates.json"), KL, "value", to=0.001)
    it.set_metric(it.run_of("policy"), f"final/{KL}", 0.001)
    it.change_json(it.file(it.climb, "gates/policy.json"), "verdicts", 0, "value", to=0.001)
    model_metric(it)


add("figures", "what outside measures said edited", edited("gold.json", "policy_gold", "value", to=9.9))
add("settings", "parameter edited", lambda it: param(it, "UPDATE params SET value = '7' WHERE key = 'seed'"))
add("settings", "parameter removed", lambda it: param(it, "DELETE FROM params WHERE key = 'seed'"))
add("settings", "configuration in the key's file edited", edited("identity.json", "seed", to=7, model="policy"))
add("settings", "configuration of the climb edited", edited("config.json", "seed", to=7))


def param(it: FinishedLadder, change: str) -> None:
    """Change a parameter of the policy's run."""
    it.sql(f"{change} AND run_uuid = ?", it.run_of("policy"))


@tamper("settings", "parameter added")
def param_added(it: FinishedLadder) -> None:
    """One that says what was not."""
    it.sql("INSERT INTO params VALUES ('policy.reviewed', 'yes', ?)", it.run_of("policy"))


add("surroundings", "commit edited", lambda it: commit(it))
add("surroundings", "packages edited", run_tag("rlhf.packages", '{"python": "3.12.0"}'))
add("surroundings", "hardware edited", run_tag("rlhf.hardware", '{"processor": "another"}'))
add("surroundings", "time that it took edited", run_tag("rlhf.seconds", "1.0"))
add("surroundings", "flow run edited", run_tag("prefect.flow_run", "00000000-0000-0000-0000-000000000000"))
add("surroundings", "process edited", run_tag("rlhf.process", "elsewhere:1:1"))
add("surroundings", "version of the code edited", tag("rlhf.code", "0.1.0+0000000000000000"))


def commit(it: FinishedLadder) -> None:
    """Let a run be of another commit."""
    it.sql("INSERT OR REPLACE INTO tags VALUES ('mlflow.source.git.commit', ?, ?)", "0" * 40, it.run_of("policy"))


add("runs", "status edited", lambda it: run(it, "status = 'FAILED'"))
add("runs", "name edited", lambda it: run(it, "name = 'another'"))
add("runs", "time edited", lambda it: run(it, "start_time = start_time - 86400000"))
add("runs", "run of a stage deleted", lambda it: run(it, "lifecycle_stage = 'deleted'"))


def run(it: FinishedLadder, change: str) -> None:
    """Change the policy's run."""
    it.sql(f"UPDATE runs SET {change} WHERE run_uuid = ?", it.run_of("policy"))  # noqa: S608 (ours)


@tamper("runs", "run of the climb deleted")
def climb_deleted(it: FinishedLadder) -> None:
    """With its verdicts."""
    it.sql("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", it.climb)


@tamper("runs", "evaluation forged that nobody made")
def forged_run(it: FinishedLadder) -> None:
    """A later run that stood on the failed version and let it pass."""
    climb, forged = it.climb, "f" * 32
    columns = "source_type, source_name, entry_point_name, user_id, status, start_time + 9000000, end_time"
    columns += ", source_version, lifecycle_stage, replace(artifact_uri, run_uuid, ?), experiment_id, deleted_time"
    it.sql(
        f"INSERT INTO runs SELECT ?, 'evaluate', {columns} FROM runs WHERE run_uuid = ?",  # noqa: S608 (ours)
        forged,
        forged,
        climb,
    )
    it.sql("INSERT INTO tags SELECT key, value, ? FROM tags WHERE run_uuid = ?", forged, climb)
    it.sql("UPDATE tags SET value = ? WHERE key = 'stage.policy' AND run_uuid = ?", f"{PROJECT}-policy/2", forged)
    shutil.copytree(it.artifacts / climb, it.artifacts / forged)


INPUT = "FROM inputs WHERE destination_id = ? AND source_type = 'DATASET'"
add("inputs", "dataset of a run removed", lambda it: it.sql(f"DELETE {INPUT}", it.run_of("sft")))


@tamper("inputs", "dataset of a run swapped for another")
def dataset_swapped(it: FinishedLadder) -> None:
    """The prompts instead of the pairs."""
    [(prompts,)] = it.ask("SELECT dataset_uuid FROM datasets WHERE name = 'prompts' LIMIT 1")
    names = "SELECT dataset_uuid FROM datasets WHERE name = 'preferences'"
    change = f"UPDATE inputs SET source_id = ? WHERE destination_id = ? AND source_id IN ({names})"  # noqa: S608
    it.sql(change, prompts, it.run_of("reward-model"))


@tamper("inputs", "count of rows of a dataset edited")
def profile_edited(it: FinishedLadder) -> None:
    """In what MLflow shows of it."""
    change = "UPDATE datasets SET dataset_profile = replace(dataset_profile, '\"num_rows\": ', '\"num_rows\": 9')"
    it.sql(f"{change} WHERE name = 'preferences'")


@tamper("inputs", "use of a dataset edited")
def use_edited(it: FinishedLadder) -> None:
    """Centring becomes training."""
    uuids = "SELECT input_uuid FROM inputs WHERE destination_id = ?"
    change = f"UPDATE input_tags SET value = 'another' WHERE value = 'centring' AND input_uuid IN ({uuids})"  # noqa: S608
    it.sql(change, it.run_of("reward-model"))


@tamper("inputs", "source of a dataset edited")
def source_edited(it: FinishedLadder) -> None:
    """What it was made from."""
    change = 'UPDATE datasets SET dataset_source = replace(dataset_source, \'"made_from": [\', \'"made_from": ["x", \')'
    it.sql(f"{change} WHERE name = 'preferences'")


MODEL = "destination_id = ? AND source_id = ?"


@tamper("inputs", "model that a run read removed")
def model_input_removed(it: FinishedLadder) -> None:
    """The policy was trained against nothing."""
    run_id, model = it.run_of("policy"), it.model_of("reward-model")
    it.sql("DELETE FROM inputs WHERE source_id = ? AND destination_id = ?", run_id, model)


@tamper("inputs", "model that a run read swapped for another")
def model_input_swapped(it: FinishedLadder) -> None:
    """The policy was trained against the base."""
    change = "UPDATE inputs SET destination_id = ? WHERE source_id = ? AND destination_id = ?"
    it.sql(change, it.model_of("base"), it.run_of("policy"), it.model_of("reward-model"))


@tamper("inputs", "model that a run made removed")
def output_removed(it: FinishedLadder) -> None:
    """The policy came from nowhere."""
    it.sql("DELETE FROM inputs WHERE source_id = ? AND destination_id = ?", it.run_of("policy"), it.model_of("policy"))


def untag(key: str, model: str = "policy") -> Change:
    """Remove a tag of a version."""
    change = "DELETE FROM model_version_tags WHERE key = ? AND name = ? AND version = 1"
    return lambda it: it.sql(change, key, f"{PROJECT}-{model}")


OTHER = "0" * 64
add("versions", "digest removed, so that it seems to be none of a ladder", untag("rlhf.digest"))
add("versions", "digest edited", tag("rlhf.digest", OTHER))
add("versions", "parent swapped", tag("parent.reward-model", f"{PROJECT}-judge/1"))
add("versions", "parent removed", untag("parent.reward-model"))
add("versions", "digest of a parent edited", tag("parent.sft.digest", OTHER))
add("versions", "dataset swapped", tag("dataset.training", f"prompts:{OTHER}"))
add("versions", "digest of evidence edited", tag("evidence.answers", OTHER))
add("versions", "content key edited", tag("rlhf.key", f"policy-{OTHER[:40]}"))
add("versions", "description edited", of_version("description", "A fine model."))
add("versions", "source moved to another model", lambda it: source_moved(it))
add("versions", "run swapped", lambda it: of_version("run_id", it.run_of("sft"))(it))
add("versions", "time of registration edited", of_version("creation_time", "1"))
add("versions", "files of the model looked for elsewhere", lambda it: moved(it))


def source_moved(it: FinishedLadder) -> None:
    """Let a version have the files of another."""
    of_version("source", f"models:/{it.model_of('sft')}")(it)


def moved(it: FinishedLadder) -> None:
    """Let a logged model have its files elsewhere."""
    there = it.files(it.model_of("sft")).as_uri()
    it.sql("UPDATE logged_models SET artifact_location = ? WHERE model_id = ?", there, it.model_of("policy"))


@tamper("versions", "version deleted")
def version_deleted(it: FinishedLadder) -> None:
    """The failed one, as if it had never been."""
    it.sql("DELETE FROM model_version_tags WHERE name = ? AND version = 2", f"{PROJECT}-policy")
    it.sql("DELETE FROM model_versions WHERE name = ? AND version = 2", f"{PROJECT}-policy")


def alias(change: str, name: str, model: str = "policy") -> Change:
    """Change an alias."""
    where = "WHERE alias = ? AND name = ?"
    return lambda it: it.sql(f"{change} {where}", name, f"{PROJECT}-{model}")


add(
    "aliases",
    "challenger moved to a failed version",
    alias("UPDATE registered_model_aliases SET version = 2", "challenger"),
)
add(
    "aliases",
    "champion moved to a failed version",
    alias("UPDATE registered_model_aliases SET version = 2", "champion"),
)
add("aliases", "champion removed", alias("DELETE FROM registered_model_aliases", "champion"))
add("aliases", "champion given that nobody promoted", lambda it: crowned(it))


def crowned(it: FinishedLadder) -> None:
    """Let the value model be champion."""
    it.sql("INSERT INTO registered_model_aliases (alias, version, name) VALUES ('champion', 1, ?)", f"{PROJECT}-value")


@tamper("weights", "weights changed")
def weights(it: FinishedLadder) -> None:
    """One bit."""
    it.retell_weights("policy")


@tamper("weights", "weights of a leaf policy changed together with its digest")
def weights_and_digest(it: FinishedLadder) -> None:
    """In the tag of the version."""
    it.set_tag("policy", "rlhf.digest", it.retell_weights("policy"))


@tamper("weights", "weights changed together with every digest of them")
def weights_everywhere(it: FinishedLadder) -> None:
    """Wherever the digest is written."""
    digest = it.retell_weights("policy")
    it.set_tag("policy", "rlhf.digest", digest)
    model = it.model_of("policy")
    it.sql("UPDATE logged_model_tags SET tag_value = ? WHERE tag_key = 'rlhf.digest' AND model_id = ?", digest, model)
    retell_files(it, "policy")


def retell_files(it: FinishedLadder, model: str) -> None:
    """Write the digests of the files that there are now into the list that the run keeps."""
    from flows.storage.digests import file_digests  # noqa: PLC0415  beside its one use

    listed = it.file(it.run_of(model), f"digests/{PROJECT}-{model}.json")
    listed.write_text(json.dumps(file_digests(it.files(it.model_of(model)))), encoding="utf-8")


@tamper("weights", "a whole reward model forged consistently, with what was made from it")
def forged_reward_model(it: FinishedLadder) -> None:
    """Its weights and all digests, in its own tags and those of its children."""
    digest, model = it.retell_weights("reward-model"), it.model_of("reward-model")
    it.set_tag("reward-model", "rlhf.digest", digest)
    it.sql("UPDATE logged_model_tags SET tag_value = ? WHERE tag_key = 'rlhf.digest' AND model_id = ?", digest, model)
    retell_files(it, "reward-model")
    it.sql("UPDATE model_version_tags SET value = ? WHERE key = 'parent.reward-model.digest' AND version = 1", digest)


@tamper("weights", "a version forged that nobody trained")
def forged_version(it: FinishedLadder) -> None:
    """A third policy, with the tags and files of the first."""
    columns = "creation_time, last_updated_time, description, user_id, current_stage, source, run_id, status"
    columns += ", status_message, run_link, storage_location, workspace FROM model_versions"
    first = "WHERE name = ? AND version = 1"
    it.sql(f"INSERT INTO model_versions SELECT name, 3, {columns} {first}", f"{PROJECT}-policy")
    columns = "key, value, name, 3, workspace FROM model_version_tags"
    it.sql(f"INSERT INTO model_version_tags SELECT {columns} {first}", f"{PROJECT}-policy")


@tamper("weights", "file of a model removed")
def model_file_removed(it: FinishedLadder) -> None:
    """Its tokenizer."""
    (it.files(it.model_of("policy")) / "tokenizer.json").unlink()


@tamper("weights", "file added to a model")
def model_file_added(it: FinishedLadder) -> None:
    """Code that loading could run."""
    (it.files(it.model_of("policy")) / "modeling.py").write_text("print('hello')", encoding="utf-8")


@tamper("weights", "chat template of a model edited")
def template(it: FinishedLadder) -> None:
    """In the tokenizer's settings."""
    path = it.files(it.model_of("sft")) / "tokenizer_config.json"
    path.chmod(0o644)
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")


@tamper("data", "rows of a snapshot in another order")
def reordered(it: FinishedLadder) -> None:
    """Which its content digest does not count."""
    path = it.snapshot("preferences")
    table = pq.read_table(path)
    it.change_rows(path, table.take(pa.array(range(table.num_rows - 1, -1, -1))))


@tamper("data", "provenance of rows edited")
def provenance_edited(it: FinishedLadder) -> None:
    """Which its content digest does not count."""
    path = it.snapshot("preferences")
    table = pq.read_table(path)
    column = table.column_names.index("source")
    it.change_rows(path, table.set_column(column, "source", pc.utf8_upper(table["source"].cast(pa.string()))))


@tamper("data", "text of a row edited")
def text_edited(it: FinishedLadder) -> None:
    """Of a prompt."""
    path = it.snapshot("prompts")
    table = pq.read_table(path)
    column = table.column_names.index("prompt")
    it.change_rows(path, table.set_column(column, "prompt", pc.utf8_upper(table["prompt"].cast(pa.string()))))


add("data", "snapshot removed", lambda it: it.snapshot("prompts").unlink())
COUNTS = "data/preferences/counts.json"
add("data", "count of quarantined rows edited", edited(COUNTS, "quarantined", to=77, model="reward-model"))
add("data", "count of quarantined rows edited, with a rule", edited(COUNTS, "by_rule", to={"x": 7}, model="judge"))


@tamper("evidence", "score of a held-out row edited")
def row_edited(it: FinishedLadder) -> None:
    """By the judge."""
    score(it, "evidence/answers.parquet")


def score(it: FinishedLadder, path: str) -> None:
    """Raise what the judge gave."""
    file = it.file(it.run_of("policy"), path)
    table = pq.read_table(file)
    column = table.column_names.index("judge_score")
    it.change_rows(file, table.set_column(column, "judge_score", pc.add(table["judge_score"], 1.0)))


@tamper("evidence", "rows removed")
def rows_removed(it: FinishedLadder) -> None:
    """A whole file."""
    it.file(it.run_of("policy"), "evidence/answers.parquet").unlink()


@tamper("evidence", "rows edited together with the digest of their file")
def rows_and_digest(it: FinishedLadder) -> None:
    """In the tag of the version, and in the input of the run."""
    import hashlib  # noqa: PLC0415  beside its one use

    row_edited(it)
    digest = hashlib.sha256(it.file(it.run_of("policy"), "evidence/answers.parquet").read_bytes()).hexdigest()
    query = "SELECT value FROM model_version_tags WHERE key = 'evidence.answers' AND name = ? AND version = 1"
    [(then,)] = it.ask(query, f"{PROJECT}-policy")
    it.set_tag("policy", "evidence.answers", digest)
    it.sql("UPDATE datasets SET dataset_profile = replace(dataset_profile, ?, ?)", then, digest)


@tamper("evidence", "row edited on MLflow's page of evaluations")
def shown_row(it: FinishedLadder) -> None:
    """Which is a copy of the rows."""
    it.change_json(it.file(it.run_of("policy"), "evidence/answers.json"), "data", 0, 0, to="another")


@tamper("evidence", "samples edited")
def samples(it: FinishedLadder) -> None:
    """What people read first."""
    path = it.file(it.run_of("policy"), "samples.json")
    path.write_text(path.read_text(encoding="utf-8").replace("you", "we"), encoding="utf-8")


add("evidence", "page of the climb edited", lambda it: page(it))


def page(it: FinishedLadder) -> None:
    """What the report says."""
    path = it.file(it.climb, "report.html")
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", "<p>approved</p></body>"), encoding="utf-8")


def promoted(it: FinishedLadder) -> str:
    """The record of a promotion."""
    return str(it.ask("SELECT run_uuid FROM tags WHERE key = 'how' LIMIT 1")[0][0])


add("promotions", "who promoted edited", lambda it: it.set_run_tag(promoted(it), "by", "someone@else"))
add("promotions", "why it was promoted edited", lambda it: it.set_run_tag(promoted(it), "why", "it is the best"))
add("promotions", "forced edited", lambda it: it.set_run_tag(promoted(it), "forced", "true"))


@tamper("promotions", "record of a promotion removed")
def record_removed(it: FinishedLadder) -> None:
    """From the history."""
    it.sql("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", promoted(it))


def files_of_log(it: FinishedLadder) -> list[str]:
    """Names, in their order."""
    return [entry.name for entry in read_log(it.log)]


@tamper("log", "statement in the middle removed")
def middle_removed(it: FinishedLadder) -> None:
    """From the artifact store."""
    (it.log / files_of_log(it)[3]).unlink()


@tamper("log", "last statement of a climb removed, and all after it")
def last_removed(it: FinishedLadder) -> None:
    """From the artifact store."""
    for name in files_of_log(it)[-2:]:
        (it.log / name).unlink()


@tamper("log", "all statements removed")
def all_removed(it: FinishedLadder) -> None:
    """From the artifact store."""
    shutil.rmtree(it.log)


def rewrite(it: FinishedLadder, name: str, content: bytes) -> None:
    """Put another content into a file of the log."""
    path = it.log / name
    path.chmod(0o644)
    path.write_bytes(content)


@tamper("log", "two statements swapped")
def swapped(it: FinishedLadder) -> None:
    """Each has the name of the other."""
    one, other = read_log(it.log)[2:4]
    rewrite(it, one.name, other.content)
    rewrite(it, other.name, one.content)


@tamper("log", "statement edited under its signature")
def statement_edited(it: FinishedLadder) -> None:
    """A verdict in it."""
    entry = read_log(it.log)[4]
    assert entry.statement is not None
    other = entry.statement.model_copy(update={"predicate": {**entry.statement.predicate, "edited": True}})
    envelope = json.loads(seal(other, []))
    envelope["signatures"] = json.loads(entry.content)["signatures"]
    rewrite(it, entry.name, json.dumps(envelope).encode())


@tamper("log", "signature removed")
def signature_removed(it: FinishedLadder) -> None:
    """The statement stays."""
    entry = read_log(it.log)[4]
    assert entry.statement is not None
    rewrite(it, entry.name, seal(entry.statement, []))


def sign_anew(it: FinishedLadder, signer: CryptoSigner, **changes: object) -> None:
    """Write the whole log anew, the last statement with changes, and sign it."""
    previous: dict[str, str] = {}
    entries = read_log(it.log)
    for entry in entries:
        assert entry.statement is not None and entry.position is not None
        (it.log / entry.name).unlink()
        chain = entry.position.chain
        position = entry.position.model_copy(update={"previous": previous.get(chain, "")})
        more = changes if entry is entries[-1] else {}
        predicate = {**entry.statement.predicate, **more, POSITION: position.model_dump(mode="json")}
        other = entry.statement.model_copy(update={"predicate": predicate})
        content = seal(other, [signer])
        previous[chain] = unseal(content)[1]
        (it.log / name_of(position, previous[chain])).write_bytes(content)


@tamper("log", "log signed anew by another key, which is put beside the registry")
def another_key(it: FinishedLadder) -> None:
    """An auditor who takes the key from there believes it."""
    signer = CryptoSigner.generate_ed25519()
    sign_anew(it, signer)
    (it.storage / "keys" / "pipeline.pub").write_text(public_pem(signer.public_key), encoding="utf-8")


@tamper(BEYOND, "log written anew with the stolen key")
def stolen_key(it: FinishedLadder) -> None:
    """Who has the key can say anything."""
    sign_anew(it, load_key(it.storage / "keys" / "pipeline.pem"), edited=True)


@tamper(BEYOND, "registry and log put back together to before the last climb")
def put_back(it: FinishedLadder) -> None:
    """As a backup is restored."""
    it.put_back()
