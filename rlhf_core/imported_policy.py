"""A policy that was trained elsewhere: taken with its weights, and measured as those that are trained here."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.policy import PolicyConfig
from rlhf_core.data.chat_template import pinned_day
from rlhf_core.data.model_settings import read_config
from rlhf_core.data.same_tokens import check_same_tokens
from rlhf_core.data.stop_tokens import listed_stops, stop_ids
from rlhf_core.data.tokenizer import allows_special_tokens, load_tokenizer
from rlhf_core.distributed import rank, wait
from rlhf_core.evaluators.policy import PolicyEvaluator, halves
from rlhf_core.models.fitness import check_lengths
from rlhf_core.models.loading import load_policy, save
from rlhf_core.models.model_files import check_files, keep_notes
from rlhf_core.rewards.terms import NO_MODELS
from rlhf_core.training.stage import Stage, StageResult

MEND = (
    "KL to the SFT model is over tokens, so both must write the same ones: train it from that model, or from the same "
    "base with its tokenizer"
)


def import_policy(
    config: PolicyConfig,
    *,
    source: Path,
    sft: Path,
    reward_model: Path,
    judge: Path,
    held_out_prompts: Sequence[str],
    out: Path,
    seed: int,
    term_models: Mapping[str, Path] = NO_MODELS,
    cache: Path | None = None,
    tuned: Collection[str] | None = None,
    day: date | None = None,
) -> Stage:
    """Take a policy that was trained elsewhere, and measure its answers as those of PPO's are, on the same prompts.

    Args:
        config: sampling and precision.
        source: folder of a causal language model that writes the tokens of the SFT model.
        sft: folder of the SFT model, which it is measured against.
        reward_model: folder of the reward model.
        judge: folder of the reward model that only measures.
        held_out_prompts: those that are not `tuned` give the figures.
        out: folder that receives `policy`.
        seed: seed of the answers.
        term_models: as of `PolicyEvaluator`.
        cache: as of `PolicyEvaluator`.
        tuned: as of `halves`.
        day: to which a chat template that reads the clock is pinned; None is the day of the SFT model's, else today.

    Yields:
        Nothing: no step is taken.

    Returns:
        Artifact `policy`; the estimates of `PolicyEvaluator.evaluate`.

    Raises:
        ValueError: if its weights are not whole, or it writes, or may write, other tokens than the SFT model.
    """
    yield from ()
    _, judged = halves(config, held_out_prompts, tuned)
    check_files(source)
    check_lengths(read_config(source), config.sampling.lengths, "sampling")
    tokenizer = load_tokenizer(str(sft))
    check_writes_alike(source, tokenizer, judged, day=day or pinned_day(sft))
    _copy(source, tokenizer, sft, out / "policy")
    models = {"sft": sft, "reward_model": reward_model, "judge": judge}
    evaluator = PolicyEvaluator(config, **models, seed=seed, term_models=term_models, cache=cache)
    evaluation = evaluator.evaluate(out / "policy", judged)
    return StageResult(artifacts={"policy": out / "policy"}, **evaluation._asdict())


def check_writes_alike(
    source: Path, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, day: date | None = None
) -> None:
    """See that the tokenizer in a policy's folder writes the tokens of the SFT model.

    Raises:
        ValueError: as `check_same_tokens`, with the mend.
    """
    try:
        theirs = load_tokenizer(str(source), day=day, allow=allows_special_tokens(tokenizer))
        check_same_tokens(theirs, tokenizer, prompts)
    except ValueError as error:
        raise ValueError(f"{error}. {MEND}") from None


def _copy(source: Path, tokenizer: PreTrainedTokenizerBase, sft: Path, out: Path) -> None:
    """Save a policy with the SFT model's tokenizer, in the precision that it came in."""
    policy = load_policy(source, tokenizer)
    _check_vocabulary(policy, sft)
    _check_stops(policy, tokenizer, sft)
    nn.Module.to(policy, read_config(source).dtype or torch.float32)
    save(policy, tokenizer, out)
    if rank() == 0:
        keep_notes(source, out)
    wait()


def _check_vocabulary(policy: PreTrainedModel, sft: Path) -> None:
    rows, known = (config.get_text_config().vocab_size for config in (policy.config, read_config(sft)))
    if rows > known:
        raise ValueError(
            f"its vocabulary has {rows} rows, and that of the SFT model {known}, which cannot say how likely more "
            f"tokens are; cut them off by `resize_token_embeddings({known})` before `save_pretrained`"
        )


def _check_stops(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sft: Path) -> None:
    theirs, ours = sorted(stop_ids(policy)), sorted(listed_stops(str(sft)))
    if theirs != ours:
        names = [tokenizer.convert_ids_to_tokens(ids) for ids in (theirs, ours)]
        raise ValueError(
            f"its answers end at {', '.join(names[0])}, and those of the SFT model at {', '.join(names[1])}; set "
            f"eos_token_id in its generation_config.json to {ours} if it was trained so"
        )
