"""Models of the hub are refused by their configuration alone, before any work; here a folder stands for the hub."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from benchmarks.families.configurations import configuration
from benchmarks.families.trial import tokenizer
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.pipeline import families
from flows.pipeline.families import check_families
from flows.pipeline.lifecycle import open_run
from rlhf_core.base.pretrained import adopt

REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB = {"model": "someone/something", "revision": REVISION}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, PreTrainedConfig]:
    """What the hub says of each name."""
    said: dict[str, PreTrainedConfig] = {}

    def read(name: str, *, revision: str, **_: object) -> PreTrainedConfig:
        assert revision == REVISION
        if name not in said:
            raise OSError(f"{name} is not there")
        return said[name]

    monkeypatch.setattr(families, "read_config", read)
    return said


def config_with(storage: Path, **sections: Any) -> LadderConfig:
    return LadderConfig.model_validate({"project": "desk", "storage": storage, **sections})


@pytest.mark.parametrize("section", ["judge", "reward_model", "sft.sampling", "policy.sampling"])
def test_a_base_with_too_few_positions_for_what_is_read_is_refused(
    section: str, hub: dict[str, PreTrainedConfig], tmp_path: Path
) -> None:
    hub["someone/something"] = said = configuration("llama")
    positions = int(said.max_position_embeddings)
    sections = {name: {"max_prompt_tokens": 6, "max_response_tokens": 6} for name in ("judge", "reward_model")}
    sampling = {name: {"sampling": dict(sections["judge"])} for name in ("sft", "policy")}
    document: dict[str, Any] = {"base": {"kind": "hub", **HUB}, **sections, **sampling}
    check_families(config_with(tmp_path / "storage", **document))
    part = document
    for name in section.split("."):
        part = part[name]
    part["max_prompt_tokens"] = positions
    said_so = (
        rf"field 'base': .*it has {positions} positions, and {section}.max_prompt_tokens {positions} and "
        rf"{section}.max_response_tokens 6 need {positions + 6}; lower these"
    )
    with pytest.raises(InputError, match=said_so):
        check_families(config_with(tmp_path / "storage", **document))


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        (
            "mamba",
            "mamba gives no cache .* so it cannot be a reward model, and the ladder needs one; name a base of an",
        ),
        (
            "bert",
            "BertForSequenceClassification has no linear `score` head, so it cannot be a reward model, and the la",
        ),
        ("xlnet", "xlnet is trained on permutations of a text and reads in both directions; RLHF Ladder trains causal"),
    ],
)
def test_a_base_that_can_have_no_reward_model_is_refused_before_any_work(
    family: str, reason: str, hub: dict[str, PreTrainedConfig], tmp_path: Path
) -> None:
    hub["someone/something"] = configuration(family)
    config = config_with(tmp_path / "storage", base={"kind": "hub", **HUB})
    with (
        pytest.raises(InputError, match=rf"^field 'base': someone/something@01234567: {reason}"),
        open_run(config, "x", what="ladder", before=(), last=True),
    ):
        raise AssertionError("it was opened")
    assert not (tmp_path / "storage").exists()


def test_a_base_without_a_stock_classifier_is_taken(hub: dict[str, PreTrainedConfig], tmp_path: Path) -> None:
    hub["someone/something"] = configuration("olmoe", max_position_embeddings=512)
    check_families(config_with(tmp_path, base={"kind": "hub", **HUB}))


@pytest.mark.parametrize("section", ["reward_model", "judge"])
def test_a_language_model_that_is_taken_for_a_reward_model_is_refused(
    section: str, hub: dict[str, PreTrainedConfig], tmp_path: Path
) -> None:
    hub["someone/something"] = configuration("llama", architectures=["LlamaForCausalLM"])
    with pytest.raises(InputError, match=rf"^field '{section}.from': someone/something@01234567: LlamaForCausalLM"):
        check_families(config_with(tmp_path, **{section: {"from": HUB}}))


def test_what_cannot_be_fetched_is_left_to_who_fetches_it(hub: dict[str, PreTrainedConfig], tmp_path: Path) -> None:
    assert not hub
    check_families(config_with(tmp_path, base={"kind": "hub", **HUB}))


def test_the_base_stage_loads_the_base_as_later_stages_will(tmp_path: Path) -> None:
    """BERT as a decoder computes exactly, but has a reward model of another kind of head."""
    torch.manual_seed(0)
    for family in ("nanochat", "bert"):
        AutoModelForCausalLM.from_config(configuration(family)).save_pretrained(tmp_path / family)
        tokenizer().save_pretrained(tmp_path / family)
    assert list(adopt(tmp_path / "nanochat", out=tmp_path / "out")) == []
    assert (tmp_path / "out" / "config.json").exists()
    with pytest.raises(ValueError, match=r"bert: BertForSequenceClassification has no linear"):
        list(adopt(tmp_path / "bert", out=tmp_path / "other"))
    assert not (tmp_path / "other").exists()
