"""`rlhf reward-bench`, once `rlhf evaluate`: any reward model on labelled pairs in RewardBench's format."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from flows.cli import app
from flows.config.errors import InputError
from flows.config.loading import load_config
from flows.inference.pair_set import read_pair_set
from flows.inference.reward_bench import evaluate_pairs
from rlhf_core.metrics.estimates import proportion

CONFIG = Path("configs/tiny.yaml")
ROWS = [
    {"subset": "hep-go", "prompt": "how do i mend a kettle ?", "chosen": "check the kettle .", "rejected": "no ."},
    {"subset": "hep-go", "prompt": "how do i open a door ?", "chosen": "no .", "rejected": "check the door ."},
    {
        "subset": "mine",
        "prompt": "not read",
        "chosen": [{"role": "user", "content": "why ?"}, {"role": "assistant", "content": "check the fuse ."}],
        "rejected": [{"role": "user", "content": "why ?"}, {"role": "assistant", "content": "why not ?"}],
    },
    {
        "subset": "mine",
        "prompt": [
            {"role": "user", "content": "why ?"},
            {"role": "assistant", "content": "no ."},
            {"role": "user", "content": "how do i mend a kettle ?"},
        ],
        "chosen": "check the kettle .",
        "rejected": "check the kettle .",
    },
]


def written(folder: Path, rows: list[dict[str, object]] = ROWS) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def by_transformers(folder: Path, messages: list[dict[str, str]]) -> float:
    """The logit of a whole conversation, by nothing but stock `transformers`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        return float(AutoModelForSequenceClassification.from_pretrained(folder)(torch.tensor([ids])).logits)


def test_scores_are_those_of_stock_transformers_and_figures_those_of_the_scores(scorer: Path, tmp_path: Path) -> None:
    pairs = read_pair_set(str(written(tmp_path)), split="train", subsets=())
    judged = evaluate_pairs(load_config(CONFIG), str(scorer), pairs)
    conversations = [
        [{"role": "user", "content": row["prompt"]}] if isinstance(row["prompt"], str) else row["prompt"]
        for row in ROWS
    ]
    conversations[2] = [{"role": "user", "content": "why ?"}]
    for side, found in (("chosen", judged.chosen), ("rejected", judged.rejected)):
        for row, before, score in zip(ROWS, conversations, found, strict=True):
            text = row[side] if isinstance(row[side], str) else row[side][-1]["content"]
            plain = by_transformers(scorer, [*before, {"role": "assistant", "content": text}])
            assert score * judged.temperature == pytest.approx(plain, abs=1e-4)
    wins = judged.chosen > judged.rejected
    assert judged.figures.accuracy == proportion(int(wins.sum()), 4)
    assert judged.figures.subsets["hep-go"] == proportion(int(wins[:2].sum()), 2)
    assert judged.figures.sections["Reasoning"] == pytest.approx(judged.figures.subsets["hep-go"])
    assert judged.figures.ties == 1 and judged.cut == 0


def test_what_is_longer_than_the_model_can_read_is_counted(scorer: Path, tmp_path: Path) -> None:
    long = {**ROWS[0], "chosen": "check the kettle . " * 60}
    pairs = read_pair_set(str(written(tmp_path, [long, ROWS[1]])), split="train", subsets=())
    assert evaluate_pairs(load_config(CONFIG), str(scorer), pairs).cut == 1


def test_subsets_are_chosen_by_name_and_a_file_without_any_is_one(tmp_path: Path) -> None:
    path = str(written(tmp_path))
    assert [pair.subset for pair in read_pair_set(path, split="train", subsets=["mine"])] == ["mine", "mine"]
    with pytest.raises(InputError, match=r"--subset maths: .* has none of that name; it has hep-go, mine"):
        read_pair_set(path, split="train", subsets=["maths"])
    bare = [{name: cell for name, cell in row.items() if name != "subset"} for row in ROWS]
    assert {pair.subset for pair in read_pair_set(str(written(tmp_path, bare)), split="train", subsets=())} == {"all"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"chosen": None}, "field chosen: is missing"),
        ({"rejected": [{"role": "user", "content": "why ?"}]}, "field chosen: is not a list of objects"),
        (
            {"chosen": ROWS[2]["chosen"], "rejected": [{"role": "user", "content": "why ?"}]},
            "field rejected: does not end with an answer",
        ),
        ({"subset": None}, "field subset: is missing, and other rows name one"),
        ({"prompt": 3}, "field prompt: is not text"),
    ],
)
def test_a_wrong_cell_is_named_with_its_row(tmp_path: Path, wrong: dict[str, object], says: str) -> None:
    path = written(tmp_path, [ROWS[0], {**ROWS[1], **wrong}])
    with pytest.raises(InputError, match=f"pairs.jsonl row 2, {says}"):
        read_pair_set(str(path), split="train", subsets=())


@pytest.mark.parametrize("column", ["prompt", "chosen", "rejected"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = written(tmp_path, [{name: cell for name, cell in ROWS[0].items() if name != column}])
    with pytest.raises(InputError, match=f"pairs.jsonl row 1, field {column}: is missing; write prompt, chosen"):
        read_pair_set(str(path), split="train", subsets=())


def test_the_command_prints_tables_json_and_scores(scorer: Path, tmp_path: Path, storage: Path) -> None:
    asked = ["evaluate", str(scorer), str(written(tmp_path)), "--config", str(CONFIG), "--set", f"storage={storage}"]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert "hep-go" in shown.stdout and "Reasoning" in shown.stdout and "fitted_temperature" in shown.stdout
    assert "1 of 4 pairs score the same on both sides" in shown.stdout
    out = tmp_path / "scores.jsonl"
    told = CliRunner().invoke(app, [*asked, "--json", "--scores", str(out)])
    figures = json.loads(told.stdout)
    assert figures["subsets"]["mine"]["accuracy"]["n"] == 2 and figures["ties"] == 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["subset"] for row in rows] == ["hep-go", "hep-go", "mine", "mine"]
    assert sum(row["results"] for row in rows) / 4 == figures["accuracy"]["value"]


def test_a_policy_scores_no_pairs(speaker: Path, tmp_path: Path, storage: Path) -> None:
    asked = [
        "reward-bench",
        str(speaker),
        str(written(tmp_path)),
        "--config",
        str(CONFIG),
        "--set",
        f"storage={storage}",
    ]
    refused = CliRunner().invoke(app, asked)
    assert refused.exit_code == 2 and "is no reward model, so it scores no pairs" in refused.stderr
