"""External reward models: taken as they are, calibrated if they are not, and measured like trained ones."""

import shutil
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.model_settings import read_config
from rlhf_core.data.pair_trees import told_apart
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import Tree, load_tokenizer
from rlhf_core.distributed import rank, wait
from rlhf_core.evaluators.reward_model import (
    evaluate_reward_model,
    fitted_temperature,
    halves,
    margins,
    score_items,
)
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.reward_model_evidence import PAIRS, SHARE
from rlhf_core.models.fitness import check_lengths, check_reward_model
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.known_answers import KNOWN, check_known_answers, save_known_answers
from rlhf_core.models.loading import load_reward_model, save
from rlhf_core.models.model_files import check_kind, keep_notes
from rlhf_core.models.scoring import score_trees
from rlhf_core.training.stage import Stage, StageResult

OFFERED = 64
"""Demonstrations from which known answers are taken where a model brings none."""


def adopt_reward_model(
    config: RewardModelConfig,
    *,
    source: Path,
    train: Sequence[Pair],
    held_out: Sequence[Pair],
    demonstrations: Sequence[Demonstration],
    out: Path,
    ceiling: Estimate | None = None,
    day: date | None = None,
    allow: bool | None = None,
    tuned: Collection[str] | None = None,
) -> Stage:
    """Take a reward model with its weights; one without a temperature gets that of the held-out pairs.

    Only differences of its scores count, so it is not centred: the mean score of the demonstrations stays what it is.

    Args:
        config: lengths and precision.
        source: folder of a sequence classifier with one label, or of an ensemble.
        train: pairs that the floors learn from.
        held_out: pairs; a missing temperature is fitted on those of some prompts, and the others are judged.
        demonstrations: whose mean score is told.
        out: folder that receives the model.
        ceiling: agreement that a perfect judge would reach on these labels, where that is known.
        day: to which a chat template that reads the clock is pinned; None is today.
        allow: whether texts may write its special tokens, as of `load_tokenizer`.
        tuned: as of `train_reward_model`.

    Yields:
        Nothing: no step is taken.

    Returns:
        As `train_reward_model`.

    Raises:
        ValueError: if it is no reward model, has fewer positions than the lengths need, or gives no numbers; or no pair
            is told apart.
        SelfTestError: if it brings known answers and does not give them.
    """
    yield from ()
    check_kind(source)
    said = read_config(source)
    check_reward_model(said)
    check_lengths(said, config.lengths)
    tokenizer = load_tokenizer(str(source), day=day, allow=allow)
    model = load_reward_model(source, tokenizer)
    fit_half, judged_half = (
        told_apart(tokenizer, half, config.max_response_tokens) for half in halves(held_out, tuned)
    )
    if getattr(model.config, TEMPERATURE, None) is None:
        setattr(model.config, TEMPERATURE, fitted_temperature(config, model, tokenizer, fit_half))
    save(model, tokenizer, out)
    if rank() == 0:
        keep_notes(source, out)
    _pass_on_known(config, model, tokenizer, demonstrations[:OFFERED], source, out)
    deltas = margins(config, model, tokenizer, judged_half)
    evaluation = evaluate_reward_model(
        config,
        reward_model=out,
        train=train,
        held_out=held_out,
        demonstrations=demonstrations,
        ceiling=ceiling,
        tuned=tuned,
    )
    return StageResult(
        artifacts={"reward_model": out},
        estimates=evaluation.estimates,
        evidence=evaluation.evidence,
        series={"delta": deltas.tolist(), SHARE: evaluation.evidence[PAIRS][SHARE].to_pylist()},
        samples=evaluation.samples,
    )


def _pass_on_known(
    config: RewardModelConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Demonstration],
    source: Path,
    out: Path,
) -> None:
    """Hand a model's known answers on, if it still gives them; one without any, or newly calibrated, gets its own."""
    if not (source / KNOWN).exists() or not hasattr(read_config(source), TEMPERATURE):
        values = score_items(model, tokenizer, items, config)
        save_known_answers(out, tokenizer, items, values, config.optimiser, config.lengths)
        return

    def say(trees: list[Tree]) -> Tensor:
        return score_trees(model, trees, config.optimiser)

    check_known_answers("reward model", source, say, tokenizer, config.optimiser, config.lengths)
    if rank() == 0:
        shutil.copyfile(source / KNOWN, out / KNOWN)
    wait()
