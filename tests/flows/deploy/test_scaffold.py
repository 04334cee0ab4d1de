"""A new project's folder: what it holds loads as a run would read it, on data and model of one's own."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from data_contracts.formats.registry import FORMATS
from flows.cli import app
from flows.config.data import FileData
from flows.config.ladder import LadderFile
from flows.config.loading import load_file
from flows.config.pretrained import FolderBase, GGUFBase, HubBase
from flows.config.schema import file_schema
from flows.data.sources import check_files, open_sources
from flows.deploy.scaffold.project import examples
from flows.stages.reward_inputs import check_reward
from rlhf_core.config.ppo import PPOConfig
from tests.conftest import ROOT

Init = Callable[..., Result]

ALWAYS = [
    ".github/workflows/configuration.yaml",
    ".gitignore",
    "README.md",
    "ladder.schema.json",
    "ladder.yaml",
    "requirements.txt",
    "rewards.py",
]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speaker: Path) -> Path:
    """A folder with a vendor's file and a model, in which a person types; the environment names another for data."""
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "model").symlink_to(speaker)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RLHF_DATA", str(tmp_path / "elsewhere"))
    return folder


def pairs_file(
    path: Path, *, prompts: int = 20, header: str = "question,response_a,response_b,preferred,rater"
) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        for number in range(prompts):
            row = [f"how do i mend kettle {number} ?", f"check part {number} .", f"no {number} ."]
            writer.writerows([*row, label, rater] for rater, label in (("ann", "A"), ("bob", "B"), ("cyd", "tie")))


def init(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> LadderFile:
    """The configuration as it is read in its folder, whose files are there."""
    monkeypatch.chdir(folder)
    file = load_file(Path("ladder.yaml"))
    check_files(file.data)
    return file


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_vendors_file_and_a_model_become_a_folder_that_loads(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs_file(desk / "pairs.csv")
    done = init("my-assistant", "--data", "pairs.csv", "--model", "./model")
    assert done.exit_code == 0, done.output
    assert "pairs.csv: 60 preferences, 60 prompts" in done.stdout
    assert "few pairs: they have 20 different prompts, 8 of them held out; the gates ask for 400" in done.stdout
    assert files_of(desk / "my-assistant") == ALWAYS
    file = loaded(desk / "my-assistant", monkeypatch)
    assert file.project == "my-assistant" and file.deploy.schedules == {"ladder": "0 3 * * 1"}
    assert isinstance(file.base, FolderBase) and file.base.path.samefile(desk / "model")
    assert isinstance(file.data, FileData)
    assert {source.path for source in file.data.preferences} == {"../pairs.csv"}
    assert file.reward_model.labels == "votes" and file.data.preferences[0].ties == "keep"
    assert file.shares.test == 0.4
    read = {
        kind: sum(len(batch.frame) for batch, *_ in reads) for kind, reads in open_sources(file.data, seed=0).items()
    }
    assert read == {"preferences": 60, "prompts": 60, "demonstrations": 40}  # a tie prefers no answer


def test_lengths_are_measured_with_the_models_tokenizer(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs_file(desk / "pairs.csv")
    assert "by the model's tokenizer" in init("ours", "--data", "pairs.csv", "--model", "model").stdout
    file = loaded(desk / "ours", monkeypatch)
    assert isinstance(file.policy, PPOConfig)
    lengths = {file.sft.sampling.lengths, file.policy.sampling.lengths, file.reward_model.lengths, file.judge.lengths}
    assert lengths == {(64, 32)}  # 7 tokens and 48 of a template, 4 and the end; in steps of 32


def test_written_answers_are_imitated_rather_than_preferred_ones(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs_file(desk / "pairs.csv", prompts=1000)
    turns = [{"role": role, "content": f"{role} says this"} for role in ("system", "user", "assistant")]
    (desk / "talks.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    done = init("ours", "--data", "pairs.csv", "--data", "talks.jsonl", "--model", "owner/name@v1")
    assert "talks.jsonl: 1 demonstrations" in done.stdout and "estimated, 3 characters a token" in done.stdout
    assert "few pairs" not in done.stdout
    file = loaded(desk / "ours", monkeypatch)
    assert isinstance(file.data, FileData) and isinstance(file.base, HubBase)
    assert [source.path for source in file.data.demonstrations] == ["../talks.jsonl"]
    assert [source.path for source in file.data.prompts] == ["../pairs.csv"]
    assert (file.base.model, file.base.revision) == ("owner/name", "v1")
    assert file.shares.test == 0.4  # 400 of 1000


def test_a_gguf_file_is_a_base(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs_file(desk / "pairs.csv")
    (desk / "small.gguf").write_bytes(b"GGUF")
    assert init("ours", "--data", "pairs.csv", "--model", "small.gguf").exit_code == 0
    base = loaded(desk / "ours", monkeypatch).base
    assert isinstance(base, GGUFBase) and (base.path / base.file).samefile(desk / "small.gguf")


def test_what_nothing_is_known_of_gets_a_format_to_fill_in(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "ours", {})  # which goes with the test
    (desk / "odd.csv").write_text("alpha,beta\n1,2\n3,4\n")
    done = init("ours", "--data", "odd.csv", "--model", "model")
    assert "odd.csv: no known format; formats.py is to say what its rows are" in done.stdout
    assert "The columns are alpha, beta." in (desk / "ours" / "formats.py").read_text()
    data = loaded(desk / "ours", monkeypatch).data
    assert isinstance(data, FileData)
    assert data.preferences[0].format == "ours"
    [_, read] = open_sources(data, seed=0)["preferences"]
    assert read.batch.misfits[0].reason == "is still to be made of a row of odd.csv, in formats.py"
    assert "lengths: 64 and 64 tokens, the most, as no text can be read yet" in done.stdout  # half of 128


def test_a_known_format_that_reads_no_row_gives_way_to_the_columns(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    row = {"messages": [turn("user", "how ?")], "chosen": [turn("assistant", "so .")]}
    (desk / "talks.jsonl").write_text(json.dumps({**row, "rejected": [turn("assistant", "no .")]}) + "\n")
    done = init("ours", "--data", "talks.jsonl", "--model", "model")
    assert "talks.jsonl: 1 preferences, 1 prompts" in done.stdout
    data = loaded(desk / "ours", monkeypatch).data
    assert isinstance(data, FileData)
    [_, read] = open_sources(data, seed=0)["preferences"]
    assert read.batch.frame[["prompt", "chosen", "rejected"]].to_numpy().tolist() == [["how ?", "so .", "no ."]]


def test_the_rule_that_comes_with_it_is_a_reward(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs_file(desk / "pairs.csv")
    init("ours", "--data", "pairs.csv", "--model", "model")
    text = (desk / "ours" / "ladder.yaml").read_text()
    (desk / "ours" / "ladder.yaml").write_text(re.sub("# (reward: .*ends_well.*)", r"\1", text))
    check_reward(loaded(desk / "ours", monkeypatch).policy.reward)


def test_editors_and_checks_get_the_schema_and_the_version(desk: Path) -> None:
    pairs_file(desk / "pairs.csv")
    init("ours", "--data", "pairs.csv", "--model", "model")
    text = (desk / "ours" / "ladder.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=./ladder.schema.json\n")
    assert (desk / "ours" / "ladder.schema.json").read_text() == CliRunner().invoke(app, ["config", "schema"]).stdout
    assert json.loads((desk / "ours" / "ladder.schema.json").read_text()) == file_schema()
    version = CliRunner().invoke(app, ["--version"]).stdout
    assert (
        version.removeprefix("rlhf-ladder ").strip()
        == (desk / "ours" / "requirements.txt").read_text().split("==")[1].strip()
    )


def test_a_configuration_that_comes_with_it_can_be_taken_as_it_is(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"embedded", "tiny", "hh_0_5b"} <= set(examples())
    assert init("ours", "--like", "embedded").exit_code == 0
    assert files_of(desk / "ours") == ALWAYS
    shipped = load_file(ROOT / "configs" / "embedded.yaml").climb
    ours = loaded(desk / "ours", monkeypatch).climb
    assert ours == shipped.model_copy(update={"project": "ours", "storage": ours.storage})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("My_Assistant",), "'My_Assistant' cannot be the name of a project: write my-assistant"),
        (("ours", "--model", "./absent"), "--model ./absent: is no folder here"),
        (("ours", "--model", "."), "--model . holds no config.json"),
        (("ours", "--data", "absent.csv"), "absent.csv does not exist"),
        (("ours", "--data", "talks.jsonl"), "holds no pairs of answers with a preference"),
        (
            ("ours", "--data", "lists.jsonl"),
            "\n  lists.jsonl: responses seem to be responses, but there is no number for each",
        ),
        (("there",), "there has README.md already: name another folder, or move what is there"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(desk: Path, arguments: tuple[str, ...], said: str) -> None:
    pairs_file(desk / "pairs.csv")
    (desk / "talks.jsonl").write_text('{"prompt": "why ?", "completion": "so ."}\n')
    (desk / "lists.jsonl").write_text('{"prompt": "why ?", "responses": ["so .", "no ."], "label": ["good", "bad"]}\n')
    (desk / "there").mkdir()
    (desk / "there" / "README.md").touch()
    before = files_of(desk)
    name, *options = arguments
    given = {"--data": "pairs.csv", "--model": "model"} | dict(zip(options[::2], options[1::2], strict=True))
    done = init(name, *(part for option in given.items() for part in option))
    assert done.exit_code == 2 and done.stderr.startswith("error: ") and said in done.stderr
    assert files_of(desk) == before


def test_a_list_of_objects_is_taken_as_inspection_takes_it(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [[{"text": f"so {number} .", "score": 1.5}, {"text": f"no {number} .", "score": 1}] for number in range(20)]
    rows = [{"prompt": f"why {number} ?", "completions": texts} for number, texts in enumerate(said)]
    pd.DataFrame(rows).to_parquet(desk / "pairs.parquet")
    assert (
        "pairs.parquet: 20 preferences, 20 prompts"
        in init("ours", "--data", "pairs.parquet", "--model", "model").stdout
    )
    inspected = CliRunner().invoke(app, ["data", "inspect", "pairs.parquet"]).stdout
    columns = "columns: {prompt: prompt, responses: completions.text, scores: completions.score}"
    assert columns in inspected and columns in (desk / "ours" / "ladder.yaml").read_text()
    assert len(loaded(desk / "ours", monkeypatch).data.preferences) == 1


def test_data_that_ingestion_would_refuse_are_named_as_such(desk: Path) -> None:
    pairs_file(desk / "pairs.csv")
    assert "refuse" not in init("sound", "--data", "pairs.csv", "--model", "model").stdout
    text = (desk / "pairs.csv").read_text()
    again = "\n".join(text.splitlines()[1:7])  # three people vote twice on two pairs
    (desk / "pairs.csv").write_text(f"{text}{again}\n")
    made = init("ours", "--data", "pairs.csv", "--model", "model")
    assert "  look at it: ingestion would refuse it, preferences: 6 of 66 records would be quarantined" in made.stdout
    assert "`rlhf data inspect` shows why" in made.stdout and (desk / "ours" / "ladder.yaml").is_file()


def test_data_and_model_go_together_or_an_example_is_named(desk: Path) -> None:
    for arguments in (("ours",), ("ours", "--data", "pairs.csv"), ("ours", "--model", "model", "--like", "tiny")):
        done = init(*arguments)
        assert done.exit_code == 2 and "name both --data and --model, or an example by --like instead" in done.stderr
    assert "there is no such example; there are embedded," in init("ours", "--like", "embeded").stderr
