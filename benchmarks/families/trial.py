"""One family tried: a tiny model of it goes through the product's own loading, forward passes, sampling and saving.

Stock `transformers`, which reads each text alone from what was saved, is the judge.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn import Module
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from benchmarks.families.configurations import FAMILIES, VOCABULARY, configuration
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.generation.decoding import DrawRequest, draw_eagerly
from rlhf_core.models import ways
from rlhf_core.models.classifiers import CODE
from rlhf_core.models.forward import response_logprobs, response_scores
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.trunk import way_of

EXACT = 1e-4
"""Nats, logits, or share of the largest gradient: by how much a family that is called exact may differ from stock."""

TREES = [
    Tree([3, 5, 6, 7, 2, 4], [[8, 9, 8, 1], [11, 4, 6, 3, 12, 9, 1]]),
    Tree([3, 5], [[8], [9, 30, 5, 6, 7, 2, 14, 3]]),
]
"""Prompts with responses, short and longer than each window of the configurations."""

WHOLE = [(tree.prompt, response) for tree in TREES for response in tree.responses]

SAMPLING_TEMPERATURE = 0.8


class Trial(NamedTuple):
    """What came of a family.

    Attributes:
        family: `model_type`.
        way: how sequences are laid out, `rows` or `padded`; empty if the family is refused.
        policy_gap: the largest difference from stock of log-probabilities (nats), gradients (shares of the largest) and
            log-probabilities taken while sampling.
        classifier: `stock`, or `with code` where it is saved with some lines of code; empty if it is refused.
        score_gap: the largest difference of a score, logits.
        refused: why the family is no policy, in the words of the product.
        classifier_refused: why it is no reward model.
        broken: what was raised that is no refusal.
    """

    family: str
    way: str = ""
    policy_gap: float = 0.0
    classifier: str = ""
    score_gap: float = 0.0
    refused: str = ""
    classifier_refused: str = ""
    broken: str = ""


def try_families(families: Sequence[str] = FAMILIES) -> Iterator[Trial]:
    """Try families one after the other, each in a folder of its own that is gone afterwards."""
    with _quiet():
        for family in families:
            with TemporaryDirectory() as folder:
                try:
                    yield try_family(family, Path(folder))
                except Exception as error:  # what breaks one family must not hide the others
                    yield Trial(family, broken=f"{type(error).__name__}: {_line(error)}")


def try_family(family: str, folder: Path) -> Trial:
    """Try a family as policy and as reward model.

    Args:
        family: `model_type` of `configurations`.
        folder: empty; models are written there.
    """
    words, base = tokenizer(), folder / "base"
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(configuration(family)).save_pretrained(base)
    try:
        policy = load_policy(base, words)
    except ValueError as error:
        return Trial(family, refused=_reason(error, base))
    save(policy, words, folder / "policy")
    stock = AutoModelForCausalLM.from_pretrained(folder / "policy", attn_implementation="eager").eval()
    gap = max(_forced_gap(policy, stock), _sampling_gap(policy, stock))
    trial = Trial(family, "rows" if way_of(policy).rows else "padded", gap)
    try:
        reward_model = load_reward_model(base, words)
    except ValueError as error:
        return trial._replace(classifier_refused=_reason(error, base))
    saved = save(reward_model, words, folder / "reward_model")
    classifier = "with code" if (saved / CODE).exists() else "stock"
    return trial._replace(classifier=classifier, score_gap=_score_gap(reward_model, saved))


def tokenizer() -> PreTrainedTokenizerBase:
    """A word for each row of the models, and one more for padding, as many bases need it."""
    words = Tokenizer(models.WordLevel({f"w{index}": index for index in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="w0",
        eos_token="w1",
        pad_token="<|pad|>",
        chat_template="{% for turn in messages %}w2 {{ turn['content'] }} w1 {% endfor %}w3",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Context without bars and remarks on models that were never trained."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    ways.log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ways.log.disabled = False
        transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(level)


def _forced_gap(policy: PreTrainedModel, stock: PreTrainedModel) -> float:
    """Of log-probabilities and of the gradients of their sum of squares."""
    row = lay(TREES, policy.device)
    ours = response_logprobs(policy, row)[0].cpu()
    expected = torch.cat([_logprobs(stock, *pair) for pair in WHOLE])
    ours.square().sum().backward()
    expected.square().sum().backward()
    return max(gradient_gap(policy, stock), _gap(ours, expected))


def gradient_gap(policy: Module, stock: Module) -> float:
    """The largest difference of gradients, share of the largest of `stock`; without bound where one side has none."""
    pairs = [(ours.grad, other.grad) for ours, other in zip(policy.parameters(), stock.parameters(), strict=True)]
    if any((ours is None) != (other is None) and (other if ours is None else ours).any() for ours, other in pairs):
        return float("inf")
    gradients = [(ours.cpu(), other) for ours, other in pairs if ours is not None and other is not None]
    largest = max(float(other.abs().max()) for _, other in gradients)
    return max(_gap(ours, other) for ours, other in gradients) / largest


@torch.no_grad()
def _sampling_gap(policy: PreTrainedModel, stock: PreTrainedModel) -> float:
    prompts = [tree.prompt for tree in TREES]
    chance = torch.rand((len(prompts), 8), dtype=torch.double, generator=torch.Generator().manual_seed(0))
    request = DrawRequest(prompts, chance, stops=[1], temperature=SAMPLING_TEMPERATURE, max_tokens=64)
    return max(
        _gap(torch.tensor(logprobs), _logprobs(stock, prompt, response, SAMPLING_TEMPERATURE))
        for prompt, (response, logprobs) in zip(prompts, draw_eagerly(policy, request), strict=True)
    )


@torch.no_grad()
def _score_gap(model: PreTrainedModel, saved: Path) -> float:
    scores = response_scores(model, lay(TREES, model.device)).cpu()
    stock = AutoModelForSequenceClassification.from_pretrained(
        saved, attn_implementation="eager", trust_remote_code=True
    ).eval()
    expected = [stock(input_ids=torch.tensor([prompt + response])).logits for prompt, response in WHOLE]
    return _gap(scores, torch.cat(expected))


def _logprobs(model: PreTrainedModel, prompt: list[int], response: list[int], temperature: float = 1.0) -> Tensor:
    """Of a response under a stock model that reads it alone, shape ``[T]``, nats."""
    logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(dim=-1).gather(1, torch.tensor(response)[:, None])[:, 0]


def _gap(ours: Tensor, expected: Tensor) -> float:
    """The largest difference; what is not a number differs without bound."""
    return float((ours - expected).abs().nan_to_num(nan=float("inf")).max())


def _reason(error: ValueError, folder: Path) -> str:
    return _line(error).removeprefix(f"{folder}: ")


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")
