"""The study as a whole: every arm with every seed, beside chains of stages that wait for one another."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.climbs.pool import alone_on_a_core, climb_all
from benchmarks.common.climbs.recipe import Climb, Recipe
from benchmarks.common.climbs.stages import code_version
from benchmarks.quality.mitigations import best_of_n, rounds
from benchmarks.quality.mitigations.arms import ARMS, PPO, REFRESHED, Arm
from benchmarks.quality.mitigations.record import Record, record
from rlhf_core.data.array_cache import content_key

Chain = Callable[[Climb, Path], Record]


class Piece(NamedTuple):
    """A record to be made.

    Attributes:
        chain: what makes it, one stage after another, where it is more than a climb.
    """

    arm: Arm
    seed: int
    climb: Climb
    chain: Chain | None = None

    @property
    def name(self) -> str:
        """What its record is called, with the seed."""
        return f"{self.arm.name}, seed {self.seed}"

    @property
    def key(self) -> str:
        """Changes with settings and code, so that an older record is known to be old."""
        chain = self.chain.__qualname__ if self.chain else ""
        settings = self.climb.recipe.model_dump(mode="json")
        return content_key(self.arm.name, self.arm.honest_judge, settings, chain, code_version())[:40]


def pieces(recipe: Recipe, seeds: Sequence[int], arms: Sequence[Arm] = ARMS) -> list[Piece]:
    """All records of the study, seed by seed, so that a run that is cut has whole seeds."""
    chains: tuple[tuple[Arm, Chain], ...] = (
        (REFRESHED, rounds.climb_in_rounds),
        (PPO._replace(name=best_of_n.NAME), best_of_n.measure_best_of_n),
    )
    return [
        *(Piece(arm, seed, arm.climb(recipe, seed), chain) for arm, chain in chains for seed in seeds),
        *(Piece(arm, seed, arm.climb(recipe, seed)) for seed in seeds for arm in arms),
    ]


def measure(wanted: Sequence[Piece], storage: Path, *, workers: int) -> Iterator[Record]:
    """Make records, each on one core.

    A third of the workers take the chains, the others all climbs, stage by stage; both find what the other has trained.

    Args:
        wanted: what to make.
        storage: folder of data and stages.
        workers: processes.

    Yields:
        Each record as it is there, with the key of its piece.
    """
    chained = [piece for piece in wanted if piece.chain]
    climbed = [piece for piece in wanted if not piece.chain]
    aside = min(max(workers // 3, 1), len(chained)) if climbed else min(workers, len(chained))
    with ProcessPoolExecutor(max(aside, 1), get_context("spawn"), initializer=alone_on_a_core) as pool:
        waiting = {pool.submit(piece.chain, piece.climb, storage): piece for piece in chained if piece.chain}
        for index, ended in climb_all([piece.climb for piece in climbed], storage, workers=max(workers - aside, 1)):
            piece = climbed[index]
            yield record(piece.arm, piece.seed, ended) | {"key": piece.key}
            yield from _taken(waiting, [future for future in waiting if future.done()])
        yield from _taken(waiting, as_completed(list(waiting)))


def _taken(waiting: dict[Future[Record], Piece], ended: Iterable[Future[Record]]) -> Iterator[Record]:
    """The records of chains that have ended, which are no longer waited for."""
    for future in ended:
        yield future.result() | {"key": waiting.pop(future).key}
