"""Two tokenizers are the same where they write the same tokens, whatever their settings say."""

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rlhf_core.data.same_tokens import check_same_tokens
from tests.rlhf_core.conftest import build_tokenizer

PROMPTS = ["how are you"]


def refused(other: PreTrainedTokenizerBase, ours: PreTrainedTokenizerBase) -> str:
    try:
        check_same_tokens(other, ours, PROMPTS)
    except ValueError as error:
        return str(error)
    return ""


def pairs_joined(*merges: tuple[str, str]) -> PreTrainedTokenizerFast:
    """A tokenizer of one vocabulary, that joins letters in the order of its merges."""
    tokens = ["<|end|>", "h", "o", "w", "ho", "ow", " ", "a", "r", "e", "y", "u"]
    joined = Tokenizer(models.BPE({token: row for row, token in enumerate(tokens)}, list(merges)))
    template = "{{ messages[0]['content'] }}"
    return PreTrainedTokenizerFast(tokenizer_object=joined, eos_token="<|end|>", chat_template=template)


def test_padding_may_differ() -> None:
    other = pairs_joined(("h", "o"), ("o", "w"))
    other.add_special_tokens({"pad_token": "<|pad|>"})
    assert refused(other, pairs_joined(("h", "o"), ("o", "w"))) == ""


def test_other_tokens_are_named() -> None:
    other = build_tokenizer()
    other.add_tokens(["a", "b", "c", "d", "e"])
    assert "it has more: 'a', 'b', 'c' and 2 more" in refused(other, build_tokenizer())
    assert "it lacks: 'a', 'b', 'c' and 2 more" in refused(build_tokenizer(), other)


def test_a_vocabulary_that_is_joined_otherwise_is_another() -> None:
    said = refused(pairs_joined(("o", "w"), ("h", "o")), pairs_joined(("h", "o"), ("o", "w")))
    assert said.startswith("its tokenizer splits texts otherwise: the prompt 'how are you' begins 'h")


def test_a_template_that_writes_the_same_is_the_same() -> None:
    ours, other = build_tokenizer(), build_tokenizer()
    other.chat_template = "{# of another engine #}" + str(ours.chat_template)
    assert refused(other, ours) == ""
    other.chat_template = "<|user|> Be brief." + str(ours.chat_template)
    assert "has another chat template: the prompt 'how are you' begins" in refused(other, ours)


def test_an_answer_ends_alike() -> None:
    other = build_tokenizer()
    other.eos_token = "<|unk|>"
    assert "ends an answer with '<|unk|>', where '<|end|>' is expected" in refused(other, build_tokenizer())


@pytest.mark.parametrize("prompts", [[], PROMPTS])
def test_a_tokenizer_is_the_same_as_itself(prompts: list[str]) -> None:
    check_same_tokens(build_tokenizer(), build_tokenizer(), prompts)
