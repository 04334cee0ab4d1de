"""What is known before and while a policy trains: a quantity with another value means that training would be wrong."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.batching import Row
from rlhf_core.config.ppo import UpdateConfig
from rlhf_core.config.training import OptimiserConfig
from rlhf_core.experience import Rollout, all_logprobs
from rlhf_core.models import response_logprobs
from rlhf_core.objectives import kl_k3
from rlhf_core.parallel import rank, wait
from rlhf_core.records import Demonstration
from rlhf_core.scoring import read_responses
from rlhf_core.text import Tree, encode

TOLERANCE_NATS = {"float32": 1e-3, "bfloat16": 0.25}
"""How far the log-probability of a token may differ between two ways of computing it, by precision."""
KNOWN = "known_answers.json"
"""The file beside a saved model with what it says of a few texts."""
KNOWN_COUNT = 16
KNOWN_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
"""How far that may be off on average, in nats per token or logits, by the coarser precision of then and now."""


class SelfTestError(RuntimeError):
    """A known quantity has another value: training, or what is measured of it, would be wrong."""


def check_first_pass(config: UpdateConfig, policy: PreTrainedModel, rollout: Rollout, ref_logprobs: Tensor) -> None:
    """Test, before the first update, what must hold whatever the data.

    Args:
        config: precision and temperature.
        policy: still equal to the SFT model.
        rollout: its responses.
        ref_logprobs: log-probabilities of their tokens under the reference, shape ``[B, T]``, nats.

    Raises:
        SelfTestError: naming the test that failed, the figure and the likely cause.
    """
    tolerance = TOLERANCE_NATS[config.optimiser.precision]
    first, second = (
        all_logprobs(policy, rollout, config.optimiser, sampling_temperature=config.sampling.temperature)
        for _ in range(2)
    )
    moved = float((torch.exp(second - first) - 1.0).abs().max())
    if not moved <= tolerance:
        raise SelfTestError(
            f"self-test 'ratio is 1 on the first pass' failed: it is off by {moved:.4g} (limit {tolerance}); "
            "dropout or another source of chance is active in the policy"
        )
    off = float((first - rollout.logprobs).abs().max())
    if not off <= tolerance:
        raise SelfTestError(
            f"self-test 'sampling log-probabilities equal teacher-forced ones' failed: they differ by up to {off:.4g} "
            f"nats per token (limit {tolerance}); sampling and scoring disagree on padding, positions or temperature"
        )
    drift = float(kl_k3(rollout.logprobs, ref_logprobs, rollout.mask).mean())
    if not drift <= tolerance:
        raise SelfTestError(
            f"self-test 'KL to the reference is 0 before the first update' failed: it is {drift:.4g} nats per response "
            f"(limit {tolerance}); policy and reference are not the same SFT model"
        )


def check_engine(config: UpdateConfig, gap: Mapping[str, float]) -> None:
    """Test that an engine with a forward of its own samples from the policy.

    Args:
        config: precision.
        gap: what `roll_out` found; empty for an engine that has the trainer's forward.

    Raises:
        SelfTestError: if its log-probabilities are further off on average than precision explains.
    """
    tolerance = TOLERANCE_NATS[config.optimiser.precision]
    off = gap.get("rollout_logprob_gap_nats", 0.0)
    if not off <= tolerance:
        raise SelfTestError(
            f"self-test 'the engine samples from the policy' failed: its log-probabilities are off by {off:.4g} nats "
            f"per token (limit {tolerance}); set sampling.engine to eager, whose forward is the trainer's"
        )


def remember(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Demonstration],
    values: NDArray[np.float64],
    config: OptimiserConfig,
    *,
    max_prompt_tokens: int,
    max_response_tokens: int,
) -> None:
    """Keep what a model says of a few texts beside it, for `check_known` of whoever reads it later.

    Args:
        folder: of the saved model.
        tokenizer: with which it read the texts.
        items: N texts, of which the first that were not cut are kept.
        values: what it says of each, shape ``[N]``: an SFT model by `mean_logprobs`, a reward model its score.
        config: precision in which it said so.
        max_prompt_tokens: the length at which prompts were cut.
        max_response_tokens: the length at which responses were cut.
    """
    looked_at = items[: 4 * KNOWN_COUNT]
    trees = encode(tokenizer, looked_at, max_prompt_tokens=max_prompt_tokens, max_response_tokens=max_response_tokens)
    kept = _whole(trees, tokenizer, max_prompt_tokens)[:KNOWN_COUNT]
    rows = [{**looked_at[place]._asdict(), "value": round(float(values[place]), 6)} for place in kept]
    if rank() == 0:
        text = json.dumps({"precision": config.precision, "answers": rows}, ensure_ascii=False, indent=1)
        (folder / KNOWN).write_text(text + "\n", encoding="utf-8")
    wait()


def check_known(
    name: str,
    folder: Path,
    say: Callable[[list[Tree]], Tensor],
    tokenizer: PreTrainedTokenizerBase,
    config: OptimiserConfig,
    *,
    max_prompt_tokens: int,
    max_response_tokens: int,
) -> None:
    """Test that a frozen model still says of known texts what it said when it was saved.

    It does not where texts reach it by another chat template or without their end, where weights were lost in loading
    or have moved since, or where it is another model.

    Args:
        name: of the model, for people.
        folder: it was loaded from; without known answers, as of a model that was made elsewhere, nothing is tested.
        say: what it says of B trees of one response, shape ``[B]``.
        tokenizer: with which texts are written for it here.
        config: precision here.
        max_prompt_tokens: the length at which prompts are cut here; what would be cut is not asked.
        max_response_tokens: the length at which responses are cut here.

    Raises:
        SelfTestError: if what it says is further off on average than precision explains.
    """
    path = folder / KNOWN
    if not path.exists():
        return
    known = json.loads(path.read_text(encoding="utf-8"))
    items = [Demonstration(row["prompt"], row["response"]) for row in known["answers"]]
    trees = encode(tokenizer, items, max_prompt_tokens=max_prompt_tokens, max_response_tokens=max_response_tokens)
    asked = _whole(trees, tokenizer, max_prompt_tokens)
    if not asked:
        return
    expected = torch.tensor([known["answers"][place]["value"] for place in asked], dtype=torch.float64)
    off = float((say([trees[place] for place in asked]).double().cpu() - expected).abs().mean())
    tolerance = max(KNOWN_TOLERANCE[precision] for precision in (known["precision"], config.precision))
    if not off <= tolerance:
        raise SelfTestError(
            f"self-test 'the {name} says what it said when it was saved' failed: of {len(asked)} known answers "
            f"({KNOWN}) it is off by {off:.4g} on average (limit {tolerance}); texts reach it by another chat template "
            "or without their end, weights were lost in loading or have moved since, or it is another model"
        )


def mean_logprobs(model: PreTrainedModel, trees: Sequence[Tree], config: OptimiserConfig) -> Tensor:
    """Log-probability of each of B responses, a mean over its tokens, shape ``[B]``, nats."""
    return read_responses(model, trees, config, _mean_logprobs).squeeze(1)


def _mean_logprobs(model: PreTrainedModel, row: Row) -> Tensor:
    logprobs, _ = response_logprobs(model, row)
    tokens = [count for responses in row.responses for count in responses]
    return torch.stack([part.mean() for part in logprobs.split(tokens)])[:, None]


def _whole(trees: Sequence[Tree], tokenizer: PreTrainedTokenizerBase, max_prompt_tokens: int) -> list[int]:
    """Places of the trees of one response of which nothing was cut."""
    return [
        place
        for place, tree in enumerate(trees)
        if tree.responses[0][-1] == tokenizer.eos_token_id and len(tree.prompt) < max_prompt_tokens
    ]
