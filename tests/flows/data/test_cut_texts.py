"""How many texts lengths cut, counted by hand: a letter is a token, and so is each special one."""

import pandas as pd

from flows.data.audits.cut_texts import CutTexts, TableReading, cut_texts
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
