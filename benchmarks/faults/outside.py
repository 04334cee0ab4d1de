"""Faults from outside a climb: a full or read-only disk, a server that is away, inputs that no run should get."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.faults.bench import Bench, Outcome, Watch
from benchmarks.faults.lives import Moment
from benchmarks.faults.surroundings import Mount, Server

AWAY_SECONDS = 20.0

DISK_MEGABYTES = 256

ROOM_KILOBYTES = (0, 256, 2_000, 3_500, 5_000, 7_000, 9_000)
"""Room on the disk before each try of a climb that needs about 20 MB in all."""

SECOND_STATE: Mapping[str, Any] = {"point": "rlhf_core.training.checkpoint:save", "nth": 2}


def odd_inputs(bench: Bench, _: int) -> Iterator[Outcome]:
    """An infinite reward, prompts beyond the context, a reward model whose tokenizer is another one's."""
    storage, apart = bench.storage("odd"), bench.storage("odd-apart")
    watch = Watch(bench, "an infinite reward, lengths beyond the context, another vocabulary", bench.ppo, storage)
    infinite = {"point": "rlhf_core.ppo.update:penalise_unfinished", "action": "infinite", "after": True}
    longer = ("--set", "policy.sampling.max_prompt_tokens=4096")
    taken = ("--set", f"reward_model.from={{path: {_of_another_vocabulary(bench)}}}")
    with bench.lives(storage) as lives, bench.lives(apart) as others:
        life = lives.live(*bench.arguments(bench.ppo, storage), injections=[infinite])
        watch.note(life, "reward infinite", wanted=[2], words="error: ")
        life = lives.live(*bench.arguments(bench.ppo, storage), *longer)
        watch.note(life, "prompts beyond the context", wanted=[2], words="max_prompt_tokens 4096")
        life = others.live(*bench.arguments(bench.ppo, apart), *taken)
        watch.note(
            life, "a reward model of another vocabulary", wanted=[2], words="take tokenizer and weights of one model"
        )
        yield watch.finish(lives)


def mounted_disks(bench: Bench, _: int) -> Iterator[Outcome]:
    """A file system that is really full, and one that is really read-only; nothing where none may be mounted."""
    storage = bench.storage("mounted")
    watch = Watch(bench, "a mounted disk that is full, or read-only", bench.ppo, storage)
    try:
        with Mount(storage, DISK_MEGABYTES) as disk:
            yield _disk_trial(bench, watch, disk)
    except (OSError, subprocess.CalledProcessError) as error:
        watch.problems.append(f"not injected: no file system can be mounted here ({error})")
        yield Outcome("a mounted disk that is full, or read-only", 0, {}, 0, None, 0, watch.problems)


def _disk_trial(bench: Bench, watch: Watch, disk: Mount) -> Outcome:
    with bench.lives(disk.folder) as lives:
        for room in ROOM_KILOBYTES:
            disk.leave(room)
            life = lives.live(*bench.arguments(bench.ppo, disk.folder))
            if life.code == 0:
                break
            watch.note(life, f"full in {life.stage or 'the start'}", wanted=[1], words="error: ")
        disk.empty()
        kill = {"action": "kill", **SECOND_STATE}
        lives.live(*bench.arguments(bench.ppo, disk.folder), injections=[kill])
        disk.remount("ro")
        life = lives.live(*bench.arguments(bench.ppo, disk.folder))
        watch.note(life, "read-only", wanted=[1, 2], words="error: ")
        disk.remount("rw")
        return watch.finish(lives)


def server_away(bench: Bench, _: int) -> Iterator[Outcome]:
    """MLflow's server killed while SFT and PPO of one climb train, back after 20 s each time."""
    storage = bench.storage("away")
    watch = Watch(bench, "MLflow's server killed in SFT and in PPO, back after 20 s", bench.ppo, storage)
    away = [
        {"point": "rlhf_core.sft:response_losses", "action": "server_away", "nth": 2, "after": True},
        {"point": "rlhf_core.ppo.update:penalise_unfinished", "action": "server_away", "after": True},
    ]
    with Server(storage, AWAY_SECONDS) as server:
        os.environ["FAULTS_SERVER"] = str(server.process_file)
        with bench.lives(storage, server.uri) as lives:
            life = lives.live(*bench.arguments(bench.ppo, storage), injections=away)
            watch.note(life, "went to its end", wanted=[0])
            if server.starts != len(away) + 1:
                watch.problems.append(f"the server was started {server.starts} times, not {len(away) + 1}")
            yield watch.outcome(lives)


def server_gone(bench: Bench, _: int) -> Iterator[Outcome]:
    """MLflow's server killed while SFT trains, and away until the climb has given up."""
    storage = bench.storage("gone")
    watch = Watch(bench, "MLflow's server killed in SFT, away for good", bench.ppo, storage)
    with Server(storage, None) as server:
        os.environ["FAULTS_SERVER"] = str(server.process_file)
        with bench.lives(storage, server.uri) as lives:
            away = {"point": "rlhf_core.sft:response_losses", "action": "server_away", "nth": 2, "after": True}
            life = lives.live(*bench.arguments(bench.ppo, storage), injections=[away])
            watch.note(life, f"gave up in {life.stage} after {life.seconds / 60:.0f} min", wanted=[1], words="error: ")
            server.again()
            yield watch.finish(lives)


def two_ranks(bench: Bench, _: int) -> Iterator[Outcome]:
    """Kill -9 of a climb whose stages train on two ranks."""
    ranks = ("--set", "compute.processes=2")
    calm, storage = bench.storage("calm-ranks"), bench.storage("ranks")
    with bench.lives(calm) as lives:
        life = lives.live(*bench.arguments(bench.ppo, calm), *ranks)
    if life.code != 0:
        raise RuntimeError(f"an undisturbed climb on two ranks ended with {life.code}: {life.said[-3000:]}")
    watch = Watch(bench, "kill -9 on two ranks", bench.ppo, storage, settings=ranks, calm=calm)
    with bench.lives(storage) as lives:
        for stage in ("sft", "reward-model", "policy"):
            life = lives.live(*bench.arguments(bench.ppo, storage), *ranks, moment=Moment(stage, 1.0))
            if life.code != 0:
                watch.note(life, f"killed in {life.stage}", wanted=[-9])
        yield watch.finish(lives)


def _of_another_vocabulary(bench: Bench) -> Path:
    """The reward model of the undisturbed climb, with a tokenizer that has far more tokens than it has rows."""
    models = (bench.calm(bench.ppo)[0] / "artifacts").rglob("config.json")
    origin = next(path.parent for path in sorted(models) if "SequenceClassification" in path.read_text("utf-8"))
    folder = bench.folder / "another-vocabulary"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(origin, folder)
    path = folder / "tokenizer.json"
    path.chmod(0o644)
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.__getitem__)] += 1_000_000
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder
