"""RewardBench: a reward model, wherever it is from, against labelled pairs in that format."""

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.inference.arguments import HUB
from flows.inference.ask import find_model, refusing
from flows.inference.pair_set import LabelledPair
from flows.registry.client import open_registry
from flows.registry.learned_prompts import SeenRows, learned_prompts, leave_out
from rlhf_core.config.lengths import Lengths
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Demonstration
from rlhf_core.data.tokenizer import encode, load_tokenizer
from rlhf_core.evaluators.reward_model import score_items
from rlhf_core.metrics.reward_bench import PairFigures, judge_pairs
from rlhf_core.models.heads import temperature
from rlhf_core.models.loading import load_reward_model

POSITIONS = 2048
"""Tokens of prompt and response together where a model does not say how many it can read."""


class BenchResult(NamedTuple):
    """A reward model on some pairs.

    Attributes:
        figures: what came of it.
        chosen: calibrated score of each chosen response, shape ``[N]``, logits.
        rejected: of each rejected one, shape ``[N]``.
        temperature: stored with the model, 1 where none is; a score times this is the raw one.
        cut: pairs that have more tokens than the model can read, and were cut.
        pairs: those that were judged.
        left_out: those that were not, as the model was trained on their prompts; None where no registry says on what.
    """

    figures: PairFigures
    chosen: NDArray[np.float64]
    rejected: NDArray[np.float64]
    temperature: float
    cut: int
    pairs: Sequence[LabelledPair]
    left_out: SeenRows | None


def evaluate_pairs(config: LadderConfig, model: str, pairs: Sequence[LabelledPair]) -> BenchResult:
    """Score both responses of every pair by a reward model, and judge it; not by pairs whose prompt it was trained on.

    Args:
        config: whose registry is meant; precision, and tokens of a forward pass.
        model: name/version, name@alias, a folder, or owner/name of the hub.
        pairs: at least one.

    Raises:
        InputError: if there is no such model, it does not score, it cannot be known what a registered one was trained
            on, or no pair is left.
    """
    folder, scores = find_model(config, model)
    if not scores:
        raise InputError(f"{model} is no reward model, so it scores no pairs; name a sequence classifier")
    pairs, left_out = _unseen(config, model, pairs)
    with refusing(model):
        return _judge(config, folder, pairs, left_out)


def _judge(config: LadderConfig, folder: Path, pairs: Sequence[LabelledPair], left_out: SeenRows | None) -> BenchResult:
    tokenizer = load_tokenizer(str(folder))
    reward_model = load_reward_model(folder, tokenizer)
    positions = getattr(reward_model.config, "max_position_embeddings", None) or POSITIONS
    lengths = Lengths(positions - positions // 2, positions // 2)
    settings = RewardModelConfig(**lengths._asdict(), optimiser=config.reward_model.optimiser)
    sides = [
        [Demonstration(pair.prompt, text) for pair, text in zip(pairs, texts, strict=True)]
        for texts in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
    ]
    items = list(dict.fromkeys(chain(*sides)))
    score = dict(zip(items, score_items(reward_model, tokenizer, items, settings), strict=True))
    chosen, rejected = (np.array([score[item] for item in side]) for side in sides)
    stored = temperature(reward_model)
    figures = judge_pairs(
        chosen - rejected, [pair.prompt for pair in pairs], [pair.subset for pair in pairs], temperature=stored
    )
    long = _longer(tokenizer, items, lengths)
    cut = sum(first in long or second in long for first, second in zip(*sides, strict=True))
    return BenchResult(figures, chosen, rejected, stored, cut, pairs, left_out)


def _unseen(
    config: LadderConfig, model: str, pairs: Sequence[LabelledPair]
) -> tuple[Sequence[LabelledPair], SeenRows | None]:
    """The pairs whose prompt a model was not trained on, and the others; all, and None, where no registry knows it."""
    if Path(model).is_dir() or HUB.fullmatch(model):
        return pairs, None
    registry = open_registry(config.project, config.storage)
    prompts = pd.DataFrame({"prompt": [pair.prompt for pair in pairs]})
    left_out = leave_out(prompts, learned_prompts([registry.pin(model)], registry))
    unseen = [pair for pair in pairs if pair.prompt not in left_out.prompts]
    if not unseen:
        raise InputError(f"{left_out.sentence('pairs')}; none is left to judge it by: take other pairs")
    return unseen, left_out


def _longer(tokenizer: PreTrainedTokenizerBase, items: Sequence[Demonstration], lengths: Lengths) -> set[Demonstration]:
    """Those whose prompt or response has more tokens than are kept."""
    whole = encode(tokenizer, items, Lengths(sys.maxsize, sys.maxsize))
    return {
        item
        for item, tree in zip(items, whole, strict=True)
        if len(tree.prompt) > lengths.max_prompt_tokens or len(tree.responses[0]) > lengths.max_response_tokens
    }
