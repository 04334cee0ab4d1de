"""Comparison of challenger and champion: paired figures on prompts and pairs that neither was trained on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.promotion.champion_answers import champion_policy_rows
from flows.promotion.sides import Sides, margins, unseen
from flows.registry.client import Registry
from flows.registry.dataset_uploads import fetch_snapshot
from flows.registry.learned_prompts import UsedTable, tables_of
from flows.registry.names import PARENT_PREFIX
from flows.registry.references import ModelRef
from flows.storage.records import read_demonstrations, read_pairs
from flows.storage.snapshots import SnapshotDamaged, read_split
from rlhf_core.config import Frozen
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Demonstration
from rlhf_core.evaluators.reward_model import score
from rlhf_core.evaluators.sft import held_out_losses
from rlhf_core.generation.sampling import generate
from rlhf_core.metrics.champion_evidence import (
    CHAMPION_FIGURES,
    JUDGE,
    REWARD,
    policy_rows,
    reward_model_rows,
    sft_rows,
)
from rlhf_core.metrics.paired import Paired

ROWS = 2000
"""Pairs or demonstrations that are compared at most."""

PROMPTS = 256
"""Prompts that are answered at most."""


SCORERS = {JUDGE: "judge", REWARD: "reward-model"}
"""What scores answers of policies, by what its scores are called: its role among the parents of the challenger."""

Row = TypeVar("Row")


class Comparison(Frozen):
    """What was found.

    Attributes:
        figures: by the name that figures of stages have, in the same unit.
        on: what it was measured on.
        notes: what to know when reading it.
        evidence: SHA-256 of the files of rows that the figures rest on, by name, where they are kept.
    """

    figures: dict[str, Paired] = {}
    on: str
    notes: tuple[str, ...] = ()
    evidence: dict[str, str] = {}


class Compared(NamedTuple):
    """A comparison with what it rests on.

    Attributes:
        evidence: the rows, by name; none where nothing could be compared.
        data: the table that they were held out from.
    """

    comparison: Comparison
    evidence: Mapping[str, pa.Table] = {}
    data: UsedTable | None = None


class MeasuredRows(NamedTuple):
    """Rows as both versions see them.

    Attributes:
        rows: tables by name.
        on: what the rows are.
        notes: what to know of them.
    """

    rows: dict[str, pa.Table]
    on: str
    notes: tuple[str, ...]


def compare(registry: Registry, config: LadderConfig, challenger: ModelRef, champion: ModelRef) -> Compared:
    """Measure two versions of a model on the held-out rows of the challenger's data.

    Rows are left out whose prompt either version, or anything that went into one or scores its answers, was trained on;
    and those on which a state was chosen, or a temperature fitted, where a figure depends on it.

    Args:
        registry: where both are.
        config: lengths and sampling.
        challenger: the version that may be promoted.
        champion: the one that it would replace.

    Returns:
        Paired figures; none, with the reason in the notes, where the data or the files of a model are not to be had, so
        that it cannot be known what a version was trained on, or the model is of a kind of which nothing can be
        measured alone.
    """
    kind = challenger.name.removeprefix(f"{config.project}-")
    if kind not in MEASURES:
        return Compared(Comparison(on="nothing", notes=(f"a {kind} model is not measured by itself",)))
    table, measure = MEASURES[kind]
    try:
        data = _snapshot(registry, challenger, table)
        measured = measure(Sides(registry, config, challenger, champion), data)
    except (FileNotFoundError, InputError, SnapshotDamaged) as error:
        return Compared(Comparison(on="nothing", notes=(f"not compared: {error}",)))
    figures, note = CHAMPION_FIGURES[kind](measured.rows)
    notes = tuple(filter(None, (*measured.notes, note)))
    return Compared(Comparison(figures=figures, on=measured.on, notes=notes), measured.rows, data)


def _reward_models(sides: Sides, data: UsedTable) -> MeasuredRows:
    known = unseen(sides, data, "pairs")
    pairs = _some([pair for pair in read_pairs(data, "test") if pair.prompt in known.prompts], ROWS)
    deltas = [margins(folder, pairs, sides.config.reward_model) for folder in sides.folders]
    rows = reward_model_rows(pairs, deltas, np.array([pair.prompt not in known.tuned for pair in pairs]))
    answered, note = champion_policy_rows(sides, ROWS)
    on = f"{len(pairs)} held-out pairs, {_name(data)}"
    return MeasuredRows(rows | answered, on, (*known.notes, *filter(None, [note])))


def _policies(sides: Sides, data: UsedTable) -> MeasuredRows:
    """Both answer the same prompts with the same chance, and models of the challenger's lineage score the answers."""
    registry, config = sides.registry, sides.config
    tags = registry.client.get_model_version(sides.challenger.name, sides.challenger.version).tags
    known = unseen(sides, data, "prompts")
    prompts = _some([prompt for prompt in known.prompts if prompt not in known.tuned], PROMPTS)
    answers = [generate(folder, prompts, config.policy.sampling, seed=config.seed) for folder in sides.folders]
    scorers = {name: registry.pin(tags[PARENT_PREFIX + role]) for name, role in SCORERS.items()}
    scores = {
        name: [
            _scores(registry.folder(scorer), prompts, [answer.text for answer in side], config.reward_model)
            for side in answers
        ]
        for name, scorer in scorers.items()
    }
    by = "; ".join(f"{name} by {scorer.label}" for name, scorer in scorers.items())
    rows = policy_rows(prompts, _sources(data, prompts), answers, scores)
    return MeasuredRows(rows, f"{len(prompts)} held-out prompts, {_name(data)}", (*known.notes, by))


def _sft_models(sides: Sides, data: UsedTable) -> MeasuredRows:
    known = unseen(sides, data, "demonstrations")
    rows = _some([row for row in read_demonstrations(data, "test") if row.prompt in known.prompts], ROWS)
    prompts = list(dict.fromkeys(row.prompt for row in rows))[:PROMPTS]
    config = sides.config
    losses = [held_out_losses(folder, rows, config.sft) for folder in sides.folders]
    answers = [generate(folder, prompts, config.sft.sampling, seed=config.seed) for folder in sides.folders]
    return MeasuredRows(
        sft_rows(rows, losses, prompts, answers), f"{len(rows)} held-out demonstrations, {_name(data)}", known.notes
    )


MEASURES: Mapping[str, tuple[str, Callable[[Sides, UsedTable], MeasuredRows]]] = {
    "reward-model": ("preferences", _reward_models),
    "judge": ("preferences", _reward_models),
    "policy": ("prompts", _policies),
    "sft": ("demonstrations", _sft_models),
}


def _some(rows: Sequence[Row], limit: int) -> Sequence[Row]:
    if not rows:
        raise FileNotFoundError("the two versions learned from every row that the challenger's data hold out")
    return rows[:limit]


def _scores(
    folder: Path, prompts: Sequence[str], texts: Sequence[str], config: RewardModelConfig
) -> NDArray[np.float64]:
    """Calibrated score of an answer to each prompt, shape ``[N]``."""
    return np.array(score(folder, list(map(Demonstration._make, zip(prompts, texts, strict=True))), config))


def _sources(data: UsedTable, prompts: Sequence[str]) -> list[str]:
    """The file that each held-out prompt comes from."""
    frame = read_split(data, "test")
    return list(map(dict(zip(frame["prompt"], frame["source"], strict=True)).__getitem__, prompts))


def _snapshot(registry: Registry, ref: ModelRef, table: str) -> UsedTable:
    """A table that a version was made or measured with, as it lies on this machine."""
    for used in tables_of(ref, registry):
        if used.name == table:
            return used._replace(path=fetch_snapshot(used.digest, used.path, ref, registry))
    raise FileNotFoundError(f"the run of {ref.label} names no {table}")


def _name(data: UsedTable) -> str:
    return f"{data.name} {data.digest[:12]}"
