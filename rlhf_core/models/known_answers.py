"""Known answers: what a saved model says of 16 texts, to be checked wherever it is loaded."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.data.array_cache import content_key
from rlhf_core.data.packing import Row
from rlhf_core.data.records import Demonstration
from rlhf_core.data.tokenizer import Tree, encode
from rlhf_core.distributed import rank, wait
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.scoring import read_responses

KNOWN = "known_answers.json"
"""The file beside a saved model with what it says of a few texts."""

KNOWN_COUNT = 16

KNOWN_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
"""How far that may be off on average, in nats per token or logits, by the coarser precision of then and now."""


class SelfTestError(RuntimeError):
    """A known quantity has another value: training, or what is measured of it, would be wrong."""


def save_known_answers(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Demonstration],
    values: NDArray[np.float64],
    config: OptimiserConfig,
    lengths: Lengths,
) -> None:
    """Keep what a model says of a few texts beside it, for `check_known_answers` of whoever reads it later.

    Args:
        folder: of the saved model.
        tokenizer: with which it read the texts.
        items: N texts, of which the first that were not cut are kept.
        values: what it says of each, shape ``[N]``: an SFT model by `mean_logprobs`, a reward model its score.
        config: precision in which it said so.
        lengths: at which they were cut.
    """
    candidates = items[: 4 * KNOWN_COUNT]
    trees = encode(tokenizer, candidates, lengths)
    indices = _whole(trees, tokenizer, lengths.max_prompt_tokens)[:KNOWN_COUNT]
    rows = [
        {
            **candidates[index]._asdict(),
            "value": round(float(values[index]), 6),
            "tokens": content_key(trees[index]),
        }
        for index in indices
    ]
    if rank() == 0:
        text = json.dumps({"precision": config.precision, "answers": rows}, ensure_ascii=False, indent=1)
        (folder / KNOWN).write_text(text + "\n", encoding="utf-8")
    wait()


def check_known_answers(
    name: str,
    folder: Path,
    say: Callable[[list[Tree]], Tensor],
    tokenizer: PreTrainedTokenizerBase,
    config: OptimiserConfig,
    lengths: Lengths,
) -> None:
    """Test that a frozen model still says of known texts what it said when it was saved.

    It does not where texts reach it as other tokens, by another chat template or without their end, where weights were
    lost in loading or have moved since, or where it is another model.

    Args:
        name: of the model, for people.
        folder: it was loaded from; without known answers, as of a model that was made elsewhere, nothing is tested.
        say: what it says of B trees of one response, shape ``[B]``.
        tokenizer: with which texts are written for it here.
        config: precision here.
        lengths: at which texts are cut here; what would be cut is not asked.

    Raises:
        SelfTestError: if a text reaches it as other tokens than those in the file, or what it says is further off on
            average than precision explains.
    """
    path = folder / KNOWN
    if not path.exists():
        return
    record = json.loads(path.read_text(encoding="utf-8"))
    items = [Demonstration(row["prompt"], row["response"]) for row in record["answers"]]
    trees = encode(tokenizer, items, lengths)
    indices = _whole(trees, tokenizer, lengths.max_prompt_tokens)
    if not indices:
        return
    _check_tokens(name, [(record["answers"][index], trees[index]) for index in indices])
    expected = torch.tensor([record["answers"][index]["value"] for index in indices], dtype=torch.float64)
    gap = float((say([trees[index] for index in indices]).double().cpu() - expected).abs().mean())
    tolerance = max(KNOWN_TOLERANCE[precision] for precision in (record["precision"], config.precision))
    if not gap <= tolerance:
        raise SelfTestError(
            f"self-test 'the {name} says what it said when it was saved' failed: of {len(indices)} known answers "
            f"({KNOWN}) it is off by {gap:.4g} on average (limit {tolerance}); texts reach it by another chat template "
            "or without their end, weights were lost in loading or have moved since, or it is another model"
        )


def _check_tokens(name: str, answers: Sequence[tuple[dict[str, Any], Tree]]) -> None:
    """Test that texts are the tokens that they were; files of earlier versions do not say."""
    changed = [row["prompt"] for row, tree in answers if row.get("tokens") not in (None, content_key(tree))]
    if changed:
        raise SelfTestError(
            f"self-test 'the {name} says what it said when it was saved' failed: {len(changed)} of {len(answers)} "
            f"known answers ({KNOWN}) reach it as other tokens than then, such as that to {changed[0][:60]!r}; "
            "chat template or tokenizer are others here, or the template writes something else each time"
        )


def mean_logprobs(model: PreTrainedModel, trees: Sequence[Tree], config: OptimiserConfig) -> Tensor:
    """Log-probability of each of B responses, a mean over its tokens, shape ``[B]``, nats."""
    return read_responses(model, trees, config, _mean_logprobs).squeeze(1)


def _mean_logprobs(model: PreTrainedModel, row: Row) -> Tensor:
    logprobs, _ = response_logprobs(model, row)
    tokens = [count for responses in row.responses for count in responses]
    return torch.stack([part.mean() for part in logprobs.split(tokens)])[:, None]


def _whole(trees: Sequence[Tree], tokenizer: PreTrainedTokenizerBase, max_prompt_tokens: int) -> list[int]:
    """Indices of the trees of one response of which nothing was cut."""
    return [
        index
        for index, tree in enumerate(trees)
        if tree.responses[0][-1] == tokenizer.eos_token_id and len(tree.prompt) < max_prompt_tokens
    ]
