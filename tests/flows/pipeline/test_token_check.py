"""What a check of a configuration says of tokens before any training, on published chat models made small."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from flows.cli.tokens import token_lines
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.audits import cut_texts
from flows.pipeline.token_check import ModelTokens, TokenReport, check_tokens
from rlhf_core.data.tokenizer import encode_prompts, load_tokenizer
from tests.chat_models import BY_LLAMA_3, PUBLISHED, QUESTION, publish
from tests.rlhf_core.base.test_gguf import write

REVISION = "0123456789abcdef0123456789abcdef01234567"
SHORT = {"max_prompt_tokens": 40, "max_response_tokens": 8}
LONG = {"max_prompt_tokens": 400, "max_response_tokens": 9}
ROWS = [
    {"prompt": QUESTION, "completion": "Fine.", "chosen": "Fine.", "rejected": "Not so."},
    {"prompt": f"{QUESTION} Tell.", "completion": "Very well.", "chosen": "Very well!", "rejected": "Very well."},
    {"prompt": f"{QUESTION} Say.", "completion": "Too long an answer.", "chosen": "Good", "rejected": "Bad"},
]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Data as files, and lengths; a letter is a token, and so is a special one."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    source = [{"path": str(path), "format": "trl"}]
    return {
        "project": "toy",
        "data": {"kind": "files", "demonstrations": source, "preferences": source, "prompts": source},
        "sft": {"sampling": SHORT},
        "reward_model": LONG,
        "judge": LONG,
        "policy": {"sampling": SHORT},
    }


def checked(settings: dict[str, Any], base: dict[str, Any], *, offline: bool = True) -> TokenReport:
    return check_tokens(LadderConfig.model_validate({**settings, "base": base}), offline=offline)


def only(report: TokenReport) -> ModelTokens:
    [model] = report.models
    return model


def test_all_that_models_read_and_write_is_told(settings: dict[str, Any], tmp_path: Path) -> None:
    """A prompt of n letters has n tokens and those of its headers: 2 of 1, 5 and 9 tokens, and of line breaks."""
    base = publish(PUBLISHED["template and tokenizer begin"], tmp_path / "model", spare_rows=7)
    report = checked(settings | {"policy": {"sampling": LONG}}, {"kind": "folder", "path": base})
    tokenizer = load_tokenizer(str(base))
    [ids] = encode_prompts(tokenizer, [QUESTION], max_prompt_tokens=400)
    assert (only(report).ids, only(report).prompt) == (ids, BY_LLAMA_3)
    asked = 1 + (1 + 4 + 1 + 2) + len(QUESTION) + 1 + (1 + 9 + 1 + 2)
    assert len(ids) == asked == 35
    lines = [*token_lines(report)]
    assert lines == [
        f"base {base}",
        "  template   its own",
        "  stops      <|eot_id|> 260, which is taught, as the template ends turns (the tokenizer's own end is "
        "<|end_of_text|>); <|end_of_text|> 257",
        "  padding    <|pad|> 261, new, as the tokenizer has none",
        "  beginning  <|begin_of_text|> 256, which begins the prompt",
        "  vocabulary 262 tokens; 6 of the model's 268 rows are never sampled, embeddings and head tied",
        "  lengths    sft.sampling 40 + 8, reward_model 400 + 9, judge 400 + 9, policy.sampling 400 + 9 tokens "
        "of prompt + response; the model has 512 positions",
        f"  prompt     35 tokens, the first prompt of the data: {BY_LLAMA_3!r}",
        f"  ids        {' '.join(map(str, ids))}",
        "  cut        1 of 3 prompts of data.demonstrations exceed 40 tokens (the longest has 41): "
        "sft.sampling.max_prompt_tokens",
        "  cut        2 of 3 responses of data.demonstrations exceed 8 tokens (the longest has 20): "
        "sft.sampling.max_response_tokens",
        "  cut        0 of 3 prompts of data.preferences exceed 400 tokens (the longest has 41): "
        "reward_model.max_prompt_tokens, judge.max_prompt_tokens",
        "  cut        2 of 6 responses of data.preferences exceed 9 tokens (the longest has 11): "
        "reward_model.max_response_tokens, judge.max_response_tokens",
        "  cut        1 of 3 pairs are the same within 9 tokens and teach nothing: "
        "reward_model.max_response_tokens, judge.max_response_tokens",
        "  cut        0 of 3 prompts of data.prompts exceed 400 tokens (the longest has 41): "
        "policy.sampling.max_prompt_tokens",
        "counted on the first rows as they are read: 3 of demonstrations, 3 of preferences, 3 of prompts",
    ]


SAID = {
    "no template": [
        "template   none of its own: <|user|>...<|assistant|> is used",
        "stops      <|endoftext|> 256, which is taught",
        "padding    <|pad|> 257, new, as the tokenizer has none",
        "beginning  <|endoftext|> 256, which is not written",
        "vocabulary 258 tokens, 1 more than the model's 257 rows, which grow, embeddings and head tied",
    ],
    "pad is the end, which ends no turn": [
        "stops      <|im_end|> 258, which is taught, as the template ends turns (the tokenizer's own end is "
        "<|endoftext|>); <|endoftext|> 256",
        "padding    <|pad|> 259, new, as the tokenizer pads with <|endoftext|>, which ends responses",
        "beginning  no token marks it",
    ],
    "gemma": ["stops      <end_of_turn> 260, which is taught, as the template", "padding    <pad> 256"],
    "template begins twice": ["beginning  <s> 257, which begins the prompt"],
}


@pytest.mark.parametrize("name", SAID)
def test_what_real_chat_models_trip_over_is_told(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    lines = [*token_lines(checked(settings, {"kind": "folder", "path": publish(PUBLISHED[name], tmp_path / "m")}))]
    for said in SAID[name]:
        assert any(line.startswith(f"  {said}") for line in lines), "\n".join(lines)


def test_the_first_rows_of_a_large_table_are_counted(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_texts, "ROWS", 2)
    report = checked(settings, {"kind": "folder", "path": publish(PUBLISHED["no template"], tmp_path / "model")})
    assert set(report.rows.values()) == {2}
    assert {cut.total for cut in only(report).cuts if cut.longest is not None} == {2, 4}


def test_rows_that_write_special_tokens_are_counted_with_what_becomes_of_them(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    base = publish(PUBLISHED["gemma"], tmp_path / "model")
    mark = load_tokenizer(str(base)).eos_token
    file = Path(settings["data"]["prompts"][0]["path"])
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row | {"prompt": f"{row['prompt']} {mark}"}) + "\n" for row in rows))
    for value, fate in (("text", "stay text"), ("allow", "are read as such")):
        report = checked(settings, {"kind": "folder", "path": base, "special_tokens": value})
        assert only(report).special == dict.fromkeys(("demonstrations", "preferences", "prompts"), len(rows))
        first = f"{len(rows)} of the first {len(rows)} rows of data.prompts"
        assert f"  special    {first} write its special tokens, which {fate}" in [*token_lines(report)]


def test_a_hub_model_is_read_from_the_cache_or_said_to_be_missing(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub = {"kind": "hub", "model": "someone/model", "revision": REVISION}
    missing = checked(settings, hub)
    assert missing.models == []
    assert missing.notes == ["base someone/model@01234567: its tokenizer is on the hub, which is not asked"]
    folder = publish(PUBLISHED["gemma"], tmp_path / "model")
    shutil.copytree(folder, tmp_path / "cache" / "models--someone--model" / "snapshots" / REVISION)
    assert only(checked(settings, hub)).ids == only(checked(settings, {"kind": "folder", "path": folder})).ids


def test_a_gguf_file_is_read_as_its_base_stage_reads_it(settings: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "tiny.Q8_0.gguf")
    model = only(checked(settings, {"kind": "gguf", "path": tmp_path, "file": "tiny.Q8_0.gguf"}))
    assert model.stops == [("<|im_end|>", 2)]
    assert model.own_padding == "<|im_end|>" and model.padding.text == "<|pad|>"
    assert model.prompt == f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"


def test_a_reward_model_from_elsewhere_is_told_by_its_own_tokens(settings: dict[str, Any], tmp_path: Path) -> None:
    base = publish(PUBLISHED["no template"], tmp_path / "base")
    other = publish(PUBLISHED["gemma"], tmp_path / "other")
    sections = settings | {"reward_model": {**LONG, "from": {"path": other}}}
    spoken, scoring = checked(sections, {"kind": "folder", "path": base}).models
    assert [reading.section for reading in scoring.readings] == ["reward_model"]
    assert {reading.section for reading in spoken.readings} == {"sft.sampling", "judge", "policy.sampling"}
    assert scoring.prompt.startswith("<bos><start_of_turn>")
    told = [*token_lines(TokenReport([scoring._replace(readings=[])], {}, []))]
    assert (
        "  lengths    a prompt and a response may each take half of the positions; the model has 512 positions" in told
    )


def test_prompts_that_the_template_refuses_are_refused_by_the_check(settings: dict[str, Any], tmp_path: Path) -> None:
    """Gemma's knows no system turns."""
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    path = tmp_path / "talks.jsonl"
    path.write_text(json.dumps({"prompt": talk, "completion": [{"role": "assistant", "content": "Fine."}]}) + "\n")
    data = settings["data"] | {"demonstrations": [{"path": str(path), "format": "trl"}]}
    base = {"kind": "folder", "path": publish(PUBLISHED["gemma"], tmp_path / "model")}
    with pytest.raises(InputError, match=r"field 'data\.demonstrations': .* turns are system, user \(System role not"):
        checked(settings | {"data": data}, base)


def test_the_embedded_world_is_told_too(settings: dict[str, Any]) -> None:
    model = only(check_tokens(LadderConfig(project="desk"), offline=True))
    assert model.stops[0].text == "<|end|>" and model.has_template
    assert {cut.total for cut in model.cuts if "demonstrations" in cut.texts} == {cut_texts.WORLD_ROWS}
