"""A base from a GGUF file, written here as llama.cpp writes one: same weights, same ids, same template and stops."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import dequantize, quantize
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from rlhf_core.base.gguf import load_tokenizer as load_gguf_tokenizer
from rlhf_core.base.pretrained import adopt_gguf
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.models import gguf_files
from rlhf_core.models.gguf_files import check_gguf, read_notes
from rlhf_core.models.loading import load_policy, save

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), "ĊĊ", "ĠĠ"]
CHATML = (
    "{% for turn in messages %}{{ '<|im_start|>' + turn['role'] + '\n' + turn['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADS, WIDTH = 4, 64
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers.": "blk.",
}


class Written(NamedTuple):
    """A GGUF file, and the model whose numbers it holds."""

    path: Path
    model: LlamaForCausalLM


def write(path: Path, *, split: str = "smollm", quantised: bool = True) -> Written:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=WIDTH,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    writer = GGUFWriter(path, "llama")
    writer.add_name("A tiny llama")
    writer.add_license("apache-2.0")
    writer.add_vocab_size(len(TOKENS))
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(TOKENS)
    writer.add_token_types([TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (len(TOKENS) - len(SPECIAL)))
    writer.add_token_merges(["Ċ Ċ", "Ġ Ġ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)
    for name, weight in model.named_parameters():
        numbers = weight.detach().numpy()
        if quantised and weight.dim() == 2:
            numbers = dequantize(quantize(numbers, GGMLQuantizationType.Q8_0), GGMLQuantizationType.Q8_0)
            weight.data = torch.from_numpy(numbers)
        stored = interleaved(numbers) if "q_proj" in name or "k_proj" in name else numbers
        if quantised and weight.dim() == 2:
            packed = quantize(stored, GGMLQuantizationType.Q8_0)
            writer.add_tensor(renamed(name), packed, raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(renamed(name), np.ascontiguousarray(stored))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Written(path, model)


def renamed(name: str) -> str:
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def interleaved(numbers: np.ndarray) -> np.ndarray:
    """Rows of a head as llama.cpp turns them, each with its pair beside it instead of half a head away."""
    heads = numbers.reshape(HEADS, 2, -1, numbers.shape[1])
    return heads.swapaxes(1, 2).reshape(numbers.shape)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write(tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf")


@pytest.fixture(scope="module")
def taken(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("taken") / "base"
    assert list(adopt_gguf(written.path, out=out)) == []
    return out


def test_the_stock_folder_has_the_numbers_of_the_file(written: Written, taken: Path) -> None:
    stock = AutoModelForCausalLM.from_pretrained(taken)
    expected = written.model.state_dict()
    assert stock.state_dict().keys() == expected.keys()
    for name, weight in stock.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6, msg=name)
    ids = torch.tensor([[1, 40, 41, 42]])
    torch.testing.assert_close(stock(ids).logits, written.model.eval()(ids).logits, rtol=0, atol=1e-4)


def test_what_is_read_from_the_stock_folder_can_be_saved_again(taken: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(taken))
    assert save(load_policy(taken, tokenizer), tokenizer, tmp_path / "sft").is_dir()
    assert "quantization_config" not in AutoModelForCausalLM.from_pretrained(tmp_path / "sft").config.to_dict()


def test_template_and_stops_are_those_of_the_file(taken: Path) -> None:
    tokenizer = load_tokenizer(str(taken))
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert asked == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token != "<|im_end|>"  # whose row must learn
    assert load_policy(taken, tokenizer).generation_config.eos_token_id in (2, [2])


def test_texts_are_split_as_the_vocabulary_was_learned(taken: Path) -> None:
    """Each digit stands alone, so that the line breaks before one are one token; GPT-2 would leave the last of them."""
    tokenizer = AutoTokenizer.from_pretrained(taken)
    text = "a\n\n12  3"
    assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == ["a", "ĊĊ", "1", "2", "ĠĠ", "3"]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_way_that_a_file_names_is_taken() -> None:
    with TemporaryDirectory() as folder:
        by_digit, as_gpt2 = (
            load_gguf_tokenizer(path, read_notes(path))
            for path in (write(Path(folder) / f"{split}.gguf", split=split).path for split in ("smollm", "gpt-2"))
        )
    assert by_digit.tokenize("a\n\n12") == ["a", "ĊĊ", "1", "2"]
    assert as_gpt2.tokenize("a\n\n12") == ["a", "Ċ", "Ċ", "1", "2"]


def test_a_way_to_split_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.gguf", split="viking").path
    with pytest.raises(ValueError, match=r"odd.gguf: nobody here knows how 'viking' splits texts"):
        load_gguf_tokenizer(path, read_notes(path))


def test_what_the_file_says_of_itself_becomes_a_card(taken: Path) -> None:
    card = (taken / "README.md").read_text()
    assert "model_name: A tiny llama" in card
    assert "license: apache-2.0" in card


def test_what_cannot_be_read_is_refused_in_a_line(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.gguf"
    with pytest.raises(ValueError, match=r"other.gguf is not there; check path and file"):
        check_gguf(other)
    (tmp_path / "beside.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"other.gguf is not there; beside it are beside.gguf"):
        check_gguf(other)
    other.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"other.gguf is no GGUF file; fetch it again"):
        check_gguf(other)
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"is one part of a model; join the parts by `llama-gguf-split --merge`"):
        check_gguf(tmp_path / "m-00001-of-00002.gguf")
    monkeypatch.setattr(gguf_files, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"needs the package gguf; pip install 'rlhf-ladder\[gguf\]'"):
        check_gguf(written.path)
