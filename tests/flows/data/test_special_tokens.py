"""Texts that write what is a special token of some model are counted, with the first places."""

from pathlib import Path

import pandas as pd
import pytest

from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.data.sources import open_sources
from flows.data.special_tokens import MARKS, SpecialTokenCount
from flows.data.step_timer import Clock
from flows.data.tables import make_tables

KNOWN = (
    *("<|im_end|>", "<|assistant|>", "<|eot_id|>", "<|end|>", "<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<eos>"),
    *("<start_of_turn>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "[MASK]", "<pad>"),
)


@pytest.mark.parametrize("mark", KNOWN)
def test_the_marks_of_published_models_are_known(mark: str) -> None:
    assert MARKS.findall(f"a{mark}b {mark}") == [mark, mark]


@pytest.mark.parametrize("text", ["a <b> c", "a < b | c > d", "[INSTALL]", "<span>", "x[0]", "<||>", "<strong>", "|>"])
def test_other_texts_are_none(text: str) -> None:
    assert MARKS.findall(text) == []


def test_rows_and_occurrences_are_counted_with_the_first_places() -> None:
    count = SpecialTokenCount("demonstrations")
    said = ["no", "<|im_end|><|im_end|> [INST]", "no", "<s>", "</s>", "<s>"]
    count.add(pd.DataFrame({"prompt": "<b>", "response": said, "source": "a.jsonl", "row": range(1, 7)}))
    assert (count.rows, count.written) == (4, {"<|im_end|>": 2, "[INST]": 1, "<s>": 2, "</s>": 1})
    assert count.remark == (
        "demonstrations: 4 of 6 records write special tokens of some models (<|im_end|> 2, <s> 2, [INST] 1 and 1 more; "
        "first a.jsonl row 2, a.jsonl row 4, a.jsonl row 5); they stay text, unless special_tokens of a model allows "
        "them"
    )
    assert SpecialTokenCount("prompts").remark == ""


def test_ingest_counts_them_by_table(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(f'{{"prompt": "How is number {n}?{"<|im_end|>" * (n == 3)}"}}\n' for n in range(40)))
    data = FileData(prompts=(FileSource(path=str(file)),))
    tables = make_tables(
        open_sources(data, seed=0), Shares(), ContractConfig(), folder=tmp_path / "tables", clock=Clock()
    )
    counts = tables["prompts"].counts
    assert (counts.special_tokens, counts.rows_with_special_tokens) == ({"<|im_end|>": 1}, 1)
    assert "first prompts.jsonl row 4" in tables["prompts"].special_tokens.remark
