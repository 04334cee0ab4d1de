"""A base model trained from scratch on any text: a BPE tokenizer and a small language model."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rlhf_core.base.language_model import build, fit
from rlhf_core.config.base import TextBaseConfig
from rlhf_core.data.chat_template import CHAT_TEMPLATE
from rlhf_core.data.tokenizer import PAD_TOKEN
from rlhf_core.models.loading import save
from rlhf_core.training.doing import doing
from rlhf_core.training.stage import Stage, StageResult

EOS_TOKEN = "<|end|>"

ROLE_TOKENS = ("<|user|>", "<|assistant|>")


def pretrain(config: TextBaseConfig, *, texts: Sequence[str], out: Path, seed: int) -> Stage:
    """Train tokenizer and model from scratch.

    Args:
        config: vocabulary, model and optimiser.
        texts: documents; only training data, or the held-out figures mean nothing.
        out: folder that receives the model.
        seed: seed of weights and batches.

    Yields:
        `loss_nats` per token and `lr`, for every optimiser step.

    Returns:
        Artifact `base`.

    Raises:
        ValueError: if there is less text than one window.
    """
    doing(f"making a tokenizer of {len(texts):,} texts, and tokens of them")
    tokenizer = build_tokenizer(texts, vocabulary=config.vocabulary)
    documents = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    stream = [token for document in documents for token in [*document, tokenizer.eos_token_id]]
    model = build(config, tokenizer, seed=seed)
    yield from fit(config, model, stream, seed=seed)
    return StageResult(artifacts={"base": save(model, tokenizer, out)})


def build_tokenizer(texts: Sequence[str], *, vocabulary: int) -> PreTrainedTokenizerBase:
    """Byte-level BPE (Sennrich et al., 2016) with padding apart from end-of-sequence; it can spell any string."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD_TOKEN, EOS_TOKEN, *ROLE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        eos_token=EOS_TOKEN,
        additional_special_tokens=list(ROLE_TOKENS),
        chat_template=CHAT_TEMPLATE,
    )
