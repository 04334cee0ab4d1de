"""What is named as data and is none: it is said what it is, and which command takes it."""

import json
from pathlib import Path

import pytest

from flows.config.errors import InputError
from flows.data.file_search import find_files, search_files
from flows.data.files import read_file

PAIR = json.dumps({"prompt": "How?", "chosen": "So.", "rejected": "No."})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


def written(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        search_files(path)
    return str(refused.value)


@pytest.mark.parametrize(
    "files",
    [
        {"config__json": '{\n "model_type": "llama"\n}', "tokenizer__json": "{}"},
        {"config__json": "{}", "model__safetensors": "x"},
        {"adapter_config__json": "{}"},
    ],
    ids=["by its configuration", "by its weights", "an adapter"],
)
def test_a_models_folder_is_told_with_the_commands_that_take_it(folder: Path, files: dict[str, str]) -> None:
    written(folder, **files)
    for path in (folder, folder.parent, *folder.glob("config.json")):
        said = refusal(path)
        assert said.startswith(f"{folder} is a model's folder and holds no data: `rlhf init NAME --data FILE --model")
    written(folder, pairs__jsonl=PAIR)
    assert find_files(folder / "pairs.jsonl") == [folder / "pairs.jsonl"]


def test_what_a_climb_left_is_told(folder: Path) -> None:
    written(folder, mlflow__db="", results__json="{}")
    assert refusal(folder).startswith(f"{folder} is the storage of climbs and holds no data of yours: `rlhf ui`")


def test_a_folder_of_snapshots_is_told_and_one_of_them_is_read(folder: Path) -> None:
    written(folder, a1__parquet="x", a1__profile__json="{}")
    assert refusal(folder).endswith(f"name one of its .parquet files, such as {folder / 'a1.parquet'}")
    assert find_files(folder / "a1.parquet") == [folder / "a1.parquet"]


def test_a_projects_folder_is_told(folder: Path) -> None:
    written(folder, ladder__yaml="", ladder__schema__json="{}")
    assert "is a project's folder: `rlhf ingest ladder.yaml` in it reads" in refusal(folder)
    written(folder, pairs__jsonl=PAIR)
    assert refusal(folder).endswith("name pairs.jsonl to see it")


def test_an_empty_folder_and_one_of_other_things_are_told_apart(folder: Path) -> None:
    assert refusal(folder).startswith(f"{folder} is an empty folder: check the path")
    written(folder, a__md="", b__md="", c__md="", d__md="")
    assert ".arrow file, but a.md, b.md, c.md and 1 more: check the path" in refusal(folder)


def test_data_beside_a_configuration_of_something_else_are_read(folder: Path) -> None:
    written(folder, config__json='{"name": "vendor"}', pairs__jsonl=PAIR)
    assert [path.name for path in find_files(folder)] == ["config.json", "pairs.jsonl"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ladder.yaml", "ladder.yaml is a configuration, it seems: `rlhf ingest ladder.yaml` reads the data"),
        ("model.safetensors", "model.safetensors is a model's weights and no data"),
        ("pairs.XLSX", "pairs.XLSX is a spreadsheet: export it as CSV"),
        ("pairs.zip", "pairs.zip is an archive: unpack it"),
        ("pairs.sqlite", "pairs.sqlite is a database: export the table as CSV or Parquet"),
        ("pairs.txt", "pairs.txt: has none of the endings .jsonl"),
    ],
)
def test_a_file_of_another_kind_is_told_by_its_ending(folder: Path, name: str, said: str) -> None:
    written(folder, **{name: "x"})
    with pytest.raises(InputError) as refused:
        next(read_file(folder / name, name))
    assert str(refused.value).startswith(said)


def test_an_object_over_several_lines_is_called_one(folder: Path) -> None:
    written(folder, rows__json=json.dumps({"rows": [{"prompt": "How?"}]}, indent=2))
    with pytest.raises(InputError, match="row 1: is not JSON by itself, as it goes on in the next line"):
        next(read_file(folder / "rows.json", "rows.json"))
