"""What a check of a configuration says of its data: by its own rules, of the rows that are there."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.config.ladder import LadderConfig
from flows.data import first_rows
from flows.data.first_rows import judge_first_rows
from flows.data.refusal import DataRefused

PAIRS = [{"prompt": f"Question {n}?", "chosen": f"Answer {n}.", "rejected": f"No answer {n}."} for n in range(40)]
SAME = [{**pair, "rejected": pair["chosen"]} for pair in PAIRS[:10]]


def settings(folder: Path, pairs: list[dict[str, str]], **contract: Any) -> dict[str, Any]:
    (folder / "data").mkdir(exist_ok=True)
    for name, rows in {"a.jsonl": pairs[:10], "b.jsonl": pairs[10:]}.items():
        (folder / "data" / name).write_text("".join(json.dumps(pair) + "\n" for pair in rows))
    source = [{"path": str(folder / "data"), "format": "trl"}]
    return {
        "project": "desk",
        "data": {"kind": "files", "demonstrations": source, "preferences": source, "prompts": source},
        "base": {"kind": "from_text"},
        "shares": {"test": 0.2, "judge": 0.2},
        "contract": {"near_held_out": None, **contract},
    }


def told(folder: Path, pairs: list[dict[str, str]], **contract: Any) -> list[str]:
    return list(judge_first_rows(LadderConfig.model_validate(settings(folder, pairs, **contract))))


def test_rows_that_a_configuration_allows_are_counted_by_its_rules(tmp_path: Path) -> None:
    pairs = [*SAME, *PAIRS[10:]]
    prompts = "of all 40 rows ingestion would keep 40 records, 0 merged, 0 quarantined"
    assert told(tmp_path, pairs, max_quarantined=0.3) == [
        f"data.demonstrations: {prompts}",
        "data.preferences: of all 40 rows ingestion would keep 30 records, 0 merged, 10 quarantined "
        "(responses_differ 10)",
        f"data.prompts: {prompts}",
    ]
    with pytest.raises(DataRefused, match=r"preferences: 10 of 40 records would be quarantined, more than the share"):
        told(tmp_path, pairs)


def test_first_rows_that_would_be_refused_are_a_warning_where_others_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_rows, "ROWS", 10)
    lines = told(tmp_path, [*SAME, *PAIRS])
    assert lines[1] == (
        "data.preferences: of the first 10 rows ingestion would keep 0 records, 0 merged, 10 quarantined "
        "(responses_differ 10)"
    )
    assert lines[2].startswith(
        "warning: ingestion would refuse data.preferences if all rows were like these: preferences: 10 of 10 records "
    )


def test_the_command_ends_like_a_climb_whose_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ladder.yaml"
    path.write_text(json.dumps(settings(tmp_path, [*SAME, *PAIRS[10:]])))
    done = CliRunner().invoke(app, ["config", "check", str(path), "--offline"])
    assert done.exit_code == 2
    assert f"rlhf ingest {path}  # once they are mended" in done.output
    assert "`contract: {max_quarantined: {preferences: 0.25}}`" in done.output
    assert "the data are refused" in done.output and "responses_differ (10)" in done.output
