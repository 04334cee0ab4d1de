"""How much of the data the lengths of a configuration cut, counted by a real tokenizer."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from data_contracts.formats.convert import SourceRow
from data_contracts.records import Kind
from flows.config.data import FileSource, Shares
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.audits.lengths import truncated_shares
from flows.data.sources import convert_file
from flows.data.splits import split_by_group
from flows.registry.references import DataRefs, DatasetRef
from flows.storage.snapshots import SnapshotWriter

SHARES = Shares(test=0.2, judge=0.2)


def save_tokenizer(folder: Path, **special: str) -> Path:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "<eos>": 1, "word": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return folder


def snapshot(kind: Kind, rows: list[dict[str, str]], folder: Path) -> DatasetRef:
    numbered = (SourceRow("made up", number, row) for number, row in enumerate(rows, start=1))
    (batch,) = convert_file(kind, numbered, FileSource(path="made-up", format="trl"))
    splits = split_by_group(batch.frame["group"].tolist(), SHARES, judge=kind == "preferences")
    writer = SnapshotWriter(folder / kind)
    writer.add(batch.frame.assign(split=splits))
    writer.close()
    made = writer.publish(kind, folder / "snapshots")
    return DatasetRef(
        name=kind,
        digest=made.digest,
        path=str(made.path),
        rows=made.rows,
        splits=made.split_rows,
        sources=(),
        report="",
    )


@pytest.fixture
def data(tmp_path: Path) -> DataRefs:
    long, short = "word " * 30, "word"
    rows = [
        {"prompt": f"{i} {long if i % 2 else short}", "completion": short, "chosen": long, "rejected": f"{short} {i}"}
        for i in range(400)
    ]
    tables: dict[Kind, DatasetRef] = {
        "demonstrations": snapshot("demonstrations", rows, tmp_path),
        "preferences": snapshot("preferences", rows, tmp_path),
        "prompts": snapshot("prompts", rows, tmp_path),
    }
    return DataRefs(datasets=tables, counts={}, report="", ladder_run="", seconds=0.0)


CONFIG = LadderConfig.model_validate(
    {
        "project": "toy",
        "sft": {"sampling": {"max_prompt_tokens": 20, "max_response_tokens": 20}},
        "reward_model": {"max_prompt_tokens": 40, "max_response_tokens": 20},
        "policy": {"sampling": {"max_prompt_tokens": 20, "max_response_tokens": 20}},
    }
)


def test_shares_of_cut_texts(data: DataRefs, tmp_path: Path) -> None:
    shares = truncated_shares(CONFIG, data, save_tokenizer(tmp_path / "base", eos_token="<eos>"))
    assert shares == {
        "data/demonstrations_prompt_truncated": pytest.approx(0.5, abs=0.1),
        "data/demonstrations_response_truncated": 0.0,
        "data/preferences_prompt_truncated": 0.0,
        "data/preferences_response_truncated": 0.5,
        "data/prompts_prompt_truncated": pytest.approx(0.5, abs=0.1),
    }


def test_a_tokenizer_without_an_end_is_refused(data: DataRefs, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no end-of-sequence token"):
        truncated_shares(CONFIG, data, save_tokenizer(tmp_path / "base"))
