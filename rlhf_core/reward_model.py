"""Bradley-Terry reward model: the SFT trunk with a scalar head on the last token, trained on preference pairs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.balance import balance
from rlhf_core.batching import lay, token_batches
from rlhf_core.cache import cached, content_key
from rlhf_core.checkpoint import NEVER, Checkpoints
from rlhf_core.comparisons import Comparison, compare, sides
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.epochs import fit
from rlhf_core.evaluation.calibration import fit_temperature
from rlhf_core.evaluation.estimates import Estimate, mean, point
from rlhf_core.evaluation.reward_model import evaluate_margins
from rlhf_core.models import (
    TEMPERATURE,
    device,
    last_states,
    load_reward_model,
    response_scores,
    save,
    score_head,
    temperature,
    weights_digest,
)
from rlhf_core.objectives import bradley_terry_loss
from rlhf_core.parallel import Figures, Loss, gathered, overwrite, rank, ranks, shares, whole
from rlhf_core.records import Demonstration, Pair
from rlhf_core.rewards import score_trees
from rlhf_core.stage import Stage, StageResult
from rlhf_core.text import Tree, encode, load_tokenizer
from rlhf_core.training import precision


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
) -> Stage:
    """Train a reward model, centre it on demonstrations and fit its temperature.

    Args:
        config: hyper-parameters.
        init_from: folder of the SFT model.
        train: pairs to learn from.
        held_out: pairs to measure on; the temperature is fitted on every second prompt and judged on the others.
        demonstrations: whose mean score becomes 0.
        out: folder that receives the model.
        seed: seed of head and order.
        ceiling: agreement that a perfect judge would reach on these labels, where that is known.
        cache: folder that keeps what the trained model says of the demonstrations, by the content of both; None keeps
            nothing.
        checkpoints: where the stage keeps its state and goes on from.

    Yields:
        `loss_nats` per pair and `lr`.

    Returns:
        Artifact `reward_model`; agreement, floors and calibration on the judged half; series `delta` (margins in
        logits, divided by the temperature) and `delta_uncalibrated`; samples are judged pairs with their margins.

    Raises:
        CannotBalance: if the pairs shall be balanced and cannot be.
        RuntimeError: if the saved model, loaded again, gives other scores.
    """
    torch.manual_seed(seed)
    tokenizer = load_tokenizer(str(init_from))
    model = load_reward_model(init_from, tokenizer)
    comparisons = compare(
        tokenizer,
        balance(train, config.balance),
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=config.max_response_tokens,
    )
    yield from fit(
        model,
        comparisons,
        config.optimiser,
        checkpoints,
        size=lambda item: item.tree.size,
        loss=partial(_loss, config),
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=seed,
    )
    kept = cache / weights_digest(model) if cache else None
    demonstrated = _encode(config, tokenizer, demonstrations)
    _centre(config, model, demonstrated, kept)
    demonstrated_scores = _kept_scores(config, model, demonstrated, kept)
    fit_half, judged_half = halves(held_out)
    fitted = fit_temperature(margins(config, model, tokenizer, fit_half))
    deltas = margins(config, model, tokenizer, judged_half)
    setattr(model.config, TEMPERATURE, fitted)
    save(model, tokenizer, out)
    _check_reload(config, out, judged_half, deltas / fitted)
    return StageResult(
        artifacts={"reward_model": out},
        estimates={
            **evaluate_margins(deltas, fitted, judged_half, train, ceiling=ceiling),
            "demonstration_score": mean(demonstrated_scores / fitted),
            "temperature": point(fitted, len(fit_half)),
        },
        series={"delta": (deltas / fitted).tolist(), "delta_uncalibrated": deltas.tolist()},
        samples=shown(judged_half, deltas / fitted),
    )


def shown(pairs: Sequence[Pair], deltas: NDArray[np.float64]) -> list[dict[str, str]]:
    """The first pairs with their margins, for people to read."""
    return [
        {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected, "delta": f"{delta:+.2f}"}
        for pair, delta in zip(pairs[:8], deltas[:8], strict=True)
    ]


def evaluate_reward_model(
    config: RewardModelConfig,
    *,
    reward_model: Path,
    train: Sequence[Pair],
    held_out: Sequence[Pair],
    demonstrations: Sequence[Demonstration],
    ceiling: Estimate | None = None,
) -> dict[str, Estimate]:
    """Measure a saved reward model; on the same data the figures are those of its training.

    Args:
        config: lengths and precision.
        reward_model: folder of the reward model, with its temperature.
        train: pairs that the floors learn from.
        held_out: pairs; as in training, those of every second prompt are judged.
        demonstrations: whose mean score tells how far the centre has moved.
        ceiling: agreement that a perfect judge would reach on these labels, where that is known.

    Returns:
        The estimates of `train_reward_model`.
    """
    tokenizer = load_tokenizer(str(reward_model))
    model = load_reward_model(reward_model, tokenizer)
    stored = temperature(model)
    fit_half, judged_half = halves(held_out)
    deltas = margins(config, model, tokenizer, judged_half) * stored
    return {
        **evaluate_margins(deltas, stored, judged_half, train, ceiling=ceiling),
        "demonstration_score": mean(score_items(model, tokenizer, demonstrations, config)),
        "temperature": point(stored, len(fit_half)),
    }


def margins(
    config: RewardModelConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]
) -> NDArray[np.float64]:
    """Chosen minus rejected score of each pair, shape ``[N]``, logits, divided by a stored temperature."""
    chosen = [Demonstration(pair.prompt, pair.chosen) for pair in pairs]
    rejected = [Demonstration(pair.prompt, pair.rejected) for pair in pairs]
    unique = list(dict.fromkeys([*chosen, *rejected]))
    scores = dict(zip(unique, score_items(model, tokenizer, unique, config), strict=True))
    return np.array([scores[first] - scores[second] for first, second in zip(chosen, rejected, strict=True)])


def score_items(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Demonstration],
    config: RewardModelConfig,
) -> NDArray[np.float64]:
    """Score of each finished response, shape ``[N]``, in logits, divided by the temperature if one is stored."""
    return _numbers(score_trees(model, _encode(config, tokenizer, items), config.optimiser))


def score(model_path: Path, items: Sequence[Demonstration], config: RewardModelConfig) -> list[float]:
    """Calibrated scores of a saved reward model.

    Args:
        model_path: folder that `train_reward_model` wrote.
        items: prompts with responses.
        config: lengths and precision.

    Returns:
        Scores in logits, divided by the stored temperature; 0 is the mean of the demonstrations.
    """
    tokenizer = load_tokenizer(str(model_path))
    model = load_reward_model(model_path, tokenizer)
    return [float(value) for value in score_items(model, tokenizer, items, config)]


def _encode(
    config: RewardModelConfig, tokenizer: PreTrainedTokenizerBase, items: Sequence[Demonstration]
) -> list[Tree]:
    return encode(
        tokenizer,
        items,
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=config.max_response_tokens,
    )


def _loss(config: RewardModelConfig, batch: list[Comparison]) -> Loss:
    """Bradley-Terry loss of some prompts over the count of pairs of all.

    Not over the sum of their weights, which would take the weight off a pair that is alone in its batch: weights are 1
    on average over the training pairs, so over a pass the two are the same.
    """
    pairs = sum(len(item.chosen) for item in batch)

    def loss(model: PreTrainedModel, group: list[int]) -> tuple[Tensor, Figures]:
        part = _summed_loss(config, model, [batch[place] for place in group]) / pairs
        return part, {"loss_nats": part.detach()}

    return loss


def _summed_loss(config: RewardModelConfig, model: PreTrainedModel, comparisons: list[Comparison]) -> Tensor:
    """Bradley-Terry loss summed over the pairs of some prompts; chosen and rejected go through one forward."""
    with precision(config.optimiser):
        rewards = response_scores(model, lay([item.tree for item in comparisons], device()))
    chosen, rejected = sides(comparisons)
    margin = torch.tensor([value for item in comparisons for value in item.margins], device=rewards.device)
    weight = torch.tensor([value for item in comparisons for value in item.weights], device=rewards.device)
    return bradley_terry_loss(rewards[chosen], rewards[rejected], margin=margin, weight=weight) * len(chosen)


@torch.inference_mode()
def _centre(config: RewardModelConfig, model: PreTrainedModel, demonstrated: Sequence[Tree], kept: Path | None) -> None:
    """Make the mean score of the demonstrations 0, in weights that stock `transformers` loads.

    The head has no bias there, so its component along the mean final hidden state m is removed:
    w <- w - (w.m / m.m) m. Then w.m = 0, which is the mean score.
    """
    path = kept / f"{content_key('mean state', demonstrated)}.npy" if kept else None
    centre = torch.from_numpy(cached(path, lambda: _mean_state(config, model, demonstrated))).to(device())
    with whole(model) as reader:
        weight = score_head(reader).weight.clone()
    along = (weight.double() @ centre) / (centre @ centre)
    overwrite(score_head(model).weight, (weight.double() - along[:, None] * centre[None, :]).to(weight.dtype))


def _mean_state(config: RewardModelConfig, model: PreTrainedModel, trees: Sequence[Tree]) -> NDArray[np.float64]:
    """Mean final hidden state at the last tokens of all responses, shape ``[D]``."""
    total = torch.zeros(score_head(model).in_features, dtype=torch.float64)
    with whole(model) as reader:
        mine = [trees[place] for place in shares([tree.size for tree in trees], ranks())[rank()]]
        for group in token_batches([tree.size for tree in mine], config.optimiser.max_tokens):
            states = last_states(reader, lay([mine[place] for place in group], device()))
            total += states.double().sum(dim=0).cpu()
    found: NDArray[np.float64] = (torch.stack(gathered(total)).sum(dim=0) / len(trees)).numpy()
    return found


def _kept_scores(
    config: RewardModelConfig, model: PreTrainedModel, demonstrated: Sequence[Tree], kept: Path | None
) -> NDArray[np.float64]:
    """Scores of the demonstrations by the centred model, shape ``[N]``, in logits."""
    path = kept / f"{content_key('centred scores', demonstrated, config.optimiser.precision)}.npy" if kept else None
    return cached(path, lambda: _numbers(score_trees(model, demonstrated, config.optimiser)))


def halves(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Held-out pairs that fit the temperature, and those that are judged; all pairs of a prompt are in one half."""
    place = {prompt: position for position, prompt in enumerate(dict.fromkeys(pair.prompt for pair in pairs))}
    first = [pair for pair in pairs if place[pair.prompt] % 2 == 0]
    return first, [pair for pair in pairs if place[pair.prompt] % 2 == 1]


def _numbers(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()


def _check_reload(config: RewardModelConfig, out: Path, pairs: Sequence[Pair], expected: NDArray[np.float64]) -> None:
    tokenizer = load_tokenizer(str(out))
    again = margins(config, load_reward_model(out, tokenizer), tokenizer, pairs[:64])
    if not np.allclose(again, expected[:64], atol=1e-4):
        raise RuntimeError(
            f"{out}: the saved reward model gives other scores than the trained one "
            f"(largest difference of a margin {np.abs(again - expected[:64]).max():.4g})"
        )
