"""Audit of tokens: what the tokenizer of the base makes of all texts, counted before anything is trained on them."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from data_contracts.records import SPLIT, Kind
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import Pretrained
from flows.registry.references import DataRefs
from flows.report import warn
from flows.storage.snapshots import Split, read_parts
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.data.chat_template import is_fallback
from rlhf_core.data.pair_trees import alike
from rlhf_core.data.records import Pair
from rlhf_core.data.tokenizer import (
    allows_special_tokens,
    encode_prompts,
    encode_responses,
    load_tokenizer,
    special_tokens,
)

ALIKE_LIMIT = 0.5
"""Share of the pairs of a split that may be the same once cut; above it a setting takes most labels away."""

TEXTS: dict[Kind, tuple[str, ...]] = {
    "demonstrations": ("prompt", "response"),
    "preferences": ("prompt", "chosen", "rejected"),
    "prompts": ("prompt",),
}

SHOWN = 3
"""Special tokens that a line names."""


class PairLimit(NamedTuple):
    """How far a section of the configuration reads the responses of pairs, and of which splits."""

    field: str
    max_response_tokens: int
    splits: tuple[Split, ...]


def audit_tokens(config: LadderConfig, data: DataRefs, base: Path) -> dict[str, float]:
    """Count texts that write special tokens, and pairs that are the same once cut; print what there is.

    That a base from elsewhere brings no chat template is printed too.

    Args:
        config: with the lengths.
        data: the tables, of which all rows are looked at.
        base: folder with the tokenizer.

    Returns:
        Shares in [0, 1]: `data/<table>_special_tokens` of the rows, `data/<split>_pairs_alike_<section>` of the pairs.

    Raises:
        InputError: if a text cannot be written without its special tokens, or most pairs of a split are the same.
    """
    try:
        tokenizer = load_tokenizer(str(base))
    except ValueError as error:
        raise InputError(f"field 'base': {error}") from None
    if isinstance(config.base, Pretrained) and is_fallback(tokenizer.chat_template):
        [ids] = encode_prompts(tokenizer, ["..."], max_prompt_tokens=sys.maxsize)
        prompt = tokenizer.decode(ids)
        warn(f"the base brings no chat template, or the default one; prompts are written as {prompt}")
    figures: dict[str, float] = {}
    for table, columns in TEXTS.items():
        figures[f"data/{table}_special_tokens"] = _special(tokenizer, table, columns, Path(data.datasets[table].path))
    limits = list(_limits(config))
    for most in dict.fromkeys(limit.max_response_tokens for limit in limits):
        counts = _count_alike(tokenizer, most, Path(data.preferences.path))
        for limit in limits:
            if limit.max_response_tokens == most:
                figures |= _share_alike(limit, *counts)
    return figures


def _special(tokenizer: PreTrainedTokenizerBase, table: str, columns: tuple[str, ...], snapshot: Path) -> float:
    """Share of the rows of a table that write a special token; such texts are encoded, to see that they can be."""
    pattern, written = special_tokens(tokenizer), Counter[str]()
    rows = with_tokens = 0
    for part in read_parts(snapshot, columns):
        rows += len(part)
        for cells in part.itertuples(index=False):
            found = [token for text in cells for token in pattern.findall(text)]
            if not found:
                continue
            with_tokens += 1
            written.update(found)
            prompt, *responses = cells
            try:
                encode_prompts(tokenizer, [prompt], max_prompt_tokens=1)
                encode_responses(tokenizer, responses, 1)
            except ValueError as error:
                raise InputError(f"field 'data.{table}': {error}") from None
    if with_tokens:
        tokens = ", ".join(f"{token} {count}" for token, count in written.most_common(SHOWN))
        fate = "are read as such (special_tokens: allow)" if allows_special_tokens(tokenizer) else "stay text"
        warn(f"{with_tokens} of {rows} rows of {table} write special tokens of the base ({tokens}); they {fate}")
    return with_tokens / max(rows, 1)


def _limits(config: LadderConfig) -> Iterator[PairLimit]:
    """Whoever learns from pairs of the data by tokens of the base."""
    if config.reward_model.source is None:
        yield PairLimit("reward_model.max_response_tokens", config.reward_model.max_response_tokens, ("train", "test"))
    if config.judge.source is None:
        yield PairLimit("judge.max_response_tokens", config.judge.max_response_tokens, ("judge", "test"))
    if isinstance(config.policy, DPOConfig):
        limit = config.policy.sampling.max_response_tokens
        yield PairLimit("policy.sampling.max_response_tokens", limit, ("train", "test"))


def _count_alike(
    tokenizer: PreTrainedTokenizerBase, max_response_tokens: int, snapshot: Path
) -> tuple[Counter[str], Counter[str]]:
    """By split, the pairs that no model tells apart within so many tokens, and all pairs."""
    same, total = Counter[str](), Counter[str]()
    for part in read_parts(snapshot, ("prompt", "chosen", "rejected", SPLIT)):
        pairs = [Pair(*cells) for cells in part.drop(columns=SPLIT).itertuples(index=False)]
        splits = part[SPLIT].tolist()
        total.update(splits)
        is_same = alike(tokenizer, pairs, max_response_tokens)
        same.update(split for split, is_lost in zip(splits, is_same, strict=True) if is_lost)
    return same, total


def _share_alike(limit: PairLimit, same: Mapping[str, int], total: Mapping[str, int]) -> dict[str, float]:
    """Share of the pairs of each split that no model tells apart within a limit.

    Raises:
        InputError: if they are most of a split.
    """
    _tell(limit, same, total)
    section = limit.field.split(".")[0]
    return {f"data/{split}_pairs_alike_{section}": same[split] / total[split] for split in limit.splits if total[split]}


def _tell(limit: PairLimit, same: Mapping[str, int], total: Mapping[str, int]) -> None:
    for split in limit.splits:
        counts = f"{same[split]} of {total[split]} {split} pairs"
        lost = f"{counts} are the same once cut to {limit.max_response_tokens} tokens"
        if same[split] > ALIKE_LIMIT * total[split]:
            raise InputError(
                f"field '{limit.field}': {lost}, and nobody learns a preference from these (limit {ALIKE_LIMIT:.0%}); "
                "raise it, or take pairs whose answers differ earlier"
            )
        if same[split]:
            warn(f"{lost} ({limit.field}); they teach nothing and are left out of every agreement")
