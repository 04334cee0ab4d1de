"""Sources of labels of an ingestion: the file whose labels are the wrong way round is named, and a gate stops it."""

import json
import random
from pathlib import Path

import pytest

from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.data.audits.labels import measure_labels
from flows.data.audits.source_report import SHOWN_SOURCES, source_page, source_remarks, source_sheet
from flows.data.sources import open_sources
from flows.data.step_timer import Clock
from flows.data.tables import make_tables
from rlhf_core.gates.data import DEFAULT_DATA_GATES
from rlhf_core.gates.gate import blocked, judge
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_quality import LabelWorth
from rlhf_core.metrics.label_sources import CONTRADICTS, SourceFigures, least_source_agreement
from rlhf_core.metrics.raters import LIKES_LENGTH

GATES = [gate for gate in DEFAULT_DATA_GATES if gate.metric == "least_source_agreement"]


def batch(path: Path, count: int, *, right: float) -> FileSource:
    """A file of labels of which so many are right, in pairs of a helpful and a lazy answer."""
    rng, rows = random.Random(path.name), []
    for number in range(count):
        good = f"Turn part {number} off first, and then call {rng.randrange(9)}."
        bad = f"I do not know {rng.randrange(9)} of part {number}."
        chosen, rejected = (good, bad) if rng.random() < right else (bad, good)
        rows.append({"prompt": f"{path.stem}: how do I mend {number}?", "chosen": chosen, "rejected": rejected})
    path.write_text("\n".join(map(json.dumps, rows)))
    return FileSource(path=str(path))


def worth_of(folder: Path, *files: FileSource) -> LabelWorth:
    reads = open_sources(FileData(preferences=files), seed=0)
    contract, shares = ContractConfig(max_quarantined=1.0), Shares(test=0.2)
    tables = make_tables(reads, shares, contract, folder=folder / "work", clock=Clock(), judge=False)
    return measure_labels(tables["preferences"])


@pytest.fixture
def sound(tmp_path: Path) -> list[FileSource]:
    return [batch(tmp_path / f"week-{number}.jsonl", 150, right=0.85) for number in range(4)]


def test_a_flipped_file_is_named_in_report_and_remark_and_the_gate_fails(
    tmp_path: Path, sound: list[FileSource]
) -> None:
    worth = worth_of(tmp_path, *sound, batch(tmp_path / "vendor.jsonl", 200, right=0.15))
    assert {name for name, each in worth.sources.items() if each.verdicts} == {"vendor.jsonl"}
    assert source_sheet(worth.sources).rows[0][0] == "vendor.jsonl"
    (remark,) = source_remarks(worth.sources)
    assert remark.startswith("labels of vendor.jsonl contradict") and "withdraw 'source:vendor.jsonl'" in remark
    assert f"| {CONTRADICTS} |" in source_page(worth.sources)
    (verdict,) = blocked(judge(GATES, least_source_agreement(worth.sources)))
    assert verdict.gate == "sources-agree" and verdict.status == "fail"


def test_sound_files_pass_and_one_file_alone_is_held_against_nothing(tmp_path: Path, sound: list[FileSource]) -> None:
    worth = worth_of(tmp_path, *sound)
    assert len(worth.sources) == 4 and source_remarks(worth.sources) == []
    assert blocked(judge(GATES, least_source_agreement(worth.sources))) == []
    alone = worth_of(tmp_path / "alone", sound[0])
    assert alone.sources == {} and source_page(alone.sources) == ""
    assert blocked(judge(GATES, least_source_agreement(alone.sources))) == []


def test_many_sources_are_cut_and_those_to_look_at_stand_first() -> None:
    agreed = Estimate(0.7, 0.6, 0.8, 50)
    sources = {f"week {number}": SourceFigures(pairs=90, agreement=agreed, longer=None) for number in range(70)}
    liking = Estimate(0.2, 0.1, 0.3, 50)
    named = {"old": SourceFigures(pairs=90, agreement=agreed, longer=liking, verdicts=(LIKES_LENGTH,))}
    rows = source_sheet(sources | named).rows
    assert rows[0] == ("old", "90", "0.70 [0.60, 0.80]", "+0.20 [+0.10, +0.30]", LIKES_LENGTH)
    assert (len(rows), rows[-1][0]) == (SHOWN_SOURCES + 1, "and 11 more") and rows[1][3] == "unknown"
    (remark,) = source_remarks(sources | named)
    assert "prefer longer responses, on +20% of the pairs" in remark
