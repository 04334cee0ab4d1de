"""How many texts lengths cut, counted by hand: a letter is a token, and so is each special one."""

from pathlib import Path

import pandas as pd
import pytest

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.audits.cut_texts import CutTexts, TableReading, cut_texts, first_rows
from rlhf_core.config.lengths import Lengths
from rlhf_core.data.tokenizer import settle_tokenizer
from tests.chat_models import PUBLISHED, published_tokenizer

PAIRS = pd.DataFrame(
    [
        {"prompt": "abc", "chosen": "yes", "rejected": "no"},
        {"prompt": "abcd", "chosen": "yes and", "rejected": "yes or"},
        {"prompt": "abcde", "chosen": "yes", "rejected": "yet"},
    ]
)


def test_data_of_which_no_row_is_read_are_no_valid_configuration(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"messages": [], "chosen": "so .", "rejected": 7}\n' * 2)
    source = {"path": str(path), "format": "trl"}
    data = {"kind": "files", "preferences": [source], "demonstrations": [source], "prompts": [source]}
    with pytest.raises(InputError, match=r"no row is what its format says; pairs\.jsonl row 1, "):
        first_rows(LadderConfig.model_validate({"project": "desk", "data": data, "base": {"kind": "from_text"}}))


def test_texts_that_exceed_a_length_and_pairs_that_it_makes_the_same_are_counted() -> None:
    """`[INST] abc [/INST]` has a beginning and 18 letters; the end of a response is a token of it."""
    tokenizer = published_tokenizer(PUBLISHED["no marker of the assistant"])
    settle_tokenizer(tokenizer, [])
    tables = {"preferences": PAIRS, "prompts": PAIRS[["prompt"]]}
    readings = [
        TableReading("base", "judge", "preferences", Lengths(20, 4)),
        TableReading("base", "policy.sampling", "prompts", Lengths(19, 4)),
        TableReading("base", "sft.sampling", "demonstrations", Lengths(19, 4)),
    ]
    assert cut_texts(tokenizer, tables, readings) == [
        CutTexts("judge.max_prompt_tokens", 20, "prompts of data.preferences", 1, 3, 21),
        CutTexts("judge.max_response_tokens", 4, "responses of data.preferences", 2, 6, 8),
        CutTexts("judge.max_response_tokens", 4, "pairs", 1, 3),
        CutTexts("policy.sampling.max_prompt_tokens", 19, "prompts of data.prompts", 2, 3, 21),
    ]
