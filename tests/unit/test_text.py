"""Chat template, end-of-sequence rule and truncation."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rlhf_core.text import CHAT_TEMPLATE, as_trained, decode, encode, encode_prompts, load_tokenizer

CHAT_TEMPLATE_BY_HAND = "<|user|>how<|assistant|>fine<|user|>how are you<|assistant|>"
LIMITS = {"max_prompt_tokens": 8, "max_response_tokens": 4}


def test_response_follows_the_prompt_and_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    [encoded] = encode(tokenizer, [("how are you", "fine thanks")], **LIMITS)
    [prompt] = encode_prompts(tokenizer, ["how are you"], max_prompt_tokens=8)
    assert encoded.prompt == prompt
    assert len(prompt) == 5  # user marker, three words, assistant marker
    [response] = encoded.responses
    assert decode(tokenizer, response) == "fine thanks"
    assert response[-1] == tokenizer.eos_token_id
    assert len(response) == 3
    assert encoded.size == 8


@pytest.mark.parametrize(
    ("response", "ends"),
    [
        ("fine thanks you", True),  # three words and the end fill the four places
        ("fine thanks you are", False),  # the end no longer fits
        ("fine thanks you are how", False),
    ],
)
def test_only_a_response_that_fits_has_an_end(tokenizer: PreTrainedTokenizerBase, response: str, ends: bool) -> None:
    [(_, [ids])] = encode(tokenizer, [("how", response)], **LIMITS)
    assert (ids[-1] == tokenizer.eos_token_id) is ends
    assert tokenizer.eos_token_id not in ids[:-1]


def test_a_long_prompt_loses_its_start_and_keeps_the_assistant_marker(tokenizer: PreTrainedTokenizerBase) -> None:
    [whole] = encode_prompts(tokenizer, ["how are you fine thanks"], max_prompt_tokens=99)
    [cut] = encode_prompts(tokenizer, ["how are you fine thanks"], max_prompt_tokens=3)
    assert cut == whole[-3:]
    assert cut[-1] == tokenizer.convert_tokens_to_ids("<|assistant|>")


def test_the_turns_of_a_conversation_keep_their_roles(tokenizer: PreTrainedTokenizerBase) -> None:
    turns = [
        {"role": "user", "content": "how"},
        {"role": "assistant", "content": "fine"},
        {"role": "user", "content": "how are you"},
    ]
    tokenizer.chat_template = CHAT_TEMPLATE
    [encoded] = encode_prompts(tokenizer, [json.dumps(turns)], max_prompt_tokens=99)
    assert tokenizer.decode(encoded) == tokenizer.decode(
        tokenizer(CHAT_TEMPLATE_BY_HAND, add_special_tokens=False)["input_ids"]
    )
    [plain] = encode_prompts(tokenizer, ['[{"role": "user"}] how'], max_prompt_tokens=99)
    assert plain[0] == tokenizer.convert_tokens_to_ids("<|user|>")
    assert tokenizer.convert_tokens_to_ids("how") in plain


def test_many_are_encoded_as_each_one_is(tokenizer: PreTrainedTokenizerBase) -> None:
    items = [("how are you", "fine"), ("how", "thanks"), ("how are you", "thanks you")]
    assert encode(tokenizer, items, **LIMITS) == [encode(tokenizer, [item], **LIMITS)[0] for item in items]
    assert encode(tokenizer, [], **LIMITS) == []


def test_a_missing_padding_token_and_template_are_added(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.pad_token_id not in (None, loaded.eos_token_id)
    assert loaded.chat_template == as_trained(CHAT_TEMPLATE)


FINISHED = [{"role": "user", "content": "how are you"}, {"role": "assistant", "content": "fine thanks"}]
CHATML = (
    "{%- for message in messages %}\n{{- '<|user|> ' + message['content'] + ' <|end|>\\n' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n{{- '<|assistant|> ' }}\n{%- endif %}\n"
)


@pytest.mark.parametrize("template", [None, CHATML])
def test_a_template_writes_a_whole_conversation_as_it_is_trained_on(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, template: str | None
) -> None:
    """A stock tokenizer reads it so from what was saved: an answer ends with the end and nothing after it."""
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path / "base")
    load_tokenizer(str(tmp_path / "base")).save_pretrained(tmp_path / "saved")
    stock = AutoTokenizer.from_pretrained(tmp_path / "saved")
    whole = stock(stock.apply_chat_template(FINISHED, tokenize=False), add_special_tokens=False)["input_ids"]
    [trained] = encode(load_tokenizer(str(tmp_path / "saved")), [("how are you", "fine thanks")], **LIMITS)
    assert whole == trained.prompt + trained.responses[0]
    assert whole[-1] == stock.eos_token_id
    plain = tokenizer.chat_template or CHAT_TEMPLATE
    for add_generation_prompt in (True, False):
        asked = {"tokenize": False, "add_generation_prompt": add_generation_prompt}
        prompt = stock.apply_chat_template(FINISHED[:1], **asked)
        assert prompt == tokenizer.apply_chat_template(FINISHED[:1], chat_template=plain, **asked)
    assert load_tokenizer(str(tmp_path / "saved")).chat_template == stock.chat_template


def test_a_tokenizer_without_an_end_is_refused(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no end-of-sequence token"):
        load_tokenizer(str(tmp_path))
