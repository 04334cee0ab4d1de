"""The faults: each trial injects some into climbs of one storage, brings it to its end, and says what came of it."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.faults import away
from benchmarks.faults.bench import Bench, Outcome, Watch
from benchmarks.faults.lives import Moment
from benchmarks.faults.outside import empty_responses, mounted_disks, odd_inputs

KILLED = -signal.SIGKILL

SOON_SECONDS = 0.2
"""CPU time after which a stage is training, and goes on for more."""

STATE = {"point": "rlhf_core.training.checkpoint:flush", "nth": 3}
UPLOAD = {"point": "mlflow:MlflowClient.log_model_artifacts"}
STORE = "mlflow.store.artifact.local_artifact_repo"
NOTE = {"point": "flows.stages.runner:keep_finished"}

POINTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "kill -9 between the snapshots of an ingestion": [
        {"point": "flows.storage.snapshots:SnapshotWriter.publish", "nth": 2},
    ],
    "kill -9 between a report of the data and its name": [{"point": "flows.data.ingest:os.replace"}],
    "kill -9 inside the writing of a state": [
        {"point": "rlhf_core.training.checkpoint:seal", "nth": 3},
        {"point": "rlhf_core.training.checkpoint:flush", "nth": 2},
        {"point": "rlhf_core.training.seals:flush", "nth": 5},
    ],
    "kill -9 between the end of a training and its note": [{"point": "flows.stages.runner:keep_finished"}],
    "kill -9 between files of a registration": [
        {"point": "shutil:copystat", "nth": 4},
        {"point": "mlflow:MlflowClient.log_model_artifacts", "after": True},
    ],
    "kill -9 between a model and its version": [
        {"point": "mlflow:MlflowClient.create_model_version"},
        {"point": "mlflow:MlflowClient.create_model_version", "after": True},
        {"point": "flows.registry.client:Registry._link"},
    ],
    "kill -9 between registration and its record": [
        {"point": "flows.stages.runner:sealed", "nth": 2},
        {"point": "flows.stages.runner:sealed", "nth": 2},
    ],
    "kill -9 between registration and verdict": [
        {"point": "flows.pipeline.run:judge_figures"},
        {"point": "flows.registry.client:Registry.tag_versions"},
    ],
    "kill -9 between registration and alias": [
        {"point": "flows.registry.client:Registry.set_alias"},
        {"point": "flows.registry.client:Registry.set_alias", "nth": 2},
    ],
}
"""Where a climb is killed; each of these comes up again in whatever stage is next."""


def random_kills(bench: Bench, kills: int) -> Iterator[Outcome]:
    """Kill -9 at random moments of each stage, by PPO, then of the policy by DPO."""
    _, spent = bench.calm(bench.ppo)
    each = max(kills // 6, 1)
    storage = bench.storage("kills")
    watch = Watch(bench, "kill -9 at random moments: ingest, SFT, reward model, judge, PPO", bench.ppo, storage)
    with bench.lives(storage) as lives:
        for stage in ("ingest", "sft", "reward-model", "judge", "policy"):
            for _ in range(each):
                life = lives.live(*bench.arguments(bench.ppo, storage), moment=bench.moment(stage, spent))
                if life.code == 0:
                    break
                watch.note(life, f"killed in {life.stage}", wanted=[KILLED])
        yield watch.finish(lives)
    yield from _kills_of_dpo(bench, each)


def _kills_of_dpo(bench: Bench, kills: int) -> Iterator[Outcome]:
    _, spent = bench.calm(bench.dpo)
    storage = bench.storage("kills-dpo", bench.calm(bench.ppo)[0])
    watch = Watch(bench, "kill -9 at random moments: DPO", bench.dpo, storage)
    with bench.lives(storage) as lives:
        for _ in range(kills):
            life = lives.live(*bench.arguments(bench.dpo, storage), moment=bench.moment("policy", spent))
            if life.code == 0:
                break
            watch.note(life, f"killed in {life.stage}", wanted=[KILLED])
        yield watch.finish(lives)


def named_points(bench: Bench, _: int) -> Iterator[Outcome]:
    """Kill -9 at named points."""
    yield _killed_at(bench, POINTS)


def first_points(bench: Bench, _: int) -> Iterator[Outcome]:
    """Kill -9 at the first named point of each kind."""
    yield _killed_at(bench, {name: points[:1] for name, points in POINTS.items()})


def _killed_at(bench: Bench, kinds: Mapping[str, Sequence[Mapping[str, Any]]]) -> Outcome:
    storage = bench.storage("points")
    watch = Watch(bench, "kill -9 at named points", bench.ppo, storage)
    with bench.lives(storage) as lives:
        for name, points in kinds.items():
            for point in points:
                injections = [{"action": "kill", **point}]
                life = lives.live(*bench.arguments(bench.ppo, storage), injections=injections)
                watch.note(life, name.removeprefix("kill -9 "), wanted=[KILLED])
        return watch.finish(lives)


FLIPS: Sequence[tuple[str, str, Mapping[str, Any], str]] = (
    ("weights of a state", "work/sft-*.states/step-*/state/*.distcp", STATE, "is not used, as"),
    ("the index of a state", "work/sft-*.states/step-*/state/.metadata", STATE, "is not used, as"),
    ("notes of a state", "work/sft-*.states/step-*/notes.json", STATE, "is not used, as"),
    ("the seal of a state", "work/sft-*.states/step-*/seal.json", STATE, "is not used, as"),
    ("the journal of a stage", "work/sft-*.states/events.jsonl", STATE, "is damaged"),
    ("the note of a run", "work/sft-*.states/run_id", STATE, ""),
    ("the note of a finished training", "work/sft-*.states/finished.json", UPLOAD, "is damaged"),
    ("a snapshot", "snapshots/demonstrations/*.parquet", NOTE, ""),
    ("what a reward model said", "cache/*/*/*.npy", {**NOTE, "nth": 2}, "is damaged"),
)
"""A file that is damaged, where the climb is killed before so that it is there, and what the next climb says of it."""


def flip(path: Path, place: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def flipped_bits(bench: Bench, _: int) -> Iterator[Outcome]:
    """A bit flipped in everything that is kept for the next climb, of which the newest file of its kind is taken."""
    storage = bench.storage("bits")
    watch = Watch(bench, "a flipped bit in what is kept", bench.ppo, storage)
    words = ""
    with bench.lives(storage) as lives:
        for name, pattern, point, told in FLIPS:
            life = lives.live(*bench.arguments(bench.ppo, storage), injections=[{"action": "kill", **point}])
            watch.note(life, name, wanted=[KILLED], words=words)
            path = max(storage.glob(pattern), default=None)
            if path is None:
                watch.problems.append(f"{name}: nothing was there to damage: {life.stage}")
                words = ""
                continue
            flip(path, bench.random.randrange(path.stat().st_size))
            words = told
        yield watch.finish(lives)


def signals(bench: Bench, _: int) -> Iterator[Outcome]:
    """SIGTERM and Ctrl-C while a stage trains."""
    storage = bench.storage("signals")
    watch = Watch(bench, "SIGTERM, Ctrl-C", bench.ppo, storage)
    with bench.lives(storage) as lives:
        for number, wanted in ((signal.SIGTERM, (1, 143, -15)), (signal.SIGINT, (1, 130, -2, -signal.SIGALRM))):
            for stage in ("sft", "policy"):
                moment = Moment(stage, SOON_SECONDS, number)
                life = lives.live(*bench.arguments(bench.ppo, storage), moment=moment)
                watch.note(life, f"{number.name} in {life.stage}", wanted=wanted)
        yield watch.finish(lives)


def numbers(bench: Bench, _: int) -> Iterator[Outcome]:
    """A loss or a reward that is no number, and what a disk says that is full or read-only."""
    storage = bench.storage("numbers")
    watch = Watch(bench, "NaN, infinity, a full and a read-only disk, the clock an hour back", bench.ppo, storage)
    faults: Mapping[str, tuple[Mapping[str, Any], Sequence[int], str]] = {
        "NaN loss": (
            {"point": "rlhf_core.sft:response_losses", "action": "nan", "nth": 3, "after": True}, (2,), "error: "
        ),
        "disk full": ({"point": "rlhf_core.training.checkpoint:save", "action": "no_space", "nth": 2}, (1,), "error: "),
        "disk full at the registration": (
            {"point": f"{STORE}:LocalArtifactRepository.log_artifacts", "action": "no_space"}, (1,), "error: "
        ),
        "no file beyond 64 KiB": (
            {"point": "rlhf_core.training.checkpoint:save", "action": "small_files", "after": True}, (1,), "error: "
        ),
        "artifact store read-only": (
            {"point": "mlflow:MlflowClient.log_model_artifacts", "action": "read_only"}, (1,), "error: "
        ),
        "reward NaN": (
            {"point": "rlhf_core.ppo.update:penalise_unfinished", "action": "nan", "after": True}, (2,), "error: "
        ),
        "the clock an hour back": (
            {"point": "rlhf_core.training.checkpoint:save", "action": "an_hour_ago"}, (0,), ""
        ),
    }  # fmt: skip
    with bench.lives(storage) as lives:
        for name, (injection, wanted, words) in faults.items():
            life = lives.live(*bench.arguments(bench.ppo, storage), injections=[injection])
            watch.note(life, name, wanted=wanted, words=words)
        yield watch.finish(lives)


def two_at_once(bench: Bench, _: int) -> Iterator[Outcome]:
    """Two ladders of one configuration at once."""
    storage = bench.storage("two")
    watch = Watch(bench, "two ladders of one configuration at once", bench.ppo, storage)
    with bench.lives(storage) as first, bench.lives(storage) as second, ThreadPoolExecutor() as pool:
        other = pool.submit(second.live, *bench.arguments(bench.ppo, storage))
        life = first.live(*bench.arguments(bench.ppo, storage))
        watch.note(life, "both went to their end", wanted=[0])
        if code := other.result().code:
            watch.problems.append(f"the other ladder ended with {code}")
        yield watch.outcome(first)


def dead_owner(bench: Bench, _: int) -> Iterator[Outcome]:
    """A climb that is killed while it holds the locks of a stage, then another one."""
    storage = bench.storage("owner")
    watch = Watch(bench, "a lock whose owner was killed", bench.ppo, storage)
    with bench.lives(storage) as first, bench.lives(storage) as second:
        life = first.live(*bench.arguments(bench.ppo, storage), injections=[{"action": "kill", **NOTE}])
        watch.note(life, "killed while it held the lock", wanted=[KILLED])
        yield watch.finish(second)


ALL = (
    *(named_points, random_kills, flipped_bits, signals, numbers, two_at_once, dead_owner),
    *(odd_inputs, empty_responses, mounted_disks, away.mlflow_away, away.mlflow_gone),
    *(away.prefect_away, away.prefect_gone, away.own_prefect_gone),
    *(away.postgres_away, away.postgres_gone, away.two_ranks),
)

TRIALS: Mapping[str, Callable[[Bench, int], Iterator[Outcome]]] = {trial.__name__: trial for trial in ALL}
