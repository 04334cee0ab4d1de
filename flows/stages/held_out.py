"""What judges a stage: held-out rows whose prompts no model that goes in, which may be from elsewhere, has learned."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from flows.config.errors import InputError
from flows.registry.client import Registry
from flows.registry.learned_prompts import SeenRows, learned_prompts, leave_out, matching, tuned_prompts
from flows.registry.references import DataRefs, ModelRef
from flows.storage.records import read_pairs, read_prompts
from flows.storage.snapshots import read_split
from rlhf_core.data.records import Pair, tuning_half
from rlhf_core.training.stage import Stage

FEWEST = 2
"""Prompts that a stage is tuned on at least, and that judge it."""


class HeldOut(NamedTuple):
    """Rows of the test splits of a climb's tables.

    Attributes:
        pairs: of the preferences.
        tuned_by_pairs: prompts of pairs that a stage is tuned on, `tuning_half` of the whole table, which is what
            `tuned_prompts` finds in it later, whatever was left out; and those that a model that is taken was tuned on.
        prompts: of the prompts.
        tuned_by_prompts: the same of these.
        note: how many are left out and what was trained on them, empty where none is.
    """

    pairs: list[Pair]
    tuned_by_pairs: set[str]
    prompts: list[str]
    tuned_by_prompts: set[str]
    note: str


def held_out(
    data: DataRefs, models: Iterable[ModelRef], registry: Registry, *, taken: ModelRef | None = None
) -> HeldOut:
    """What is held out from some models and all that they were made from.

    Args:
        data: the tables of a climb.
        models: all that go into a stage.
        registry: where they are.
        taken: one of them that keeps its temperature or state: what that was fitted or chosen on counts as tuned on,
            and judges nothing.

    Raises:
        InputError: if it cannot be known what one of them was trained on, or too little is left.
    """
    learned = learned_prompts(models, registry)
    tables = {"pairs": data.preferences, "prompts": data.prompts}
    seen = {what: leave_out(read_split(table, "test"), learned) for what, table in tables.items()}
    pairs, prompts = read_pairs(data.preferences, "test"), read_prompts(data.prompts, "test")
    by_pairs, by_prompts = tuning_half(pair.prompt for pair in pairs), tuning_half(prompts)
    tuned = np.empty(0, dtype=np.uint64) if taken is None else tuned_prompts(taken, registry)
    more = matching({pair.prompt for pair in pairs}, tuned) - by_pairs, matching(prompts, tuned) - by_prompts
    by_pairs, by_prompts = by_pairs | more[0], by_prompts | more[1]
    note = ". ".join(_sentences(seen, set().union(*more)))
    pairs = [pair for pair in pairs if pair.prompt not in seen["pairs"].prompts]
    prompts = [prompt for prompt in prompts if prompt not in seen["prompts"].prompts]
    left = (({pair.prompt for pair in pairs}, by_pairs), (set(prompts), by_prompts))
    if note and min(len(part) for texts, tuned in left for part in (texts & tuned, texts - tuned)) < FEWEST:
        raise InputError(
            f"fewer than {FEWEST} held-out prompts are left to tune on, or to judge by: {note}. Train on the data, "
            "shares and seed that those models were trained with, or add rows with other prompts"
        )
    return HeldOut(pairs, by_pairs, prompts, by_prompts, note)


def _sentences(seen: Mapping[str, SeenRows], tuned: set[str]) -> Iterable[str]:
    yield from filter(None, (rows.sentence(f"held-out {what}") for what, rows in seen.items()))
    if tuned:
        yield f"{len(tuned)} more held-out prompts judge nothing, since the model that is taken was tuned on them"


def noted(stage: Stage, note: str) -> Stage:
    """A stage whose outcome also says what it was not judged by."""
    result = yield from stage
    return replace(result, outcome=". ".join(filter(None, (result.outcome, note))))
