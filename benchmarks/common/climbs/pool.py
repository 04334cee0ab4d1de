"""Many climbs at once: every stage is trained once, as soon as its parents are there, each on one thread."""

import json
import logging
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from benchmarks.common.climbs.data import digests
from benchmarks.common.climbs.recipe import PARENTS, STAGES, Climb, StageName
from benchmarks.common.climbs.stages import Kept, Storage, keys_of
from benchmarks.common.climbs.truth import curve
from rlhf_core.gates.data import DEFAULT_DATA_GATES
from rlhf_core.gates.defaults import (
    DEFAULT_POLICY_GATES,
    DEFAULT_REWARD_MODEL_GATES,
    DEFAULT_SFT_GATES,
)
from rlhf_core.gates.gate import Gate, Verdict, judge
from rlhf_core.metrics.estimates import Estimate

GATES: Mapping[StageName, tuple[Gate, ...]] = {
    "data": DEFAULT_DATA_GATES,
    "sft": DEFAULT_SFT_GATES,
    "reward_model": DEFAULT_REWARD_MODEL_GATES,
    "policy": DEFAULT_POLICY_GATES,
}
"""Gates of each stage that has some, in the order of the ladder."""


ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
"""Surroundings of a worker: models this small are slower on an accelerator, above all where many share one."""


class Climbed(NamedTuple):
    """A climb that has ended.

    Attributes:
        climb: what was climbed.
        stages: what is kept of each stage that was reached; the last one may be one that would not go on.
        curve: evaluations of PPO on watched prompts with their gold reward; empty for DPO.
    """

    climb: Climb
    stages: dict[StageName, Kept]
    curve: list[dict[str, Any]]

    @property
    def error(self) -> str:
        """The stage that would not go on, and why; empty where there is none."""
        return next((f"{name}: {kept.error}" for name, kept in self.stages.items() if kept.error), "")

    @property
    def estimates(self) -> dict[StageName, dict[str, Estimate]]:
        """Figures by stage; those of `truth` no gate sees."""
        return {name: kept.estimates for name, kept in self.stages.items()}

    @property
    def verdicts(self) -> dict[StageName, list[Verdict]]:
        """What the default gates say of each stage that finished."""
        return {
            stage: judge(gates, self.stages[stage].estimates)
            for stage, gates in GATES.items()
            if stage in self.stages and not self.stages[stage].error
        }


class _Work(NamedTuple):
    """A stage to be reached."""

    stage: StageName
    climb: Climb
    keys: Mapping[StageName, str]

    @property
    def key(self) -> str:
        return self.keys[self.stage]


def climb_all(climbs: Sequence[Climb], folder: Path, *, workers: int = 1) -> Iterator[tuple[int, Climbed]]:
    """Climb everything; what the folder holds already is not trained again.

    Args:
        climbs: in the order of their worth: where two stages wait, that of the earlier climb goes first.
        folder: keeps data and stages; a run that was cut goes on from there.
        workers: processes; with 1 all runs in this one.

    Yields:
        The place of a climb and what came of it, as it ends; with several workers nothing for one in which something
        went wrong that no stage refuses, which is logged.
    """
    if workers == 1:
        alone_on_a_core()
        for index, climb in enumerate(climbs):
            yield index, _climb(climb, folder)
        return
    os.environ |= ALONE  # read by what the workers import
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=alone_on_a_core) as pool:
        found = pool.map(_digests, climbs, [folder] * len(climbs))
        keys = [keys_of(climb, parts) for climb, parts in zip(climbs, found, strict=True)]
        yield from _in_turn(climbs, keys, folder, pool, workers)


def _in_turn(
    climbs: Sequence[Climb], keys: Sequence[Mapping[StageName, str]], folder: Path, pool: Executor, workers: int
) -> Iterator[tuple[int, Climbed]]:
    """Keep all workers busy with stages whose parents are done."""
    open_work = {
        mine[stage]: _Work(stage, climb, mine)
        for climb, mine in reversed(list(zip(climbs, keys, strict=True)))
        for stage in STAGES
    }
    order = {key: index for index, key in enumerate(dict.fromkeys(mine[stage] for mine in keys for stage in STAGES))}
    done: dict[str, Kept] = {}
    running: dict[Future[Kept], str] = {}
    waiting = set(range(len(climbs)))
    while waiting:
        for key in sorted(open_work, key=order.__getitem__):
            work = open_work[key]
            parents = [work.keys[parent] for parent in PARENTS[work.stage]]
            if any(parent in done and done[parent].error for parent in parents):
                done[key] = Kept(stage=work.stage, key=key, error="a stage before it would not go on")
                del open_work[key]
            elif len(running) < workers and all(parent in done for parent in parents):
                running[pool.submit(_reach, work, folder)] = key
                del open_work[key]
        for index in sorted(waiting):
            if all(key in done for key in keys[index].values()):
                waiting.discard(index)
                yield index, _ended(climbs[index], {stage: done[keys[index][stage]] for stage in STAGES}, folder)
        if running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(future)
                try:
                    done[key] = future.result()
                except Exception:  # a mistake of the bench: other climbs go on, and these are not told of
                    logging.exception("%s went wrong", key)
                    waiting -= {index for index in waiting if key in keys[index].values()}
                    needed = {key for index in waiting for key in keys[index].values()}
                    open_work = {key: work for key, work in open_work.items() if key in needed}


def _climb(climb: Climb, folder: Path) -> Climbed:
    """All stages of a climb, one after another."""
    storage, stages = Storage(folder), dict[StageName, Kept]()
    keys = keys_of(climb, digests(storage.data(climb)))
    for stage in STAGES:
        stages[stage] = storage.reach(stage, climb, keys)
        if stages[stage].error:
            break
    return _ended(climb, stages, folder)


def _ended(climb: Climb, stages: Mapping[StageName, Kept], folder: Path) -> Climbed:
    """A climb up to the first stage that would not go on."""
    reached: dict[StageName, Kept] = {}
    for stage, kept in stages.items():
        reached[stage] = kept
        if kept.error:
            break
    policy = reached.get("policy")
    path = Storage(folder).answers(policy.key) if policy else None
    lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
    return Climbed(climb, reached, curve(map(json.loads, lines)))


def alone_on_a_core() -> None:
    """Make this process one of many: one thread, no bars of progress."""
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # that a head is new is no news here


def _digests(climb: Climb, folder: Path) -> dict[str, str]:
    return digests(Storage(folder).data(climb))


def _reach(work: _Work, folder: Path) -> Kept:
    return Storage(folder).reach(work.stage, work.climb, work.keys)
