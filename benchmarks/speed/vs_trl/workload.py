"""What both sides work on: models with random weights, and real or generated dialogues as text and as token ids."""

import gzip
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
)

from rlhf_core.config.lengths import Lengths
from rlhf_core.data.batching import shuffled_batches
from rlhf_core.data.tokenizer import encode, encode_prompts, load_tokenizer
from rlhf_core.models.precision import device

MAX_PROMPT_TOKENS = 448
MAX_RESPONSE_TOKENS = 256
ROLLOUT_PROMPT_TOKENS = 256
"""Longer prompts take no part in rollouts."""
RESPONSE_TOKENS = 64
"""Tokens sampled for a prompt of a rollout."""
PPO_EPOCHS = 2
PPO_LR = 1e-12
"""So small that no step shows: minibatches are drawn at random on both sides, and only so can losses be compared."""
SEED = 0

LLAMA = (LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification)
QWEN = (Qwen2Config, Qwen2ForCausalLM, Qwen2ForSequenceClassification)


def _qwen(width: int, layers: int, heads: int, inner: int) -> tuple[tuple[Any, ...], dict[str, int]]:
    """A shape like those of Qwen2.5, with its vocabulary."""
    shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return QWEN, shape | {"intermediate_size": inner, "num_key_value_heads": 2, "vocab_size": 151_936}


SHAPES: dict[str, tuple[tuple[Any, ...], dict[str, int]]] = {
    "tiny": (LLAMA, {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 344}),
    "small": (LLAMA, {"hidden_size": 320, "num_hidden_layers": 6, "num_attention_heads": 5, "intermediate_size": 864}),
    "base": (
        LLAMA,
        {
            "hidden_size": 512,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
            "intermediate_size": 1408,
            "vocab_size": 32_000,
        },
    ),
    "125m": _qwen(512, 16, 8, 2048),
    "0.5b": _qwen(896, 24, 14, 4864),
    "1.5b": _qwen(1536, 28, 12, 8960),
}


class Batches(NamedTuple):
    """How much is done at a time.

    Attributes:
        size: demonstrations, pairs or prompts in an optimiser step or a rollout.
        micro: of them in a forward pass of TRL's.
        max_tokens: tokens in a forward pass of ours.
        compiled: whether our layers are compiled.
        steps: optimiser steps of a turn.
        turns: of each side, the first one, which is dropped, counted in.
    """

    size: int
    micro: int
    max_tokens: int
    compiled: bool
    steps: int
    turns: int


@dataclass(frozen=True)
class Workload:
    """A folder with all that a worker needs.

    Attributes:
        folder: holds `policy` and `reward_model`, and the files below.
    """

    folder: Path

    @property
    def policy(self) -> Path:
        """Causal language model with its tokenizer."""
        return self.folder / "policy"

    @property
    def reward_model(self) -> Path:
        """Sequence classifier with one label and its tokenizer."""
        return self.folder / "reward_model"

    @property
    def batches(self) -> Batches:
        """How much is done at a time."""
        return Batches(**json.loads((self.folder / "batches.json").read_text()))

    def by_step(self, sizes: list[int]) -> list[int]:
        """Tokens of each optimiser step, from those of each demonstration or pair."""
        size = self.batches.size
        return [sum(sizes[start : start + size]) for start in range(0, len(sizes), size)]

    @property
    def texts(self) -> list[dict[str, str]]:
        """Prompt, chosen and rejected response as text."""
        return self._rows("texts.jsonl")

    @property
    def rollout_prompts(self) -> list[dict[str, Any]]:
        """Text and token ids of the prompts of a rollout."""
        return self._rows("prompts.jsonl")

    @property
    def ids(self) -> list[dict[str, list[int]]]:
        """The same as token ids, in the order in which both sides see them."""
        return self._rows("ids.jsonl")

    @property
    def response_lengths(self) -> list[int]:
        """Tokens of each response of a rollout that are scored and updated on."""
        return [min(len(row["chosen"]), RESPONSE_TOKENS) for row in self.ids[: self.batches.size]]

    def _rows(self, name: str) -> list[Any]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


def prepare(folder: Path, model: str, *, batches: Batches, data: Path | None) -> Workload:
    """Write models and dialogues to a folder.

    Args:
        folder: where.
        model: a key of `SHAPES`.
        batches: how much is done at a time; the dialogues last for all turns.
        data: gzipped JSON lines of `chosen` and `rejected` dialogues in the format of HH-RLHF; None generates some.

    Returns:
        What was written.
    """
    texts = _hh(data) if data else _generated()
    tokenizer = _tokenizer(texts, folder / "tokenizer")
    steps = batches.steps * batches.turns
    count = steps * batches.size
    texts = texts[:count]
    if len(texts) < count:
        raise ValueError(f"{len(texts)} dialogues are too few for {steps} steps of {batches.size}")
    workload = Workload(folder)
    (folder / "batches.json").write_text(json.dumps(batches._asdict()))
    _write(folder / "texts.jsonl", texts)
    order = [index for batch in shuffled_batches(count, batches.size, epoch=0, seed=SEED) for index in batch]
    _write(folder / "ids.jsonl", [_ids(tokenizer, texts[index]) for index in order])
    ids = encode_prompts(tokenizer, [row["prompt"] for row in texts], max_prompt_tokens=MAX_PROMPT_TOKENS)
    prompts = [{"text": row["prompt"], "ids": found} for row, found in zip(texts, ids, strict=True)]
    short = [row for row in prompts if len(row["ids"]) <= ROLLOUT_PROMPT_TOKENS]
    _write(folder / "prompts.jsonl", short[: batches.size])
    torch.manual_seed(SEED)
    (config_class, policy_class, reward_class), shape = SHAPES[model]
    shape = {"vocab_size": len(tokenizer), **shape}
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    config: PretrainedConfig = config_class(tie_word_embeddings=True, attention_dropout=0.0, **shape, **special)
    with device():
        policy = policy_class(config)
    policy.generation_config.pad_token_id = tokenizer.pad_token_id
    policy.save_pretrained(workload.policy)
    tokenizer.save_pretrained(workload.policy)
    config.num_labels = 1
    with device():
        reward_class(config).save_pretrained(workload.reward_model)
    tokenizer.save_pretrained(workload.reward_model)
    return workload


def _ids(tokenizer: Any, row: dict[str, str]) -> dict[str, list[int]]:
    items = [(row["prompt"], row["chosen"]), (row["prompt"], row["rejected"])]
    chosen, rejected = encode(tokenizer, items, Lengths(MAX_PROMPT_TOKENS, MAX_RESPONSE_TOKENS))
    return {"prompt": chosen.prompt, "chosen": chosen.responses[0], "rejected": rejected.responses[0]}


def _hh(path: Path) -> list[dict[str, str]]:
    rows = []
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            pair = json.loads(line)
            prompt, _, chosen = pair["chosen"].rpartition("\n\nAssistant:")
            other, _, rejected = pair["rejected"].rpartition("\n\nAssistant:")
            if prompt == other and chosen.strip() and rejected.strip() and chosen != rejected:
                rows.append({"prompt": prompt.strip(), "chosen": chosen.strip(), "rejected": rejected.strip()})
    return rows


def _generated() -> list[dict[str, str]]:
    """Dialogues of made-up words, with log-normal counts of them."""
    rng = random.Random(SEED)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 7))) for _ in range(6000)]

    def text(mean: float, spread: float) -> str:
        return " ".join(rng.choices(words, k=max(2, round(rng.lognormvariate(mean, spread)))))

    return [{"prompt": text(4.3, 0.9), "chosen": text(3.3, 0.9), "rejected": text(3.5, 0.9)} for _ in range(3000)]


def _tokenizer(texts: list[dict[str, str]], folder: Path) -> PreTrainedTokenizerFast:
    plain = Tokenizer(models.BPE(unk_token="<|unk|>"))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel()
    special = ["<|pad|>", "<|unk|>", "<|end|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(vocab_size=8192, special_tokens=special, show_progress=False)
    plain.train_from_iterator((value for row in texts for value in row.values()), trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
    )
    made.save_pretrained(folder)
    return load_tokenizer(str(folder))  # type: ignore[return-value]


def _write(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
