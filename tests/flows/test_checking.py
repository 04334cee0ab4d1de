"""From a configuration to checked tables: the embedded world, files, and tables with planted faults."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from data_contracts.records import COLUMNS, Kind
from data_contracts.validation import ContractViolation
from flows.checking import DataRefused, check_tables
from flows.config import FileData, FileSource, InputError
from flows.datasets import Shares
from flows.sources import file_digests, load_tables
from rlhf_core.worlds.helpdesk.data import WorldConfig

SMALL = WorldConfig(demonstrations=80, preference_prompts=60, prompts=80)
SHARES = Shares(test=0.2, judge=0.2)


@pytest.fixture
def tables() -> dict[Kind, pd.DataFrame]:
    return load_tables(SMALL, seed=1).frames


def spoil(frame: pd.DataFrame, position: int, **cells: Any) -> pd.DataFrame:
    spoilt = frame.copy()
    for name, cell in cells.items():
        spoilt.iloc[position, list(spoilt.columns).index(name)] = cell
    return spoilt


def test_the_embedded_world_meets_its_contracts(tables: dict[Kind, pd.DataFrame]) -> None:
    checked = check_tables(tables, SHARES)
    assert set(checked) == set(COLUMNS)
    assert set(checked["preferences"].frame["split"]) == {"train", "judge", "test"}
    assert set(checked["prompts"].frame["split"]) == {"train", "test"}
    assert all(item.holds for table in checked.values() for item in table.population.findings)


def test_no_prompt_that_trains_anything_is_held_out_anywhere(tables: dict[Kind, pd.DataFrame]) -> None:
    frames = [table.frame for table in check_tables(tables, SHARES).values()]
    both = pd.concat([frame[["prompt", "split"]] for frame in frames])
    held_out = both["split"] == "test"
    assert set(both.loc[held_out, "prompt"]).isdisjoint(both.loc[~held_out, "prompt"])


def test_planted_rows_of_all_tables_are_reported_together(tables: dict[Kind, pd.DataFrame]) -> None:
    pair = tables["preferences"].iloc[5]
    spoilt = {
        **tables,
        "demonstrations": spoil(tables["demonstrations"], 2, response=" "),
        "preferences": spoil(tables["preferences"], 5, rejected=pair["chosen"]),
        "prompts": tables["prompts"].assign(prompt="the same again"),
    }
    with pytest.raises(DataRefused) as refused:
        check_tables(spoilt, SHARES)
    message = str(refused.value)
    assert message.startswith("the data are refused and nothing was written")
    assert "helpdesk row 3, field response" in message and "helpdesk row 6, field rejected" in message
    assert "most prompts are repeats" in message
    assert pair["chosen"] not in message


def test_repeated_and_contradicting_labels_become_votes(tables: dict[Kind, pd.DataFrame]) -> None:
    pairs = tables["preferences"]
    swapped = pairs.assign(chosen=pairs["rejected"], rejected=pairs["chosen"])
    frame = check_tables({**tables, "preferences": pd.concat([pairs, pairs, swapped])}, SHARES)["preferences"].frame
    assert len(frame) == len(pairs)
    assert frame["votes_chosen"].sum() == 2 * pairs["votes_chosen"].sum() + pairs["votes_rejected"].sum()


def test_a_prompt_held_out_of_one_table_and_trained_on_in_another_is_refused(tables: dict[Kind, pd.DataFrame]) -> None:
    other_groups = tables["prompts"].assign(group=[f"other {i}" for i in range(len(tables["prompts"]))])
    same_prompts = tables["demonstrations"].assign(prompt=tables["prompts"]["prompt"])
    with pytest.raises(DataRefused, match="prompt_not_held_out") as refused:
        check_tables({**tables, "demonstrations": same_prompts, "prompts": other_groups}, SHARES)
    assert all(isinstance(problem, ContractViolation) for problem in refused.value.problems)


def test_too_few_groups_are_refused(tables: dict[Kind, pd.DataFrame]) -> None:
    with pytest.raises(DataRefused, match="too few for the shares"):
        check_tables({**tables, "prompts": tables["prompts"].assign(group="the only one")}, SHARES)


def hh_file(path: Path, rows: int = 60) -> Path:
    lines = []
    for i in range(rows):
        chosen = f"\n\nHuman: How do I mend part {i}?\n\nAssistant: Turn {i} off first" + " and wait" * (i % 2)
        rejected = f"\n\nHuman: How do I mend part {i}?\n\nAssistant: I do not know {i}" + " at all" * ((i + 1) % 2)
        lines.append(json.dumps({"chosen": chosen, "rejected": rejected}))
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return path


def hh_data(path: str) -> FileData:
    kinds = {kind: (FileSource(path=path, reader=f"hh-rlhf-{kind}"),) for kind in COLUMNS}
    return FileData.model_validate(kinds)


def test_files_are_found_in_the_data_folder_and_named_as_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hh_file(tmp_path / "pairs.jsonl.gz")
    data = hh_data("pairs.jsonl.gz")
    monkeypatch.delenv("RLHF_DATA", raising=False)
    with pytest.raises(InputError, match="RLHF_DATA, which is not set; export it first"):
        load_tables(data, seed=0)
    monkeypatch.setenv("RLHF_DATA", str(tmp_path))
    loaded = load_tables(data, seed=0)
    assert {kind: len(frame) for kind, frame in loaded.frames.items()} == dict.fromkeys(COLUMNS, 60)
    checked = check_tables(loaded.frames, SHARES)
    assert set(checked["prompts"].frame["source"]) == {"pairs.jsonl.gz"}


def test_the_file_and_not_its_place_is_part_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = hh_file(tmp_path / "a" / "pairs.jsonl.gz")
    second = hh_file(tmp_path / "b" / "pairs.jsonl.gz")
    assert file_digests(hh_data(str(first))) == file_digests(hh_data(str(second)))
    hh_file(second, rows=61)
    assert file_digests(hh_data(str(first))) != file_digests(hh_data(str(second)))
    with pytest.raises(InputError, match="cannot be read"):
        file_digests(hh_data(str(tmp_path / "absent.jsonl")))


def test_a_reader_of_another_kind_is_refused(tmp_path: Path) -> None:
    source = FileSource(path=str(hh_file(tmp_path / "pairs.jsonl.gz")), reader="hh-rlhf-prompts")
    with pytest.raises(ValidationError, match="makes prompts; for demonstrations there are hh-rlhf-demo"):
        FileData(demonstrations=(source,), preferences=(source,), prompts=(source,))


@pytest.mark.skipif("RLHF_DATA" not in os.environ, reason="RLHF_DATA names no folder with the real files")
def test_the_real_sample_is_sound() -> None:
    hh = "hh-rlhf/harmless-base-sample.jsonl.gz"
    data = FileData(
        demonstrations=(
            FileSource(path="self-instruct/seed_tasks.jsonl", reader="self-instruct-demonstrations"),
            FileSource(path="oasst/en_100_tree.jsonl", reader="oasst-demonstrations"),
        ),
        preferences=(FileSource(path=hh, reader="hh-rlhf-preferences"),),
        prompts=(FileSource(path=hh, reader="hh-rlhf-prompts"),),
    )
    checked = check_tables(load_tables(data, seed=0).frames, Shares())
    assert {kind: len(table.frame) for kind, table in checked.items()} == {
        "demonstrations": 382,
        "preferences": 1495,
        "prompts": 1500,
    }
