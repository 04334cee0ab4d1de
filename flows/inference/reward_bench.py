"""RewardBench: a reward model, wherever it is from, against labelled pairs in that format."""

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from data_contracts.conversation import Message
from data_contracts.formats.convert import SourceRow
from data_contracts.formats.items import Misfit
from data_contracts.formats.rewardbench import SUBSET, pair
from data_contracts.schemas.rules import is_text
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.file_search import SUFFIXES, find_files, unpacked
from flows.data.files import read_file, read_hub
from flows.inference.ask import HUB, find_model, refusing
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

ALL = "all"
"""Subset of every pair where no pair names one."""

POSITIONS = 2048
"""Tokens of prompt and response together where a model does not say how many it can read."""

FORM = "write prompt, chosen and rejected as text, or chosen and rejected as lists of messages, prompt and all"


class LabelledPair(NamedTuple):
    """A pair as a file has it, with its subset; white space stays, which RewardBench scores too."""

    subset: str
    prompt: str
    chosen: str
    rejected: str


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


def read_pair_set(source: str, *, split: str, subsets: Sequence[str]) -> list[LabelledPair]:
    """Read pairs in RewardBench's format.

    Args:
        source: a file, folder or glob; or owner/name of the hub, with @revision or without.
        split: of a data set of the hub.
        subsets: those to keep; none keeps all.

    Returns:
        Pairs in their order, all of subset `all` where none names any.

    Raises:
        InputError: naming the row and field that is not what the format says, or a subset that there is not.
    """
    rows = list(_rows(source, split))
    named = any(SUBSET in row.row for row in rows)
    pairs = [_pair(row, named) for row in rows]
    names = list(dict.fromkeys(pair.subset for pair in pairs))
    if unknown := [name for name in subsets if name not in names]:
        raise InputError(f"--subset {', '.join(unknown)}: {source} has none of that name; it has {', '.join(names)}")
    return [pair for pair in pairs if not subsets or pair.subset in subsets]


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


def _rows(source: str, split: str) -> Iterator[SourceRow]:
    hub = HUB.fullmatch(source)
    if hub and not Path(source).exists() and not unpacked(source).endswith(SUFFIXES):
        yield from read_hub(hub["name"], revision=hub["revision"] or "main", split=split, data_dir=None)
        return
    for path in find_files(Path(source)):
        yield from read_file(path, path.name)


def _pair(row: SourceRow, named: bool) -> LabelledPair:
    place = f"{row.source} row {row.number}"
    subset = row.row.get(SUBSET) if named else ALL
    if not isinstance(subset, str):
        raise InputError(
            f"{place}, field {SUBSET}: is {_missing(subset)}, and other rows name one; name it or remove the row"
        )
    try:
        record = pair(row.row)
    except Misfit as misfit:
        raise InputError(f"{place}, field {misfit.field}: {misfit.reason}; {FORM}") from None
    prompt = _as_prompt(record["prompt"])
    for name, cell in (("prompt", prompt), ("chosen", record["chosen"]), ("rejected", record["rejected"])):
        if not is_text(cell):
            raise InputError(f"{place}, field {name}: is not text; {FORM}")
    return LabelledPair(subset, prompt, record["chosen"], record["rejected"])


def _as_prompt(prompt: str | list[Message]) -> str:
    """A prompt as models read it: the text of a single user turn, else its messages as JSON, white space and all."""
    if not isinstance(prompt, list):
        return prompt
    return prompt[0]["content"] if [turn["role"] for turn in prompt] == ["user"] else json.dumps(prompt)


def _missing(cell: object) -> str:
    return "missing" if cell is None else "not text"
