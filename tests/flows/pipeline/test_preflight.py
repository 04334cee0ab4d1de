"""What a check of a configuration knows of a base on the hub before it is taken, and what is taken of it."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from transformers import AutoTokenizer

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import HubBase
from flows.pipeline import families
from flows.pipeline.token_check import check_tokens
from flows.registry.hub import download
from flows.registry.names import TEMPLATE_DAY_TAG
from flows.registry.tags import template_tags
from flows.stages.taken import taking
from rlhf_core.base.pretrained import adopt

HUB = HubBase(model="someone/model", revision="0" * 40, date=date(2026, 11, 29))
CLOCK = "{{ strftime_now('%d %b %Y') }}{% for turn in messages %}{{ turn['content'] }}{% endfor %}"


@pytest.fixture
def offer(speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the cache of the hub hold the speaker with another chat template."""
    cache = tmp_path / "cache"
    folder = cache / "models--someone--model" / "snapshots" / HUB.revision
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(families, "require_on_hub", lambda *_: None)
    shutil.copytree(speaker, folder)

    def change(template: Any) -> None:
        for old in folder.glob("**/*.jinja"):
            old.unlink()
        tokenizer = AutoTokenizer.from_pretrained(speaker)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)

    return change


def take(out: Path) -> None:
    """Take the base as its stage does."""
    list(taking(adopt(download(HUB), out=out, day=HUB.date), "base", HUB))


def test_a_base_is_taken_with_its_template_pinned_to_the_day_that_is_named(offer: Any, tmp_path: Path) -> None:
    offer(CLOCK)
    take(tmp_path / "base")
    assert template_tags(tmp_path / "base") == {TEMPLATE_DAY_TAG: "2026-11-29"}
    assert "29 Nov 2026" in (tmp_path / "base" / "chat_template.jinja").read_text()
    offer("{{ messages[0]['content'] }}")
    take(tmp_path / "plain")
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
        check_tokens(config, offline=False)
    with pytest.raises(InputError, match=f"field 'base': someone/model@00000000: .*{reason}"):
        take(tmp_path / "base")
    assert not (tmp_path / "base").exists()
