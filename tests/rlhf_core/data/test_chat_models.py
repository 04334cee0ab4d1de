"""What real chat models trip over: ends, padding, beginnings, default system prompts and missing templates."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.chat_template import is_fallback, settle_template
from rlhf_core.data.packing import lay
from rlhf_core.data.pair_trees import compare
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.stop_tokens import stop_ids
from rlhf_core.data.tokenizer import encode, encode_prompts, load_tokenizer, settle_tokenizer
from rlhf_core.generation.sampling import generate
from rlhf_core.models.loading import load_policy
from rlhf_core.sft import train_sft
from tests.chat_models import BY_QWEN, PUBLISHED, QUESTION, Published, publish, published_tokenizer

WHOLE = Lengths(999, 999)


@pytest.fixture(params=PUBLISHED)
def chat(request: pytest.FixtureRequest) -> Published:
    return PUBLISHED[request.param]


@pytest.fixture
def tokenizer(chat: Published, tmp_path: Path) -> PreTrainedTokenizerBase:
    published_tokenizer(chat).save_pretrained(tmp_path / "base")
    return load_tokenizer(str(tmp_path / "base"))


def test_what_ends_a_turn_is_taught_and_never_pads() -> None:
    for name, chat in PUBLISHED.items():
        tokenizer = published_tokenizer(chat)
        settle_tokenizer(tokenizer, tokenizer.convert_tokens_to_ids(list(chat.stops)))
        assert tokenizer.eos_token == chat.taught, name
        assert tokenizer.pad_token not in (None, chat.taught, chat.eos, *chat.stops), name


@pytest.mark.parametrize("marker", ["", "{% if add_generation_prompt %}[ANSWER]{% endif %}"])
@pytest.mark.parametrize("before", ["", " ", "\n"])
def test_a_turns_end_is_found_after_spaces_and_without_a_marker_of_the_assistant(marker: str, before: str) -> None:
    ask, answer = "[INST] {{ m['content'] }} [/INST]", f"{{{{ m['content'] }}}}{before}<|eot|>\n"
    turn = f"{{% if m['role'] == 'user' %}}{ask}{{% else %}}{answer}{{% endif %}}"
    template = f"{{% for m in messages %}}{turn}{{% endfor %}}{marker}"
    chat = PUBLISHED["no template"]._replace(special=("<|endoftext|>", "<|eot|>"), template=template)
    tokenizer = published_tokenizer(chat)
    settle_tokenizer(tokenizer, [])
    assert tokenizer.eos_token == "<|eot|>"


def test_a_marker_that_is_always_there_is_no_end() -> None:
    """A template that asks for an answer whether or not it is told to."""
    template = "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}<|im_end|>"
    tokenizer = published_tokenizer(PUBLISHED["pad is the end, which ends no turn"]._replace(template=template))
    settle_tokenizer(tokenizer, [])
    assert tokenizer.eos_token == "<|endoftext|>"


def test_a_template_that_begins_twice_begins_once() -> None:
    for chat in PUBLISHED.values():
        tokenizer = published_tokenizer(chat)
        settle_template(tokenizer)
        talk = [{"role": "user", "content": QUESTION}]
        assert tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True) == chat.prompt


def test_a_prompt_is_asked_once_and_as_published_wherever_it_is_read(
    chat: Published, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """By SFT, the reward model and the sampler, and by stock `transformers` from what is saved."""
    [ids] = encode_prompts(tokenizer, [QUESTION], max_prompt_tokens=999)
    assert tokenizer.decode(ids) == chat.prompt
    assert chat.bos is None or ids.count(tokenizer.bos_token_id) == chat.prompt.count(chat.bos)
    [demonstrated] = encode(tokenizer, [(QUESTION, "Fine.")], WHOLE)
    [compared] = compare(tokenizer, [Pair(QUESTION, "Fine.", "No.")], WHOLE)
    assert demonstrated.prompt == compared.tree.prompt == ids
    assert compared.tree.responses[0] == demonstrated.responses[0]
    tokenizer.save_pretrained(tmp_path / "saved")
    stock = AutoTokenizer.from_pretrained(tmp_path / "saved")
    question = [{"role": "user", "content": QUESTION}]
    assert stock.apply_chat_template(question, add_generation_prompt=True, return_dict=False) == ids
    assert load_tokenizer(str(tmp_path / "saved")).chat_template == stock.chat_template


def test_the_turns_end_is_what_is_learned_and_padding_is_another_token(
    chat: Published, tokenizer: PreTrainedTokenizerBase
) -> None:
    end = tokenizer.convert_tokens_to_ids(chat.taught)
    [tree] = encode(tokenizer, [(QUESTION, "Fine.")], WHOLE)
    assert tree.responses[0][-1] == end == tokenizer.eos_token_id
    assert lay([tree], torch.device("cpu")).targets.tolist() == tree.responses[0]  # the loss is over all of these
    ends = [chat.taught, chat.eos, *chat.stops]
    assert tokenizer.pad_token not in (None, *ends)
    assert tokenizer.pad_token_id not in tree.prompt + tree.responses[0]
    assert tokenizer.decode(tree.responses[0], skip_special_tokens=True) == "Fine."
    if chat.template is not None:  # the end stands where the template writes it
        talk = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "Fine."}]
        plain = published_tokenizer(chat)
        assert tokenizer.decode(tree.prompt + tree.responses[0]) in plain.apply_chat_template(talk, tokenize=False)


def test_only_a_missing_template_is_the_fallback(chat: Published, tokenizer: PreTrainedTokenizerBase) -> None:
    assert is_fallback(published_tokenizer(chat).chat_template) == (chat.template is None)


def test_a_default_system_prompt_is_there_once_and_gives_way_to_that_of_the_data(tmp_path: Path) -> None:
    chat = PUBLISHED["pad is the end, which ends no turn"]
    published_tokenizer(chat).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    for turns in (talk[:1], [*talk, *talk[:1]]):
        [ids] = encode_prompts(tokenizer, [json.dumps(turns)], max_prompt_tokens=999)
        assert tokenizer.decode(ids).count("You are Qwen") == 1
    own = json.dumps([{"role": "system", "content": "Be brief."}, *talk[:1]])
    [ids] = encode_prompts(tokenizer, [own], max_prompt_tokens=999)
    assert tokenizer.decode(ids).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>")
    [tree] = encode(tokenizer, [(own, "Yes.")], WHOLE)
    assert BY_QWEN not in tokenizer.decode(tree.prompt + tree.responses[0])


@pytest.mark.parametrize("name", ["pad is the turn's end", "template and tokenizer begin"])
def test_what_was_taught_ends_by_itself(name: str, tmp_path: Path) -> None:
    chat = PUBLISHED[name]
    config = SFTConfig(
        epochs=40,
        batch_size=1,
        optimiser=OptimiserConfig(lr=0.01, schedule="constant"),
        sampling=SamplingConfig(max_prompt_tokens=200, max_response_tokens=12),
        evaluation_prompts=1,
    )
    demonstrations = [Demonstration(QUESTION, "Fine.")]
    base = publish(chat, tmp_path / "base")
    list(train_sft(config, base=base, train=demonstrations, held_out=demonstrations, out=tmp_path / "sft", seed=0))
    greedy = config.sampling.model_copy(update={"temperature": 0.0})
    assert generate(tmp_path / "sft", [QUESTION], greedy, seed=0) == [("Fine.", True)]
    stock, tokenizer = (of.from_pretrained(tmp_path / "sft") for of in (AutoModelForCausalLM, AutoTokenizer))
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    written = stock.generate(**asked, do_sample=False, max_new_tokens=12)[0, asked["input_ids"].shape[1] :]
    assert tokenizer.decode(written) == f"Fine.{chat.taught}"


def test_both_the_turns_end_and_the_end_stop_a_response(tmp_path: Path) -> None:
    chat = PUBLISHED["template and tokenizer begin"]
    tokenizer = load_tokenizer(str(publish(chat, tmp_path)))
    stops = stop_ids(load_policy(tmp_path, tokenizer))
    assert tokenizer.convert_ids_to_tokens(stops) == ["<|eot_id|>", "<|end_of_text|>"]
