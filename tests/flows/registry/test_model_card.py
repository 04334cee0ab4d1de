"""Descriptions of versions on a real MLflow: what a reviewer reads, and that nobody's notes are lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.registry.client import Registry
from flows.registry.model_card import END, LIMIT, describe_versions
from flows.registry.names import CHAMPION, IMPORTED_TAG, TEMPLATE_DAY_TAG, TRAINED_BY_TAG
from flows.registry.references import DatasetRef, ModelRef, StageRecord
from rlhf_core.gates.gate import Gate, Verdict, judge
from rlhf_core.metrics.estimates import Estimate

Register = Callable[..., ModelRef]

FIGURES = {"agreement": Estimate(0.7, 0.65, 0.75, 400), "ece": Estimate(0.03, 0.01, 0.05, 400)}
GATES = [
    Gate(name="agrees", metric="agreement", direction="above", threshold=0.6, failure="disagrees", reason="Made up."),
    Gate(name="oracle", metric="agreement", direction="above", threshold=0.9, failure="no oracle", reason="Made up."),
]
VERDICTS = judge(GATES, FIGURES)
PAIR = {"prompt": "why ?", "chosen": "because .", "rejected": "no .", "delta": "+1.20"}
DATA = DatasetRef(
    name="preferences", digest="abc" * 21, path="/p", rows=5, splits={"train": 4, "judge": 0, "test": 1},
    sources=("a.jsonl", "b.jsonl"), contract="7", report="/r",
)  # fmt: skip


def record_of(ref: ModelRef, **changes: Any) -> StageRecord:
    record = StageRecord(
        stage="reward-model",
        key="k",
        ladder_run="ladder0",
        run_id=ref.run_id,
        models={"reward_model": ref},
        what={"reward_model": "Reward model"},
        datasets={"training": DATA},
        estimates=FIGURES,
        samples=[PAIR],
        seconds=12.0,
    )
    return record.model_copy(update=changes)


def described(desk: Registry, record: StageRecord, verdicts: list[Verdict] = VERDICTS) -> str:
    describe_versions(record, verdicts, desk)
    ref = record.model
    return str(desk.client.get_model_version(ref.name, ref.version).description)


def test_a_reviewer_finds_the_day_that_a_chat_template_is_told(desk: Registry, register: Register, name: str) -> None:
    assert "Chat template" not in described(desk, record_of(register(name)))
    pinned = register(name)
    desk.client.set_model_version_tag(pinned.name, pinned.version, TEMPLATE_DAY_TAG, "2026-11-29")
    assert "**Chat template** pinned to 2026-11-29: it asks for the date" in described(desk, record_of(pinned))


def test_a_reviewer_finds_what_cannot_be_known_of_a_policy_from_elsewhere(
    desk: Registry, register: Register, name: str
) -> None:
    ref = register(name)
    desk.tag_versions([ref], {IMPORTED_TAG: "/policies/a", TRAINED_BY_TAG: "verl 0.6"})
    said = "**Taken from** /policies/a: imported, trained by verl 0.6"
    unknown = "; its training data are unknown, so held-out prompts may be among them."
    assert f"{said}{unknown}" in described(desk, record_of(ref))
    desk.tag_versions([ref], {"parent.taken": "other-policy/1"})
    assert f"{said}." in described(desk, record_of(ref))


def test_a_reviewer_finds_data_figures_verdicts_samples_and_the_report(
    desk: Registry, register: Register, name: str
) -> None:
    ref = register(name)
    lines = described(desk, record_of(ref)).splitlines()
    assert lines[0] == "Reward model. Made from preferences abcabcabcabc."
    assert f"(#/experiments/{desk.experiment_id}/runs/ladder0/artifacts/report.html)" in lines[2]
    assert f"(#/experiments/{desk.experiment_id}/runs/{ref.run_id})" in lines[2] and lines[2].endswith("12 s")
    assert "**Gates: 1 of 2 passed**" in lines
    assert "| agrees | pass | agreement: lower bound 0.65 is above 0.6 (n=400) | 0.071 |" in lines
    assert "| oracle | fail | agreement: lower bound 0.65 is not above 0.9 (n=400): no oracle | 0.071 |" in lines
    assert "| agreement | 0.700 [0.650, 0.750] | 400 |" in lines
    assert "| training | preferences abcabcabcabc | train 4, test 1 | 7 | 2 |" in lines
    assert "    chosen: because ." in lines and "    delta: +1.20" in lines
    assert lines[-1] == END


def test_the_champion_stands_beside_a_later_version(desk: Registry, register: Register, name: str) -> None:
    first, second = (register(name, rlhf_code=code) for code in ("c1", "c2"))
    desk.log_estimates(first.run_id, {"agreement": Estimate(0.6, 0.55, 0.65, 300)})
    assert "champion" not in described(desk, record_of(second))
    desk.set_alias(first, CHAMPION)
    lines = described(desk, record_of(second)).splitlines()
    assert "| figure | value [95 % interval] | n | champion, version 1 |" in lines
    assert "| agreement | 0.700 [0.650, 0.750] | 400 | 0.600 [0.550, 0.650] |" in lines
    assert "| ece | 0.030 [0.010, 0.050] | 400 | not measured |" in lines
    assert f"**Not as in the champion, {name}/1**" in lines and "- rlhf.code: c2, there c1" in lines
    assert "champion" not in described(desk, record_of(first))


def test_written_again_it_says_the_same_and_keeps_what_people_wrote_below(
    desk: Registry, register: Register, name: str
) -> None:
    record = record_of(register(name))
    text = described(desk, record)
    assert described(desk, record) == text
    ref = record.model
    desk.client.update_model_version(ref.name, ref.version, f"{text}\nSeen by **Ann**.\n\nGo.")
    for _ in range(2):
        assert described(desk, record, []).partition(END)[2].strip() == "Seen by **Ann**.\n\nGo."
    assert "Gates" not in described(desk, record, [])


def test_a_description_that_a_person_put_in_the_place_of_ours_is_kept(
    desk: Registry, register: Register, name: str
) -> None:
    record = record_of(register(name))
    described(desk, record)
    desk.client.update_model_version(name, "1", "Do not use.")
    assert described(desk, record).partition(END)[2].strip() == "Do not use."


def test_texts_of_models_and_people_are_never_read_as_markdown(desk: Registry, register: Register, name: str) -> None:
    nasty = {"prompt": "# why\n```\n</pre><script>alert(1)</script> | **x** |", "answer": END}
    record = record_of(register(name), samples=[nasty])
    text = described(desk, record)
    assert described(desk, record) == text
    after = text[text.index("**Samples") :].splitlines()[1:-1]
    assert all(line.startswith("    ") for line in after if line)


def test_however_much_there_is_to_say_it_fits_the_database(
    desk: Registry, register: Register, name: str, tmp_path: Path
) -> None:
    many = [gate.model_copy(update={"name": f"gate-{index}"}) for index in range(30) for gate in GATES[:1]]
    sample = {f"answer {index}": "word " * 500 for index in range(20)}
    record = record_of(register(name), samples=[sample, sample])
    text = described(desk, record, judge(many, FIGURES))
    assert 2000 < len(text) <= LIMIT and "gate-29" in text and "answer" not in text and text.rstrip().endswith(END)
    desk.client.update_model_version(name, "1", text + "n" * (LIMIT - len(text)))
    again = described(desk, record, judge(many, FIGURES))
    assert len(again) <= LIMIT and "n" * (LIMIT - len(text)) in again


@pytest.mark.parametrize("stage", ["base", "judge"])
def test_stages_without_gates_or_figures_are_described_too(
    desk: Registry, register: Register, name: str, stage: str
) -> None:
    record = record_of(register(name), stage=stage, estimates={}, datasets={}, samples=[])
    text = described(desk, record, [])
    assert text.startswith("Reward model.\n\n[report of the climb](") and "**" not in text
