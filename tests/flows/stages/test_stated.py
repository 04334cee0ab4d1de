"""The statement of a stage: what it says, and that no kill loses it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from flows.attestation.log import LogEntry, read_log
from flows.attestation.statement import FOLDER, PROVENANCE, ROWS
from flows.pipeline.orphans import end_orphan
from flows.registry.names import ENDS_TAG
from flows.registry.statements import conclude, holds_run
from flows.storage.digests import digests_of
from tests.conftest import ROOT
from tests.flows.toys import Toys

KILLED = """
import os, signal, sys
from pathlib import Path
import flows.stages.runner as runner
from tests.flows.toys import Toys
runner.state_stage = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
Toys("toy", Path(sys.argv[1])).stage("sft", "text")
"""


def stages(storage: Path) -> list[LogEntry]:
    entries = read_log(storage / "artifacts" / "statements" / "toy")
    kind = "urn:rlhf-ladder:stage:v1"
    return [
        entry
        for entry in entries
        if entry.statement is not None
        and entry.statement.kind == PROVENANCE
        and entry.statement.predicate["buildDefinition"]["buildType"] == kind
    ]


def test_a_stage_states_what_went_in_and_what_came_out(storage: Path) -> None:
    toys = Toys("toy", storage)
    ladder = toys.ladder("text")
    statement = stages(storage)[2].statement
    assert statement is not None
    version, *files = statement.subjects
    assert (version.name, version.digest[FOLDER]) == ("toy-reward-model/1", ladder.reward_model.digest)
    assert {file.name.rpartition("/")[2] for file in files} >= {"config.json", "weights"}
    materials = {each["name"]: each["digest"] for each in _materials(statement.predicate)}
    assert materials["sft"] == {FOLDER: ladder.sft.digest}
    path = Path(ladder.preferences.path)
    sha256 = digests_of(path.parent, [path])[path.name]
    assert materials["training"] == {ROWS: ladder.preferences.digest, "sha256": sha256}
    assert {"code", "installed packages", "centring"} <= {*materials}
    assert statement.predicate["rlhf_estimates"]["temperature"]["value"] == 1.25
    assert statement.registry["version toy-reward-model/1"]["tags"]["parent.sft"] == "toy-sft/1"


def _materials(predicate: dict[str, object]) -> list[dict[str, object]]:
    definition = predicate["buildDefinition"]
    assert isinstance(definition, dict)
    return list(definition["resolvedDependencies"])


def test_a_stage_that_is_killed_before_its_statement_leaves_it_at_the_next_start(storage: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, storage], cwd=ROOT, env=environment, timeout=240)
    assert done.returncode == -signal.SIGKILL
    toys = Toys("toy", storage)
    [registered] = toys.registry.client.search_model_versions("name='toy-sft'")
    assert stages(storage) == []
    assert toys.stage("sft", "text").version == str(registered.version)
    [entry] = stages(storage)
    assert entry.statement is not None and entry.statement.subjects[0].name == "toy-sft/1"


def test_a_run_that_is_killed_after_its_statement_ends_as_that_says(storage: Path) -> None:
    registry = Toys("toy", storage).registry
    run_id = registry.start_run("measured")
    registry.note_end(run_id, "FINISHED")
    [noted] = holds_run(registry, run_id).values()
    time.sleep(0.01)  # the kill, and the time until somebody tidies up
    end_orphan(registry, registry.client.get_run(run_id))
    info = registry.client.get_run(run_id).info
    assert (info.status, info.end_time) == (noted["status"], noted["ended"]) == ("FINISHED", noted["ended"])
    earlier = registry.start_run("measured")
    registry.tag_run(earlier, {ENDS_TAG: "FINISHED"})  # as releases noted it that told no time
    end_orphan(registry, registry.client.get_run(earlier))
    assert registry.client.get_run(earlier).info.status == "FINISHED"
    other = registry.start_run("measured")
    end_orphan(registry, registry.client.get_run(other))
    assert registry.client.get_run(other).info.status == "KILLED"
    third = registry.start_run("measured")
    conclude(registry, registry, third, "evaluate", "FINISHED")
    assert registry.client.get_run(third).info.status == "FINISHED"
    said = read_log(storage / "artifacts" / "statements" / "toy")[-1].statement
    assert said is not None and said.registry[f"run {third}"]["status"] == "FINISHED"
