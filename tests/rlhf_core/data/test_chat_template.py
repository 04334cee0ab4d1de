"""Chat templates: which one is used, how it begins, and that no clock changes what it writes."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment
from tokenizers import processors
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from rlhf_core.base.from_text import build_tokenizer
from rlhf_core.data.chat_template import CHAT_TEMPLATE, as_trained, pinned, pinned_day, settle_template
from rlhf_core.data.tokenizer import encode_prompts, load_tokenizer

TURNS = (
    "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LLAMA_3_2 = (
    "{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n"
    '        {%- set date_string = strftime_now("%d %b %Y") %}\n    {%- else %}\n'
    "        {%- set date_string = '26 Jul 2024' %}\n    {%- endif %}\n{%- endif %}\n{{- date_string + ' ' }}"
)
GPT_OSS = "{%- macro system() -%}{{- 'Today: ' + strftime_now(\"%Y-%m-%d\") }}{%- endmacro -%}{{- system() }} "
GRANITE_3 = "{{ 'The date is ' + strftime_now('%B %d, %Y') + '. ' }}"
HOURS = "    {% if true %}\n{{ strftime_now('%A %H:%M:%S, day %j, 100 %%') }} {% endif %}\n"
BEGINNINGS = [
    (LLAMA_3_2, "29 Nov 2026 "),
    (GPT_OSS, "Today: 2026-11-29 "),
    (GRANITE_3, "The date is November 29, 2026. "),
    (HOURS, "Sunday 00:00:00, day 333, 100 % "),
]
DAY = date(2026, 11, 29)


class NextDay(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> "NextDay":
        return cls(2027, 2, 3, 4, 5)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(["how are you, fine, thanks"], vocabulary=300)


def saved(tokenizer: PreTrainedTokenizerBase, folder: Path, template: Any) -> str:
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(("beginning", "written"), BEGINNINGS)
def test_a_template_that_reads_the_clock_writes_one_day_in_stock_transformers_too(
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    beginning: str,
    written: str,
) -> None:
    path = saved(tokenizer, tmp_path / "base", beginning + TURNS)
    load_tokenizer(path, day=DAY).save_pretrained(tmp_path / "sft")
    load_tokenizer(str(tmp_path / "sft"), day=date(2027, 2, 3)).save_pretrained(tmp_path / "policy")
    monkeypatch.setattr(chat_template_utils, "datetime", NextDay)
    question = [{"role": "user", "content": "how"}]
    for folder in ("sft", "policy"):
        stock = AutoTokenizer.from_pretrained(tmp_path / folder)
        text = stock.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        assert text == f"{written}<|user|>how<|assistant|>"
        assert pinned_day(tmp_path / folder) == date(2026, 11, 29)
    unpinned = AutoTokenizer.from_pretrained(path).apply_chat_template(question, tokenize=False)
    assert "2026" not in unpinned and not unpinned.startswith(written)
    assert pinned_day(tmp_path / "base") is None


def test_what_is_pinned_is_told_the_start_of_that_day() -> None:
    template = pinned("{{ strftime_now('%d %b %Y %H:%M') }}", DAY)
    assert Environment().from_string(template).render().strip() == "29 Nov 2026 00:00"


def test_a_day_is_today_unless_it_is_named(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = GRANITE_3 + TURNS
    settle_template(tokenizer)
    assert pinned(GRANITE_3 + TURNS, date.today()) == tokenizer.chat_template


NAMED = (
    "{% set random = 'random' %}"
    "{{ messages | map(attribute='role') | map('upper') | map('replace', 'A', random) | join }}"
)


@pytest.mark.parametrize("template", [TURNS, CHAT_TEMPLATE, "{{ strftime_now_not }}{# strftime_now('%d') #}", NAMED])
def test_a_template_that_reads_no_clock_is_left_alone(template: str) -> None:
    assert pinned(template, DAY) == template


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% set form = '%d' %}{{ strftime_now(form) }}", "cannot be pinned"),
        ("{% set now = strftime_now %}{{ now('%d') }}", "cannot be pinned"),
        ("{{ ['a', 'b'] | random }}", "uses chance"),
        ("{% filter random %}ab{% endfilter %}", "uses chance"),
        ("{{ ['ab'] | map('random') | join }}", "uses chance"),
        ("{{ ['ab'] | map( \"random\" , 1) | join }}", "uses chance"),
        ("{{ ['ab'] | map('ran' ~ 'dom') | join }}", "uses chance"),
        ("{% set f = 'random' %}{{ ['ab'] | map(f) | join }}", "uses chance"),
        ("{{ ['ab'] | map(*['random']) | join }}", "uses chance"),
        ("{{ lipsum() }}", "uses chance"),
        ("{{ 'a }}", "not valid Jinja"),
    ],
)
def test_a_template_that_would_still_vary_is_refused(template: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        pinned(template, DAY)


def test_of_templates_by_name_that_called_default_is_used(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    named = {"default": TURNS, "tool_use": "{{ tools }}" + TURNS}
    loaded = load_tokenizer(saved(tokenizer, tmp_path / "named", named))
    assert loaded.chat_template == as_trained(TURNS)
    with pytest.raises(ValueError, match="by name, rag, tool_use, and none is called default"):
        load_tokenizer(saved(tokenizer, tmp_path / "other", {"rag": TURNS, "tool_use": TURNS}))


@pytest.mark.parametrize("marks", [True, False])
def test_without_a_template_texts_begin_as_the_tokenizer_begins_them(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, marks: bool
) -> None:
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    if marks:
        tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.bos_token_id)]
        )
    loaded = load_tokenizer(saved(tokenizer, tmp_path / "base", None))
    [ids] = encode_prompts(loaded, ["how"], max_prompt_tokens=99)
    assert ids.count(tokenizer.bos_token_id) == marks
    assert (ids[0] == tokenizer.bos_token_id) == marks
    loaded.save_pretrained(tmp_path / "sft")
    stock = AutoTokenizer.from_pretrained(tmp_path / "sft")
    question = [{"role": "user", "content": "how"}]
    assert stock.apply_chat_template(question, add_generation_prompt=True, return_dict=False) == ids


TOOLS = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | tojson if m['content'] else '' }}"
    "{{ m['tool_calls'] | tojson if m['tool_calls'] else '' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CALL = {"type": "function", "function": {"name": "look", "arguments": {}}}


@pytest.mark.parametrize(
    "answer",
    [{"content": None, "tool_calls": [CALL]}, {"content": "so:", "tool_calls": [CALL]}, {"content": [{"text": "hi"}]}],
)
def test_an_answer_that_is_not_text_alone_is_written_as_the_template_has_it(
    tokenizer: PreTrainedTokenizerBase, answer: dict[str, Any]
) -> None:
    talk = [{"role": "user", "content": "how"}, {"role": "assistant", **answer}]
    stock = tokenizer.apply_chat_template(talk, chat_template=TOOLS, tokenize=False)
    assert tokenizer.apply_chat_template(talk, chat_template=as_trained(TOOLS), tokenize=False) == stock
    assert len(stock) > len("<|user|>how<|assistant|>")


def test_stock_masks_of_what_the_assistant_writes_hold_the_last_answer_and_its_end(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    template = "{% for m in messages %}<|user|>{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}\n"
    talk = [{"role": "assistant", "content": "fine, thanks"}]
    written = tokenizer.apply_chat_template(
        talk, chat_template=as_trained(template), return_dict=True, return_assistant_tokens_mask=True
    )
    masked = [token for token, one in zip(written["input_ids"], written["assistant_masks"], strict=True) if one]
    assert tokenizer.decode(masked) == f"fine, thanks{tokenizer.eos_token}"


def test_a_template_that_was_saved_as_trained_is_left_alone() -> None:
    for template in (TURNS, TOOLS, "{% generation %}{% endgeneration %}"):
        assert as_trained(as_trained(template)) == as_trained(template)
    earlier = as_trained(TURNS).replace(" and messages[-1]['content'] is string", "")
    assert as_trained(earlier) == earlier
