"""Mistakes in the part of a configuration that is about data, found before any file is opened."""

from pathlib import Path

import pytest

from flows.config.errors import InputError
from flows.config.loading import load_config, load_ingest_config

FILES = "project: toy\ndata:\n  kind: files\n  "
BAD = [
    (
        FILES + "preferences: [{path: a, format: typo}]",
        "format 'typo' is unknown; it must give preferences; there are trl",
    ),
    (FILES + "demonstrations: [{path: a, format: mt-bench}]", "format 'mt-bench' gives no demonstrations; there are"),
    (
        FILES + "preferences: [{path: a, repeats: maybe}]",
        "field 'data.preferences.0.repeats': must be 'copies' or 'votes'",
    ),
    (FILES + "preferences: [{paht: a}]", "field 'data.preferences.0.path' is missing; add it"),
    (FILES + "formats: [absent.py]", "absent.py does not run (FileNotFoundError"),
    (
        "project: toy\ncontract: {rules: {typo: fatal}}",
        "no rule is called typo; there are fits_format, prompt_is_shared",
    ),
    (
        "project: toy\ncontract: {max_quarantined: 2}",
        "field 'contract.max_quarantined': must be less than or equal to 1",
    ),
    (
        "project: toy\ndata:\n  kind: hub\n  prompts: [{dataset: a/b, revision: main, split: train}]",
        "field 'data.prompts.0.revision'",
    ),
]


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_a_mistake_is_named_by_field_and_mend(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        load_ingest_config(path)
    assert expected in str(refused.value)


def test_ingestion_takes_one_table_and_a_climb_needs_three(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(FILES + "preferences: [{path: a}]\nbase: {kind: from_text}")
    assert load_ingest_config(path).project == "toy"
    with pytest.raises(InputError, match=r"field 'data\.demonstrations' has no source, which a climb needs"):
        load_config(path)


def test_a_configuration_brings_formats_of_its_own(own_format: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(FILES + f"formats: [{own_format}]\n  preferences: [{{path: a, format: winners}}]")
    assert load_ingest_config(path).data.kind == "files"
