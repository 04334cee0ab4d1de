"""Rows of evidence go with the versions that they are of, and stay with those that stay."""

from pathlib import Path

import pyarrow as pa

from flows.config.evidence import EvidenceConfig
from flows.lineage.retention import Retention
from flows.registry.names import STAGE_TAG, champion_evidence
from flows.stages.evidence import log_evidence, write_evidence
from tests.flows.toys import Toys


def test_rows_go_with_the_versions_that_they_are_of(tmp_path: Path) -> None:
    toys = Toys("rows", tmp_path / "storage")
    registry, climb = toys.registry, toys.context.run_id

    def keep(run_id: str, name: str = "answers") -> Path:
        table = {name: pa.table({"answered_by": ["sft"], "prompt": ["a secret"]})}
        log_evidence(write_evidence(table, EvidenceConfig(), tmp_path / run_id), "sft", run_id, registry)
        registry.end_run(run_id, "FINISHED")
        return Path(registry.client.get_run(run_id).info.artifact_uri.removeprefix("file://")) / "evidence"

    old, live = toys.stage("sft", "old"), toys.stage("sft", "live")
    registry.set_alias(live, "champion")
    registry.tag_run(climb, {"stage.sft": old.label})
    evaluation = registry.start_run("evaluate", tags={STAGE_TAG: "evaluate", "stage.sft": live.label})
    child = registry.start_run("evaluate-sft", parent=evaluation, tags={STAGE_TAG: "evaluate-sft"})
    registry.end_run(evaluation, "FINISHED")
    folders = {run: keep(run) for run in (old.run_id, live.run_id, child)}
    folders[climb] = keep(climb, champion_evidence("rows-sft", "answers"))

    retention = Retention(registry.client, "rows", tmp_path / "storage")
    assert retention.find(keep_days=1.0) == []
    found = retention.find(keep_days=0.0)
    going = {waste.holder: waste for waste in found if waste.kind == "evidence"}
    assert going.keys() == {old.run_id, climb} and all(waste.size > 0 for waste in going.values())
    assert {waste.holder for waste in retention.kept_evidence(found)} == {live.run_id, child}

    retention.remove(going[climb])
    assert folders[climb].is_dir(), "its version is still registered"
    for waste in found:
        retention.remove(waste)
    assert [run for run, folder in folders.items() if folder.exists()] == [live.run_id, child]
    assert retention.find(keep_days=0.0) == []
    assert "evidence.pruned" in registry.client.get_run(old.run_id).data.tags
