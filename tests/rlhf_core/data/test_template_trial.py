"""Chat templates that never end or fill the memory are refused before they are used, and mistakes in them told."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from rlhf_core.data.chat_template import CHAT_TEMPLATE, settle_template
from rlhf_core.data.template_trial import try_template
from rlhf_core.data.tokenizer import encode_prompts, load_tokenizer
from tests import chat_models

LOOPS = "{% for i in range(9999) %}{% for j in range(9999) %}{% set x = i * j %}{% endfor %}{% endfor %}"
FILLS = "{{ 'x' * 2000000000 }}"
LATE = "{% if messages | length > 8 %}" + LOOPS + "{% endif %}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (LOOPS, "too much time or memory"),
        (LATE, "too much time or memory"),
        (FILLS, "too much time or memory"),
        ("{{ 'x' * 400000 }}", "writes more than 200,000 characters"),
        ("{% if false %}" + CHAT_TEMPLATE + "{% endif %}" + FILLS, "too much time or memory"),
        ("{{ messages | tojson(indent=2000000000) }}", "too much time or memory"),
        ("You are kind.{{ eos_token }}", "leaves out what the user writes"),
        (" ", "leaves out what the user writes"),
        ("{{ messages[0].content }}\ud800", "writes what is no Unicode"),
    ],
    ids=[
        *("loops", "loops for long conversations only", "fills the memory", "writes a book", "hides in our own"),
        *("indents for ever", "is deaf", "is empty", "is no Unicode"),
    ],
)
def test_a_template_that_is_a_trap_is_refused(template: str, said: str, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=said):
        settle_template(tokenizer)


TEMPLATES = [value for name, value in vars(chat_models).items() if isinstance(value, str) and "messages" in value]


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, "{% generation %}{{ messages }}{% endgeneration %}", *TEMPLATES])
def test_what_models_come_with_passes(template: str) -> None:
    try_template(template)


@pytest.mark.parametrize(
    "template", ["{{ messages[0]['content'] + 1 }}", "{{ 1 / 0 }}", "{{ messages[7].content.upper() }}"]
)
def test_a_mistake_in_a_template_is_one_line(template: str, base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = template
    tokenizer.save_pretrained(base)
    with pytest.raises(ValueError, match=r"the chat template of .* refuses a prompt whose turns are user") as refused:
        encode_prompts(load_tokenizer(str(base)), ["how are you"], max_prompt_tokens=8)
    assert "\n" not in str(refused.value)


def test_a_template_that_is_no_text_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = ["{{ messages }}"]
    with pytest.raises(ValueError, match="its chat template is a list, not a text"):
        settle_template(tokenizer)


def test_a_template_that_hangs_on_one_word_is_ended(tokenizer: PreTrainedTokenizerBase, base: Path) -> None:
    tokenizer.chat_template = "{% if 'aubergine' in messages[-1].content %}" + LOOPS + "{% endif %}" + CHAT_TEMPLATE
    tokenizer.save_pretrained(base)
    ready = load_tokenizer(str(base))
    encode_prompts(ready, ["how are you"], max_prompt_tokens=8)
    with pytest.raises(ValueError, match=r"takes more than 2 s for the conversation that ends 'one aubergine'"):
        encode_prompts(ready, ["one aubergine"], max_prompt_tokens=8)


@pytest.mark.parametrize("much", ["'%0300000d' % 1", "'x' * 10 ** 12", "'%0999999999999d' % 1"])
def test_a_template_that_writes_without_measure_on_one_word_is_told(
    tokenizer: PreTrainedTokenizerBase, base: Path, much: str
) -> None:
    tokenizer.chat_template = (
        "{% if 'aubergine' in messages[-1].content %}{{ " + much + " }}{% endif %}" + CHAT_TEMPLATE
    )
    tokenizer.save_pretrained(base)
    ready = load_tokenizer(str(base))
    encode_prompts(ready, ["how are you", "long " * 100_000], max_prompt_tokens=8)
    for prompt in ("one aubergine", f"one {ready.eos_token} aubergine"):
        with pytest.raises(ValueError, match=r"writes more than 200,000 characters beyond the .* ends '.* aubergine'"):
            encode_prompts(ready, [prompt], max_prompt_tokens=8)
