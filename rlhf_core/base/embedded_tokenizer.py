"""The tokenizer of the embedded world, which needs no model, so that a configuration is checked without one."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rlhf_core.data.tokenizer import PAD_TOKEN
from rlhf_core.embedded_world import grammar

EOS_TOKEN = "<|end|>"

UNKNOWN_TOKEN = "<|unk|>"

ROLE_TOKENS = ("<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|> ' + message['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerBase:
    """One token for each word of the grammar, with padding apart from end-of-sequence."""
    words = (PAD_TOKEN, UNKNOWN_TOKEN, EOS_TOKEN, *ROLE_TOKENS, *grammar.vocabulary())
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNKNOWN_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        unk_token=UNKNOWN_TOKEN,
        eos_token=EOS_TOKEN,
        additional_special_tokens=list(ROLE_TOKENS),
        chat_template=CHAT_TEMPLATE,
    )
