"""Direct preference optimisation: the policy is trained on preference pairs, anchored to the SFT model by KL."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.config.dpo import DPOConfig
from rlhf_core.data.array_cache import cached, content_key
from rlhf_core.data.packing import lay
from rlhf_core.data.pair_trees import PairTree, compare, sides, told_apart
from rlhf_core.data.records import Pair
from rlhf_core.data.tokenizer import Tree, load_tokenizer
from rlhf_core.distributed import Loss, LossFigures, together
from rlhf_core.evaluators.policy import PolicyEvaluator, halves
from rlhf_core.metrics.calibration import hits
from rlhf_core.metrics.estimates import Estimate, mean, share
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.loading import digest, load_policy, save
from rlhf_core.models.lora import add_adapter
from rlhf_core.models.precision import device, precision, to_numpy
from rlhf_core.objectives import dpo_loss, ipo_loss
from rlhf_core.rewards.terms import NO_MODELS
from rlhf_core.training.checkpoint import NEVER, Checkpoints
from rlhf_core.training.doing import doing
from rlhf_core.training.loop import fit
from rlhf_core.training.stage import Stage, StageResult


class Anchored(NamedTuple):
    """The pairs of one prompt with what the SFT model says about their responses.

    Attributes:
        comparison: the pairs.
        ref_logprobs: log-probability of each response of its tree under the SFT model, shape ``[B]``, nats.
    """

    comparison: PairTree
    ref_logprobs: Tensor


def train_policy(
    config: DPOConfig,
    *,
    sft: Path,
    reward_model: Path,
    judge: Path,
    train: Sequence[Pair],
    held_out: Sequence[Pair],
    held_out_prompts: Sequence[str],
    out: Path,
    seed: int,
    term_models: Mapping[str, Path] = NO_MODELS,
    cache: Path | None = None,
    checkpoints: Checkpoints = NEVER,
    tuned: Collection[str] | None = None,
) -> Stage:
    """Train a policy by `train_dpo` and measure its answers as those of PPO's policy are, on the same prompts.

    Args:
        config: hyper-parameters.
        sft: folder of the SFT model: the policy's start and the reference.
        reward_model: folder of the reward model, which only measures here.
        judge: folder of a reward model trained on other pairs, which measures too.
        train: pairs to learn from.
        held_out: pairs to measure on.
        held_out_prompts: those that are not `tuned` give the figures of the answers.
        out: folder that receives `policy`.
        seed: seed of order and answers.
        term_models: folders of the further reward models of `config.reward`, by the name of their term.
        cache: folder that keeps what the SFT model says of pairs, and its answers to prompts with their scores, by
            content; None keeps nothing.
        checkpoints: where the stage keeps its state and goes on from.
        tuned: as of PPO, which watches them; `tuning_half` unless they are named.

    Yields:
        The metrics of `train_dpo`.

    Returns:
        Artifact `policy`; the estimates of `train_dpo` and of `PolicyEvaluator.evaluate`; series `margin`.

    Raises:
        ValueError: as `train_dpo`, or if there are fewer than four held-out prompts.
    """
    _, judged = halves(config, held_out_prompts, tuned)
    result = yield from train_dpo(
        config,
        sft=sft,
        train=train,
        held_out=held_out,
        out=out / "policy",
        seed=seed,
        cache=cache,
        checkpoints=checkpoints,
    )
    models = {"sft": sft, "reward_model": reward_model, "judge": judge}
    evaluator = PolicyEvaluator(config, **models, seed=seed, term_models=term_models, cache=cache)
    evaluation = evaluator.evaluate(out / "policy", judged)
    return replace(
        result,
        estimates=result.estimates | evaluation.estimates,
        evidence=evaluation.evidence,
        samples=evaluation.samples,
    )


def train_dpo(
    config: DPOConfig,
    *,
    sft: Path,
    train: Sequence[Pair],
    held_out: Sequence[Pair],
    out: Path,
    seed: int,
    cache: Path | None = None,
    checkpoints: Checkpoints = NEVER,
) -> Stage:
    """Train on preference pairs, starting from the SFT model that is also the reference.

    Args:
        config: hyper-parameters.
        sft: folder of the SFT model.
        train: pairs to learn from.
        held_out: pairs to measure on; those count that are told apart once cut.
        out: folder that receives the model.
        seed: seed of the order.
        cache: folder that keeps log-probabilities under the SFT model, by the content of model and pairs; None keeps
            nothing.
        checkpoints: where the stage keeps its state and goes on from.

    Yields:
        Over the pairs of an optimiser step: `loss_nats` (squared nats for IPO), the mean gap of implicit rewards
        `margin`, the share `agreement` of positive gaps; and `lr`.

    Returns:
        Artifact `policy`; held-out loss, margin and agreement of implicit rewards; series `margin`, the gap of each
        held-out pair by prompt.

    Raises:
        ValueError: if there are no pairs to learn from or to measure on, IPO is given pairs with a margin, or an
            adapter shall be on layers that the SFT model has not.
    """
    _check_pairs(config, train, held_out)
    doing(f"loading the SFT model, and asking it about {len(train):,} pairs and {len(held_out):,} held-out ones")
    tokenizer = load_tokenizer(str(sft))
    held_out = told_apart(tokenizer, held_out, config.sampling.max_response_tokens)
    policy = load_policy(sft, tokenizer)  # until its first step it is the reference
    folder = cache / digest(sft) if cache else None
    train_items, held_out_items = (
        anchor(config, policy, compare(tokenizer, pairs, config.sampling.lengths), folder)
        for pairs in (train, held_out)
    )
    if config.adapter is not None:
        add_adapter(policy, config.adapter, seed=seed)
    yield from fit(
        policy,
        train_items,
        config.optimiser,
        checkpoints,
        size=lambda item: item.comparison.tree.size,
        loss=partial(_loss, config),
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=seed,
    )
    save(policy, tokenizer, out)
    figures, gaps = _judge(config, policy, held_out_items)
    return StageResult(artifacts={"policy": out}, estimates=figures, series={"margin": gaps.tolist()})


def anchor(
    config: DPOConfig, reference: PreTrainedModel, comparisons: Sequence[PairTree], folder: Path | None
) -> list[Anchored]:
    """Score every response once by the reference, or read what an earlier run kept.

    Args:
        config: precision, temperature and tokens of one forward pass.
        reference: the SFT model.
        comparisons: pairs by prompt.
        folder: folder of what is kept for this very model; None keeps nothing.

    Returns:
        The comparisons, in the same order, with log-probabilities under the reference.
    """
    trees = [item.tree for item in comparisons]

    @torch.inference_mode()
    def read(reader: PreTrainedModel, group: list[int]) -> list[Tensor]:
        chosen = [trees[index] for index in group]
        logprobs = _sequence_logprobs(config, reader, chosen).cpu()
        return list(logprobs.split([len(tree.responses) for tree in chosen]))

    def compute() -> NDArray[np.float32]:
        sizes = [tree.size for tree in trees]
        return torch.cat(together(reference, sizes, config.optimiser.max_tokens, read)).numpy()

    key = content_key(trees, config.optimiser.precision, config.sampling.temperature)
    logprobs = torch.from_numpy(cached(folder / f"{key}.npy" if folder else None, compute)).to(device())
    parts = logprobs.split([len(tree.responses) for tree in trees])
    return [Anchored(*pair) for pair in zip(comparisons, parts, strict=True)]


def pair_losses(config: DPOConfig, policy: PreTrainedModel, items: Sequence[Anchored]) -> tuple[Tensor, Tensor]:
    """Loss and gap of implicit rewards of each of P pairs, both shape ``[P]``, with gradient; one forward pass."""
    trees = [item.comparison.tree for item in items]
    logprobs = _sequence_logprobs(config, policy, trees)
    ref_logprobs = torch.cat([item.ref_logprobs for item in items])
    chosen, rejected = sides([item.comparison for item in items])
    views = (logprobs[chosen], logprobs[rejected], ref_logprobs[chosen], ref_logprobs[rejected])
    if config.loss == "ipo":
        tokens = torch.tensor(_lengths(trees), device=logprobs.device)
        losses, won, lost = ipo_loss(*views, tokens[chosen], tokens[rejected], beta=config.beta)
    else:
        margin = torch.tensor([value for item in items for value in item.comparison.margins], device=logprobs.device)
        losses, won, lost = dpo_loss(*views, beta=config.beta, label_smoothing=config.label_smoothing, margin=margin)
    return losses, won - lost


def _check_pairs(config: DPOConfig, train: Sequence[Pair], held_out: Sequence[Pair]) -> None:
    if not train or not held_out:
        raise ValueError(f"DPO needs pairs on both sides: {len(train)} to learn from, {len(held_out)} held out")
    if config.loss == "ipo" and any(pair.margin for pair in (*train, *held_out)):
        raise ValueError("IPO knows no margin: set the margins of the pairs to 0, or loss to sigmoid")


def _sequence_logprobs(config: DPOConfig, model: PreTrainedModel, trees: Sequence[Tree]) -> Tensor:
    """Log-probability of each of the B responses of some trees, summed over its tokens, shape ``[B]``, nats."""
    row = lay(trees, device())
    with precision(config.optimiser):
        logprobs, _ = response_logprobs(model, row, sampling_temperature=config.sampling.temperature)
    return torch.stack([tokens.sum() for tokens in logprobs.split(_lengths(trees))])


def _lengths(trees: Sequence[Tree]) -> list[int]:
    """Tokens of each response."""
    return [len(response) for tree in trees for response in tree.responses]


def _loss(config: DPOConfig, batch: list[Anchored]) -> Loss:
    """Loss of some prompts over the count of pairs of all, weighted as the reward model weighs it."""
    pairs = sum(len(item.comparison.chosen) for item in batch)

    def loss(policy: PreTrainedModel, group: list[int]) -> tuple[Tensor, LossFigures]:
        items = [batch[index] for index in group]
        losses, gaps = pair_losses(config, policy, items)
        weight = losses.new_tensor([value for item in items for value in item.comparison.weights])
        part, gaps = (losses * weight).sum() / pairs, gaps.detach()
        agreed = gaps.heaviside(gaps.new_tensor(0.5))
        return part, {"loss_nats": part.detach(), "margin": gaps.sum() / pairs, "agreement": agreed.sum() / pairs}

    return loss


@torch.inference_mode()
def _judge(
    config: DPOConfig, policy: PreTrainedModel, items: list[Anchored]
) -> tuple[dict[str, Estimate], NDArray[np.float64]]:
    """Figures of held-out pairs with intervals over prompts, and the gap of implicit rewards of each pair."""
    counts = [len(item.comparison.chosen) for item in items]

    def read(reader: PreTrainedModel, group: list[int]) -> list[tuple[Tensor, ...]]:
        losses_and_gaps = pair_losses(config, reader, [items[index] for index in group])
        pieces = (values.cpu().split([counts[index] for index in group]) for values in losses_and_gaps)
        return list(zip(*pieces, strict=True))

    results = together(policy, _sizes(items), config.optimiser.max_tokens, read)
    losses, gaps = (to_numpy(torch.cat(parts)) for parts in zip(*results, strict=True))
    prompts = np.repeat(np.arange(len(items)), counts)
    figures = {"held_out_loss": mean(losses, prompts), "margin": mean(gaps, prompts)}
    return {**figures, "agreement": share(hits(gaps), prompts)}, gaps


def _sizes(items: Sequence[Anchored]) -> list[int]:
    """Tokens of each prompt with its responses."""
    return [item.comparison.tree.size for item in items]
