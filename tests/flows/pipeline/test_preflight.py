"""What a check of a configuration knows of a base on the hub before it is taken, and what is taken of it."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import HubBase
from flows.pipeline import preflight
from flows.registry.names import TEMPLATE_DAY_TAG
from flows.registry.tags import template_tags
from flows.stages.base import from_hub

HUB = HubBase(model="someone/model", revision="0" * 40, date=date(2026, 11, 29))
CLOCK = "{{ strftime_now('%d %b %Y') }}{% for turn in messages %}{{ turn['content'] }}{% endfor %}"


def _reading(load: Any, folder: Path) -> Any:
    """The hub's model from a folder, and everything else as ever."""

    def read(source: str | Path, **options: Any) -> Any:
        if source != HUB.model:
            return load(source, **options)
        return load(folder, **{name: value for name, value in options.items() if name != "revision"})

    return read


@pytest.fixture
def offer(speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the hub offer the speaker with another chat template."""

    def change(template: Any) -> None:
        tokenizer = AutoTokenizer.from_pretrained(speaker)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path / "hub")
        for kind, folder in ((AutoTokenizer, tmp_path / "hub"), (AutoModelForCausalLM, speaker)):
            monkeypatch.setattr(kind, "from_pretrained", _reading(kind.from_pretrained, folder))
        monkeypatch.setattr(preflight, "_ask_hub", lambda *_: None)

    return change


def test_a_base_is_taken_with_its_template_pinned_to_the_day_that_is_named(offer: Any, tmp_path: Path) -> None:
    offer(CLOCK)
    list(from_hub(HUB, tmp_path / "base"))
    assert template_tags(tmp_path / "base") == {TEMPLATE_DAY_TAG: "2026-11-29"}
    assert "29 Nov 2026" in (tmp_path / "base" / "chat_template.jinja").read_text()
    offer("{{ messages[0]['content'] }}")
    list(from_hub(HUB, tmp_path / "plain"))
    assert template_tags(tmp_path / "plain") == {}


@pytest.mark.parametrize(
    ("template", "reason"),
    [({"rag": CLOCK, "tool_use": CLOCK}, "by name, rag, tool_use"), ("{{ strftime_now(x) }}", "cannot be pinned")],
)
def test_a_template_that_cannot_be_used_is_told_by_the_check_and_before_the_model_is_fetched(
    offer: Any, tmp_path: Path, template: Any, reason: str
) -> None:
    offer(template)
    config = LadderConfig(project="toy", base=HUB)
    with pytest.raises(InputError, match=f"field 'base': someone/model@00000000: .*{reason}"):
        preflight.check_reachable(config, offline=False)
    with pytest.raises(InputError, match=f"field 'base': someone/model@00000000: .*{reason}"):
        list(from_hub(HUB, tmp_path / "base"))
    assert not (tmp_path / "base").exists()
