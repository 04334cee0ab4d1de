"""Comparison of challenger and champion: paired figures on prompts and pairs that neither was trained on."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.registry.client import Registry
from flows.registry.names import PARENT_PREFIX
from flows.registry.references import ModelRef
from flows.storage.records import read_demonstrations, read_pairs, read_prompts
from flows.storage.snapshots import SnapshotDamaged, read_split
from rlhf_core.config import Frozen
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.evaluators.reward_model import score
from rlhf_core.evaluators.sft import held_out_losses
from rlhf_core.generation.sampling import generate
from rlhf_core.metrics.calibration import hits, losses
from rlhf_core.metrics.estimates import Estimate, clustered, mean, weighted_mean
from rlhf_core.metrics.win_rate import paired_gain, win_rate

ROWS = 2000
"""Pairs or demonstrations that are compared at most."""

PROMPTS = 256
"""Prompts that are answered at most."""


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
        on: what it was measured on.
        notes: what to know when reading it.
    """

    figures: dict[str, Paired] = {}
    on: str
    notes: tuple[str, ...] = ()


class EvaluationTable(NamedTuple):
    """Where a table lies that a version was trained on, and its digest."""

    name: str
    path: Path
    digest: str


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

    Rows whose prompt the champion was trained on are left out.

    Args:
        registry: where both are.
        config: lengths and sampling.
        challenger: the version that may be promoted.
        champion: the one that it would replace.

    Returns:
        Paired figures; none, with the reason in the notes, where the data or the files of a model are not to be had, or
        the model is of a kind of which nothing can be measured alone.
    """
    kind = challenger.name.removeprefix(f"{config.project}-")
    if kind not in MEASURES:
        return Comparison(on="nothing", notes=(f"a {kind} model is not measured by itself",))
    table, measure = MEASURES[kind]
    try:
        return measure(Sides(registry, config, challenger, champion), _snapshot(registry, challenger, table))
    except (FileNotFoundError, InputError, SnapshotDamaged) as error:
        return Comparison(on="nothing", notes=(f"not compared: {error}",))


def _reward_models(sides: Sides, data: EvaluationTable) -> Comparison:
    seen_prompts, note = _known(sides, data)
    pairs = _some([pair for pair in read_pairs(data, "test") if pair.prompt not in seen_prompts], ROWS)
    prompts = [pair.prompt for pair in pairs]
    first, second = (_deltas(folder, pairs, sides.config.reward_model) for folder in sides.folders)

    def paired(measured: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Paired:
        ours, theirs = measured(first), measured(second)
        each = [clustered(weighted_mean, prompts, values) for values in (ours, theirs, ours - theirs)]
        return Paired(challenger=each[0], champion=each[1], between=each[2])

    figures = {"agreement": paired(hits), "nll, nats": paired(losses)}
    return Comparison(figures=figures, on=f"{len(pairs)} held-out pairs, {_name(data)}", notes=note)


def _policies(sides: Sides, data: EvaluationTable) -> Comparison:
    seen_prompts, note = _known(sides, data)
    prompts = _some([prompt for prompt in read_prompts(data, "test")[1::2] if prompt not in seen_prompts], PROMPTS)
    sampling, seed = sides.config.policy.sampling, sides.config.seed
    answers = [generate(folder, prompts, sampling, seed=seed) for folder in sides.folders]
    tags = sides.registry.client.get_model_version(sides.challenger.name, sides.challenger.version).tags
    figures = {}
    for role in ("judge", "reward-model"):
        folder = sides.registry.folder(sides.registry.pin(tags[PARENT_PREFIX + role]))
        first, second = (
            score(
                folder,
                [Demonstration(prompt, answer.text) for prompt, answer in zip(prompts, responses, strict=True)],
                sides.config.reward_model,
            )
            for responses in answers
        )
        scorer = f"by {tags[f'parent.{role}']}"
        figures[f"score {scorer}"] = Paired(
            challenger=mean(first), champion=mean(second), between=paired_gain(first, second)
        )
        figures[f"win rate {scorer}, .5 is even"] = Paired(
            challenger=None, champion=None, between=win_rate(first, second)
        )
    figures["answers that end"] = _ends(*([float(answer.finished) for answer in responses] for responses in answers))
    return Comparison(figures=figures, on=f"{len(prompts)} held-out prompts, {_name(data)}", notes=note)


def _sft_models(sides: Sides, data: EvaluationTable) -> Comparison:
    seen_prompts, note = _known(sides, data)
    rows = _some([row for row in read_demonstrations(data, "test") if row.prompt not in seen_prompts], ROWS)
    prompts = list(dict.fromkeys(row.prompt for row in rows))[:PROMPTS]
    config = sides.config
    first, second = (held_out_losses(folder, rows, config.sft) for folder in sides.folders)
    answers = [generate(folder, prompts, config.sft.sampling, seed=config.seed) for folder in sides.folders]
    figures = {
        "loss, nats": Paired(challenger=mean(first), champion=mean(second), between=mean(first - second)),
        "answers that end": _ends(*([float(answer.finished) for answer in responses] for responses in answers)),
    }
    return Comparison(figures=figures, on=f"{len(rows)} held-out demonstrations, {_name(data)}", notes=note)


MEASURES: Mapping[str, tuple[str, Callable[[Sides, EvaluationTable], Comparison]]] = {
    "reward-model": ("preferences", _reward_models),
    "judge": ("preferences", _reward_models),
    "policy": ("prompts", _policies),
    "sft": ("demonstrations", _sft_models),
}


def _some(rows: Sequence[Row], limit: int) -> Sequence[Row]:
    if not rows:
        raise FileNotFoundError("the champion learned from every row that the challenger's data hold out")
    return rows[:limit]


def _ends(first: Sequence[float], second: Sequence[float]) -> Paired:
    return Paired(challenger=mean(first), champion=mean(second), between=paired_gain(first, second))


def _deltas(folder: Path, pairs: Sequence[Pair], config: RewardModelConfig) -> NDArray[np.float64]:
    """Calibrated margins chosen - rejected, shape ``[N]``."""
    items = [Demonstration(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    unique = list(dict.fromkeys(items))
    scores = dict(zip(unique, score(folder, unique, config), strict=True))
    both: NDArray[np.float64] = np.array([scores[item] for item in items]).reshape(-1, 2)
    deltas: NDArray[np.float64] = both[:, 0] - both[:, 1]
    return deltas


def _known(sides: Sides, data: EvaluationTable) -> tuple[set[str], tuple[str, ...]]:
    """Prompts of the champion's own data that are held out of none of its training, and a note if there are others."""
    theirs = _snapshots(sides.registry, sides.champion).get("training")
    if theirs is None:
        return set(), ("what the champion learned from is not known here; it may have seen these rows",)
    if theirs.digest == data.digest:
        return set(), ()
    try:
        prompts = {str(row.prompt) for split in ("train", "judge") for row in read_split(theirs, split).itertuples()}
    except (FileNotFoundError, SnapshotDamaged):
        return set(), (f"the champion learned from {_name(theirs)}, not on this machine; it may have seen these rows",)
    return prompts, (f"the champion learned from {_name(theirs)}; prompts that it has seen are left out",)


def _snapshot(registry: Registry, ref: ModelRef, table: str) -> EvaluationTable:
    """A table that a version was made or measured with."""
    for dataset in _snapshots(registry, ref).values():
        if dataset.name == table:
            return dataset
    raise FileNotFoundError(f"the run of {ref.label} names no {table}")


def _snapshots(registry: Registry, ref: ModelRef) -> dict[str, EvaluationTable]:
    """The tables of a version by what it used them for, as its run names them."""
    inputs = registry.client.get_run(ref.run_id).inputs
    tables = {}
    for item in inputs.dataset_inputs if inputs else []:
        profile, source = json.loads(item.dataset.profile or "{}"), json.loads(item.dataset.source)
        for tag in item.tags:
            tables[tag.value] = EvaluationTable(item.dataset.name, Path(source["uri"]), str(profile["digest"]))
    return tables


def _name(data: EvaluationTable) -> str:
    return f"{data.name} {data.digest[:12]}"
