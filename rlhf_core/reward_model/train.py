"""Bradley-Terry reward model: the SFT trunk with scalar heads on the last token, trained on preference pairs."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.array_cache import cached, content_key
from rlhf_core.data.pair_trees import compare, told_apart
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import Tree, encode, load_tokenizer
from rlhf_core.distributed import Loss
from rlhf_core.evaluators.reward_model import (
    fitted_temperature,
    halves,
    judge_scores,
    margins,
    score_pairs,
    stress_test,
)
from rlhf_core.metrics.estimates import Estimate, point
from rlhf_core.metrics.reward_model import ScoredPairs, correlation_with_length
from rlhf_core.metrics.reward_model_evidence import SHARE
from rlhf_core.models.ensembles import Aggregation, aggregation, store_aggregation
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.known_answers import save_known_answers
from rlhf_core.models.loading import load_reward_model, save, weights_digest
from rlhf_core.models.lora import add_adapter
from rlhf_core.models.precision import to_numpy
from rlhf_core.models.scoring import score_trees
from rlhf_core.reward_model.centring import centre
from rlhf_core.reward_model.length_debiasing import add_length_head, debiased_loss, length_scores
from rlhf_core.reward_model.losses import Lesson, as_learned, lessons, reward_loss
from rlhf_core.training.checkpoint import NEVER, Checkpoints
from rlhf_core.training.doing import doing
from rlhf_core.training.loop import fit
from rlhf_core.training.stage import Event, Stage, StageResult


def train_reward_model(
    config: RewardModelConfig,
    *,
    init_from: Path,
    train: Sequence[Pair],
    held_out: Sequence[Pair],
    demonstrations: Sequence[Demonstration],
    out: Path,
    seed: int,
    ceiling: Estimate | None = None,
    cache: Path | None = None,
    checkpoints: Checkpoints = NEVER,
    tuned: Collection[str] | None = None,
) -> Stage:
    """Train a reward model, centre it on demonstrations and fit its temperature.

    Args:
        config: hyper-parameters.
        init_from: folder of the SFT model.
        train: pairs to learn from.
        held_out: pairs to measure on, of which those count that are told apart once cut; the temperature is fitted on
            those of some prompts and judged on the others.
        demonstrations: whose mean score becomes 0.
        out: folder that receives the model.
        seed: seed of heads, order and bootstraps.
        ceiling: agreement that a perfect judge would reach on these labels, where that is known.
        cache: folder that keeps what the trained model says of the demonstrations, by the content of both; None keeps
            nothing.
        checkpoints: where the stage keeps its state and goes on from.
        tuned: prompts of held-out pairs on which the temperature is fitted; `tuning_half` unless they are named.

    Yields:
        `loss_nats` per pair and `lr`; with debias `length` the figures of `debiased_loss` too.

    Returns:
        Artifact `reward_model`; agreement, floors, slices, correlation with length and calibration on the judged half,
        of an ensemble `disagreement` and `member_correlation` too; with debias `length` also
        `length_correlation_with_length_head`, of what the preferences were learned by; series `delta` (margins in
        logits, divided by the temperature), `delta_uncalibrated` and `share_chosen` of the labels; samples are judged
        pairs with their margins.

    Raises:
        CannotBalance: if the pairs shall be balanced and cannot be.
        RuntimeError: if the saved model, loaded again, gives other scores.
        ValueError: if an adapter shall be on layers that the SFT model has not, or no held-out pair is told apart.
    """
    torch.manual_seed(seed)
    doing("loading the SFT model, and trying how it is computed")
    tokenizer = load_tokenizer(str(init_from))
    model = load_reward_model(init_from, tokenizer, heads=config.heads)
    if config.adapter is not None:
        add_adapter(model, config.adapter, seed=seed)
    fit_half, judged_half = (
        told_apart(tokenizer, half, config.max_response_tokens) for half in halves(held_out, tuned)
    )
    yield from _learn(config, model, tokenizer, train, checkpoints, seed=seed)
    doing(f"scoring {len(demonstrations):,} demonstrations, whose mean becomes 0, and {len(held_out):,} held-out pairs")
    demonstrated_scores = _settle(config, model, encode(tokenizer, demonstrations, config.lengths), cache)
    fitted = fitted_temperature(config, model, tokenizer, fit_half)
    judged = score_pairs(config, model, tokenizer, judged_half)
    setattr(model.config, TEMPERATURE, fitted)
    save(model, tokenizer, out)
    _check_reload(config, out, judged_half, judged.deltas / fitted)
    save_known_answers(out, tokenizer, judged.items, judged.scores / fitted, config.optimiser, config.lengths)
    by_pairs = point(fitted, len({pair.prompt for pair in fit_half}))
    doing(f"stress test on {len(judged_half):,} held-out pairs")
    attacked = stress_test(config, model, tokenizer, judged_half, train)
    evaluation = judge_scores(
        judged, judged_half, train, demonstrations, demonstrated_scores, attacked, by_pairs, ceiling
    )
    return StageResult(
        artifacts={"reward_model": out},
        estimates=evaluation.estimates | _before_debiasing(config, model, tokenizer, judged),
        evidence=evaluation.evidence,
        series={
            "delta": (judged.deltas / fitted).tolist(),
            "delta_uncalibrated": judged.deltas.tolist(),
            SHARE: judged.shares.tolist(),
        },
        samples=evaluation.samples,
    )


def _learn(
    config: RewardModelConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Pair],
    checkpoints: Checkpoints,
    *,
    seed: int,
) -> Iterator[Event]:
    """Train all members on the balanced or divided pairs, with a length head if the model shall be debiased."""
    doing(f"reading {len(train):,} pairs")
    comparisons = compare(tokenizer, as_learned(config, train), config.lengths)
    loss: Callable[[list[Lesson]], Loss] = partial(reward_loss, config)
    if config.debias == "length":
        add_length_head(model)
        loss = partial(debiased_loss, config, model)
    yield from fit(
        model,
        lessons(comparisons, config.heads, seed=seed),
        config.optimiser,
        checkpoints,
        size=lambda item: item.size,
        loss=loss,
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=seed,
    )


def _settle(
    config: RewardModelConfig, model: PreTrainedModel, demonstrated: Sequence[Tree], cache: Path | None
) -> NDArray[np.float64]:
    """Centre a trained model and note how its members make one score; the scores of the demonstrations, in logits."""
    folder = cache / weights_digest(model) if cache else None
    centre(config, model, demonstrated, folder)
    if config.heads == 1:
        return _kept_scores(config, model, demonstrated, folder)
    rule = Aggregation(config.aggregate, config.uncertainty_lambda)
    store_aggregation(model.config, rule)
    scores = _kept_scores(config, model, demonstrated, folder)
    centre_of_scores = float(scores.mean())
    store_aggregation(model.config, rule._replace(centre=centre_of_scores))
    centred: NDArray[np.float64] = scores - centre_of_scores
    return centred


def _kept_scores(
    config: RewardModelConfig, model: PreTrainedModel, demonstrated: Sequence[Tree], folder: Path | None
) -> NDArray[np.float64]:
    """Scores of the demonstrations by the centred model, shape ``[N]``, in logits."""
    key = content_key("centred scores", demonstrated, config.optimiser.precision, aggregation(model.config))
    path = folder / f"{key}.npy" if folder else None
    return cached(path, lambda: to_numpy(score_trees(model, demonstrated, config.optimiser)))


def _before_debiasing(
    config: RewardModelConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, judged: ScoredPairs
) -> dict[str, Estimate]:
    """How far the sum of both heads goes by length, which learned the preferences; nothing without a length head."""
    if config.debias == "none":
        return {}
    by_length = to_numpy(length_scores(model, encode(tokenizer, judged.items, config.lengths), config.optimiser))
    return {"length_correlation_with_length_head": correlation_with_length(judged.items, judged.scores + by_length)}


def _check_reload(config: RewardModelConfig, out: Path, pairs: Sequence[Pair], expected: NDArray[np.float64]) -> None:
    tokenizer = load_tokenizer(str(out))
    again = margins(config, load_reward_model(out, tokenizer), tokenizer, pairs[:64])
    if not np.allclose(again, expected[:64], atol=1e-4):
        raise RuntimeError(
            f"{out}: the saved reward model gives other scores than the trained one "
            f"(largest difference of a margin {np.abs(again - expected[:64]).max():.4g})"
        )
