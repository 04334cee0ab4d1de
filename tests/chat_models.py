"""Chat models as they are published: real templates and special tokens, on tokenizers of a few hundred tokens."""

from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

QUESTION = "How are you?"

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_2_5 = """\
{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" \
and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)


class Published(NamedTuple):
    """A chat model as it is published.

    Attributes:
        template: of its tokenizer, None where it brings none.
        special: its special tokens, in the order of their ids, which follow those of the words.
        bos: its beginning-of-sequence token.
        eos: its end-of-sequence token.
        pad: its padding token.
        stops: tokens at which its generation settings stop.
        taught: the token that must end what is taught: its turn's end.
        prompt: how `QUESTION` must be asked.
        adds_bos: whether the tokenizer writes its beginning before every text by itself.
        plain: tokens that mark turns without being special.
    """

    template: str | None
    special: tuple[str, ...]
    bos: str | None
    eos: str
    pad: str | None
    stops: tuple[str, ...]
    taught: str
    prompt: str
    adds_bos: bool = False
    plain: tuple[str, ...] = ()


CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TURNS = "<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n"
BY_QWEN = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
BY_SMOLLM2 = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n" + TURNS
)
HEADERS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
BY_LLAMA_3 = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHow are you?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
INSTRUCTED = "<s>[INST] How are you? [/INST]"
PUBLISHED = {
    "pad is the turn's end": Published(
        SMOLLM2, CHATML, "<|im_start|>", "<|im_end|>", "<|im_end|>", ("<|im_end|>",), "<|im_end|>", BY_SMOLLM2
    ),
    "pad is the end, which ends no turn": Published(
        QWEN_2_5, CHATML, None, "<|endoftext|>", "<|endoftext|>", ("<|endoftext|>",), "<|im_end|>", BY_QWEN + TURNS
    ),
    "turn markers that are not special": Published(
        QWEN_2_5,
        CHATML[:1],
        None,
        "<|endoftext|>",
        "<|endoftext|>",
        (),
        "<|im_end|>",
        BY_QWEN + TURNS,
        plain=CHATML[1:],
    ),
    "template and tokenizer begin": Published(
        LLAMA_3,
        HEADERS,
        "<|begin_of_text|>",
        "<|end_of_text|>",
        None,
        ("<|end_of_text|>",),
        "<|eot_id|>",
        BY_LLAMA_3,
        adds_bos=True,
    ),
    "gemma": Published(
        GEMMA,
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos>",
        "<eos>",
        "<pad>",
        ("<eos>", "<end_of_turn>"),
        "<end_of_turn>",
        "<bos><start_of_turn>user\nHow are you?<end_of_turn>\n<start_of_turn>model\n",
        adds_bos=True,
    ),
    "no marker of the assistant": Published(
        MISTRAL, ("<unk>", "<s>", "</s>"), "<s>", "</s>", None, ("</s>",), "</s>", INSTRUCTED, adds_bos=True
    ),
    "template begins twice": Published(
        "<s>" + MISTRAL, ("<unk>", "<s>", "</s>"), "<s>", "</s>", "<unk>", (), "</s>", INSTRUCTED, adds_bos=True
    ),
    "no template": Published(
        None,
        ("<|endoftext|>",),
        "<|endoftext|>",
        "<|endoftext|>",
        None,
        ("<|endoftext|>",),
        "<|endoftext|>",
        "<|user|>How are you?<|assistant|>",
    ),
    "no template, and the tokenizer begins": Published(
        None,
        ("<s>", "</s>"),
        "<s>",
        "</s>",
        "</s>",
        ("</s>",),
        "</s>",
        "<s><|user|>How are you?<|assistant|>",
        adds_bos=True,
    ),
}


def published_tokenizer(chat: Published) -> PreTrainedTokenizerBase:
    """Bytes, then the special tokens."""
    letters = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(letters, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.add_special_tokens(list(chat.special))
    backend.add_tokens(list(chat.plain))
    if chat.adds_bos and chat.bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{chat.bos} $A",
            pair=f"{chat.bos} $A $B",
            special_tokens=[(chat.bos, backend.token_to_id(chat.bos))],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=chat.bos,
        eos_token=chat.eos,
        pad_token=chat.pad,
        chat_template=chat.template,
    )


def publish(chat: Published, folder: Path, *, spare_rows: int = 0) -> Path:
    """Write a tiny Llama with tied embeddings and the tokenizer of a chat model, as the hub has them."""
    tokenizer = published_tokenizer(chat)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + spare_rows,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    if chat.stops:
        model.generation_config = GenerationConfig(eos_token_id=tokenizer.convert_tokens_to_ids(list(chat.stops)))
    model.save_pretrained(folder)
    return folder
