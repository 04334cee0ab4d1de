"""Comparison of challenger and champion: paired figures on prompts and pairs that neither was trained on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import TAKEN
from flows.registry.client import Registry
from flows.registry.dataset_uploads import fetch_snapshot
from flows.registry.learned_prompts import (
    UsedTable,
    learned_prompts,
    leave_out,
    matching,
    tables_of,
    tuned_prompts,
)
from flows.registry.names import PARENT_PREFIX, TRAINED_BY_TAG
from flows.registry.references import ModelRef
from flows.registry.tags import imported
from flows.storage.records import read_demonstrations, read_pairs
from flows.storage.snapshots import SnapshotDamaged, read_split
from rlhf_core.config import Frozen
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.evaluators.reward_model import score
from rlhf_core.evaluators.sft import held_out_losses
from rlhf_core.generation.sampling import generate
from rlhf_core.metrics.calibration import hits, losses
from rlhf_core.metrics.challenge import gain_at_like_length, prompt_slices, worst_slice
from rlhf_core.metrics.estimates import Estimate, mean, share
from rlhf_core.metrics.win_rate import paired_gain, win_rate, wins

ROWS = 2000
"""Pairs or demonstrations that are compared at most."""

PROMPTS = 256
"""Prompts that are answered at most."""


ROLES = {"judge": "judge", "reward-model": "reward"}
"""What scores answers of policies, by its role among the parents of the challenger, and what its scores are called."""

Row = TypeVar("Row")


class Paired(Frozen):
    """A figure of both versions on the same rows.

    Attributes:
        challenger: None where the figure is about both at once.
        champion: as `challenger`.
        between: challenger less champion, paired; or what is said of both.
    """

    challenger: Estimate | None
    champion: Estimate | None
    between: Estimate


class Comparison(Frozen):
    """What was found.

    Attributes:
        figures: by the name that figures of stages have, in the same unit.
        on: what it was measured on.
        notes: what to know when reading it.
    """

    figures: dict[str, Paired] = {}
    on: str
    notes: tuple[str, ...] = ()


class Sides(NamedTuple):
    """Both versions and what it takes to measure them."""

    registry: Registry
    config: LadderConfig
    challenger: ModelRef
    champion: ModelRef

    @property
    def folders(self) -> tuple[Path, Path]:
        """Files of challenger and champion."""
        return self.registry.folder(self.challenger), self.registry.folder(self.champion)


def compare(registry: Registry, config: LadderConfig, challenger: ModelRef, champion: ModelRef) -> Comparison:
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
        return Comparison(on="nothing", notes=(f"a {kind} model is not measured by itself",))
    table, measure = MEASURES[kind]
    try:
        return measure(Sides(registry, config, challenger, champion), _snapshot(registry, challenger, table))
    except (FileNotFoundError, InputError, SnapshotDamaged) as error:
        return Comparison(on="nothing", notes=(f"not compared: {error}",))


def _reward_models(sides: Sides, data: UsedTable) -> Comparison:
    unseen = _unseen(sides, data, "pairs")
    pairs = _some([pair for pair in read_pairs(data, "test") if pair.prompt in unseen.prompts], ROWS)
    prompts = [pair.prompt for pair in pairs]
    first, second = (_deltas(folder, pairs, sides.config.reward_model) for folder in sides.folders)

    def paired(
        measured: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        estimate: Callable[..., Estimate],
        rows: NDArray[np.bool_] | slice = slice(None),
    ) -> Paired:
        ours, theirs = measured(first)[rows], measured(second)[rows]
        by = np.array(prompts)[rows]
        return Paired(challenger=estimate(ours, by), champion=estimate(theirs, by), between=mean(ours - theirs, by))

    figures = {"agreement": paired(hits, share)}
    untuned = np.array([prompt not in unseen.tuned for prompt in prompts])
    if untuned.any():
        figures["nll_nats"] = paired(losses, mean, untuned)
    note = f"nll on {untuned.sum()} of these pairs: on the prompts of the others a temperature was fitted"
    notes = unseen.notes if untuned.all() else (*unseen.notes, note)
    return Comparison(figures=figures, on=f"{len(pairs)} held-out pairs, {_name(data)}", notes=notes)


def _policies(sides: Sides, data: UsedTable) -> Comparison:
    """Both answer the same prompts with the same chance, and models of the challenger's lineage score the answers."""
    registry, config = sides.registry, sides.config
    tags = registry.client.get_model_version(sides.challenger.name, sides.challenger.version).tags
    unseen = _unseen(sides, data, "prompts")
    prompts = _some([prompt for prompt in unseen.prompts if prompt not in unseen.tuned], PROMPTS)
    answers = [generate(folder, prompts, config.policy.sampling, seed=config.seed) for folder in sides.folders]
    texts = [[answer.text for answer in responses] for responses in answers]
    scorers = {name: registry.pin(tags[PARENT_PREFIX + role]) for role, name in ROLES.items()}
    scores = {
        name: [_scores(registry.folder(scorer), prompts, side, config.reward_model) for side in texts]
        for name, scorer in scorers.items()
    }
    figures: dict[str, Paired] = {}
    for name, (first, second) in scores.items():
        figures |= _scored(name, first, second, texts)
    figures["eos_rate"] = _ends(*([float(answer.finished) for answer in responses] for responses in answers))
    notes = [*unseen.notes, "; ".join(f"{name} by {scorer.label}" for name, scorer in scorers.items())]
    worst = worst_slice(wins(*scores["judge"]), prompt_slices(prompts, _sources(data, prompts)))
    if worst is not None:
        name, rate = worst
        figures["worst_slice_judge_win_rate"] = Paired(challenger=None, champion=None, between=rate)
        notes.append(f"worst slice: {name}, by its upper bound")
    return Comparison(figures=figures, on=f"{len(prompts)} held-out prompts, {_name(data)}", notes=tuple(notes))


def _scored(
    what: str, first: NDArray[np.float64], second: NDArray[np.float64], texts: Sequence[Sequence[str]]
) -> dict[str, Paired]:
    """What one scorer says of both sides' answers."""
    lengths = np.array([[len(text.split()) for text in side] for side in texts], dtype=np.float64).T
    gain = Paired(challenger=mean(first), champion=mean(second), between=paired_gain(first, second))
    like = gain_at_like_length(first - second, lengths)
    return {
        f"{what}_score": gain,
        f"{what}_score_at_like_length": Paired(challenger=None, champion=None, between=like),
        f"{what}_win_rate": Paired(challenger=None, champion=None, between=win_rate(first, second)),
    }


def _sft_models(sides: Sides, data: UsedTable) -> Comparison:
    unseen = _unseen(sides, data, "demonstrations")
    rows = _some([row for row in read_demonstrations(data, "test") if row.prompt in unseen.prompts], ROWS)
    prompts = list(dict.fromkeys(row.prompt for row in rows))[:PROMPTS]
    config = sides.config
    first, second = (held_out_losses(folder, rows, config.sft) for folder in sides.folders)
    answers = [generate(folder, prompts, config.sft.sampling, seed=config.seed) for folder in sides.folders]
    losses_of = [mean(values, [row.prompt for row in rows]) for values in (first, second, first - second)]
    figures = {
        "loss_nats": Paired(challenger=losses_of[0], champion=losses_of[1], between=losses_of[2]),
        "eos_rate": _ends(*([float(answer.finished) for answer in responses] for responses in answers)),
    }
    return Comparison(figures=figures, on=f"{len(rows)} held-out demonstrations, {_name(data)}", notes=unseen.notes)


MEASURES: Mapping[str, tuple[str, Callable[[Sides, UsedTable], Comparison]]] = {
    "reward-model": ("preferences", _reward_models),
    "judge": ("preferences", _reward_models),
    "policy": ("prompts", _policies),
    "sft": ("demonstrations", _sft_models),
}


def _some(rows: Sequence[Row], limit: int) -> Sequence[Row]:
    if not rows:
        raise FileNotFoundError("the two versions learned from every row that the challenger's data hold out")
    return rows[:limit]


def _ends(first: Sequence[float], second: Sequence[float]) -> Paired:
    return Paired(challenger=share(first), champion=share(second), between=paired_gain(first, second))


def _scores(
    folder: Path, prompts: Sequence[str], texts: Sequence[str], config: RewardModelConfig
) -> NDArray[np.float64]:
    """Calibrated score of an answer to each prompt, shape ``[N]``."""
    return np.array(score(folder, list(map(Demonstration._make, zip(prompts, texts, strict=True))), config))


def _sources(data: UsedTable, prompts: Sequence[str]) -> list[str]:
    """The file that each held-out prompt comes from."""
    frame = read_split(data, "test")
    return list(map(dict(zip(frame["prompt"], frame["source"], strict=True)).__getitem__, prompts))


def _deltas(folder: Path, pairs: Sequence[Pair], config: RewardModelConfig) -> NDArray[np.float64]:
    """Calibrated margins chosen - rejected, shape ``[N]``."""
    items = [Demonstration(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    unique = list(dict.fromkeys(items))
    scores = dict(zip(unique, score(folder, unique, config), strict=True))
    both: NDArray[np.float64] = np.array([scores[item] for item in items]).reshape(-1, 2)
    deltas: NDArray[np.float64] = both[:, 0] - both[:, 1]
    return deltas


class Unseen(NamedTuple):
    """Held-out prompts that nothing which takes part was trained on, in the order of their table.

    Attributes:
        tuned: those on which the temperature of a side was fitted, or its state chosen.
        notes: how many rows are left out, and what was trained on them; which side was trained elsewhere.
    """

    prompts: dict[str, None]
    tuned: set[str]
    notes: tuple[str, ...]


def _unseen(sides: Sides, data: UsedTable, what: str) -> Unseen:
    """What both sides may be judged by: what scores the challenger's answers is in its lineage."""
    both, frame = (sides.challenger, sides.champion), read_split(data, "test")
    left_out = leave_out(frame, learned_prompts(both, sides.registry))
    prompts = dict.fromkeys(prompt for prompt in frame["prompt"].tolist() if prompt not in left_out.prompts)
    tuned = set[str]().union(*(matching(prompts, tuned_prompts(side, sides.registry)) for side in both))
    notes = [left_out.sentence(f"held-out {what}"), *(_imported(side, sides.registry) for side in both)]
    return Unseen(prompts, tuned, tuple(filter(None, notes)))


def _imported(ref: ModelRef, registry: Registry) -> str:
    """That a version was trained elsewhere, empty of one that was trained here."""
    tags = registry.client.get_model_version(ref.name, ref.version).tags
    if TRAINED_BY_TAG not in tags:
        return ""
    return f"{ref.label} was {imported(tags[TRAINED_BY_TAG], known=f'{PARENT_PREFIX}{TAKEN}' in tags)}"


def _snapshot(registry: Registry, ref: ModelRef, table: str) -> UsedTable:
    """A table that a version was made or measured with, as it lies on this machine."""
    for used in tables_of(ref, registry):
        if used.name == table:
            return used._replace(path=fetch_snapshot(used.digest, used.path, ref, registry))
    raise FileNotFoundError(f"the run of {ref.label} names no {table}")


def _name(data: UsedTable) -> str:
    return f"{data.name} {data.digest[:12]}"
