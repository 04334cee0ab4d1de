"""Supervised fine-tuning: next-token cross-entropy on the tokens of the demonstrated responses."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.records import Demonstration
from rlhf_core.data.tokenizer import Tree, encode, load_tokenizer
from rlhf_core.distributed import Loss, LossFigures
from rlhf_core.evaluators.sft import compare_with_base, measure_sft, response_losses
from rlhf_core.models.experts import balance_coef, balance_loss, experts_per_token, recorded_routing
from rlhf_core.models.known_answers import save_known_answers
from rlhf_core.models.loading import load_policy, save
from rlhf_core.models.lora import add_adapter
from rlhf_core.models.precision import device
from rlhf_core.training.checkpoint import NEVER, Checkpoints
from rlhf_core.training.doing import doing
from rlhf_core.training.loop import fit
from rlhf_core.training.stage import Stage, StageResult


def train_sft(
    config: SFTConfig,
    *,
    base: Path,
    train: Sequence[Demonstration],
    held_out: Sequence[Demonstration],
    out: Path,
    seed: int,
    checkpoints: Checkpoints = NEVER,
) -> Stage:
    """Fine-tune a base on demonstrations.

    Args:
        config: hyper-parameters.
        base: folder of a causal language model.
        train: demonstrations to learn from.
        held_out: demonstrations to measure on.
        out: folder that receives the model.
        seed: seed of order and sampling.
        checkpoints: where the stage keeps its state and goes on from.

    Yields:
        `loss_nats` per response token (mean over the whole optimiser batch) and `lr`; of a mixture of experts also
        `expert_imbalance`, 1 where routers use all experts alike, at most experts over experts of a token.

    Returns:
        Artifact `sft`; held-out loss, EOS and regurgitation rates, before (`base_`) and after.

    Raises:
        ValueError: if an adapter shall be on layers that the base has not.
    """
    doing("loading the base, and trying how it is computed")
    tokenizer = load_tokenizer(str(base))
    model = load_policy(base, tokenizer)
    before = measure_sft(config, model, tokenizer, held_out, seed=seed)
    encoded = encode(tokenizer, train, config.sampling.lengths)
    if config.adapter is not None:
        add_adapter(model, config.adapter, seed=seed)
    yield from fit(
        model,
        encoded,
        config.optimiser,
        checkpoints,
        size=lambda tree: tree.size,
        loss=partial(_loss, config),
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=seed,
    )
    after = measure_sft(config, model, tokenizer, held_out, seed=seed)
    save(model, tokenizer, out)
    save_known_answers(out, tokenizer, held_out, -after.losses, config.optimiser, config.sampling.lengths)
    evaluation = compare_with_base(config, held_out, before, after)
    return StageResult(artifacts={"sft": out}, **evaluation._asdict())


def _loss(config: SFTConfig, trees: list[Tree]) -> Loss:
    """Cross-entropy of some demonstrations over the count of response tokens of all.

    Where the base asks for a load-balancing loss, it is added as stock training has it: that of the micro-batch, by the
    share of the tokens that it has.
    """
    tokens, sizes = sum(tree.response_tokens for tree in trees), sum(tree.size for tree in trees)

    def loss(model: PreTrainedModel, group: list[int]) -> tuple[Tensor, LossFigures]:
        chosen = [trees[index] for index in group]
        row = lay(chosen, device())
        with recorded_routing(model) as routing:
            part = response_losses(config, model, row).sum() / tokens
        figures = {"loss_nats": part.detach()}
        if (imbalance := balance_loss(model, row, routing)) is not None:
            share = sum(tree.size for tree in chosen) / sizes
            part = part + balance_coef(model) * share * imbalance
            figures["expert_imbalance"] = share * imbalance.detach() / experts_per_token(model)
        return part, figures

    return loss
