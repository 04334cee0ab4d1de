"""Faults from outside a climb: a full or read-only disk, inputs that no run should get."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from benchmarks.faults.bench import Bench, Outcome, Watch
from benchmarks.faults.mounted import Mount

DISK_MEGABYTES = 256

ROOM_KILOBYTES = (0, 256, 2_000, 3_500, 5_000, 7_000, 9_000)
"""Room on the disk before each try of a climb that needs about 20 MB in all."""

LOUD = 5.0
"""Each entry of an embedding that outshouts all others where the last norm has a bias of one."""

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


def empty_responses(bench: Bench, _: int) -> Iterator[Outcome]:
    """A base that ends every answer at once, and that training does not move from it: all responses are empty."""
    folder = _silent(bench)
    config = bench.folder / "tiny_silent.yaml"
    document = yaml.safe_load(bench.ppo.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump({**document, "base": {"kind": "folder", "path": str(folder)}}), encoding="utf-8")
    storage = bench.storage("silent")
    watch = Watch(bench, "a model whose every response is empty", config, storage)
    with bench.lives(storage) as lives:
        life = lives.live(*bench.arguments(config, storage))
        watch.note(life, "PPO stopped after its first update", wanted=[0, 3], words="its answers collapsed")
        yield watch.outcome(lives, compared=False)


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


def _of_another_vocabulary(bench: Bench) -> Path:
    """The reward model of the undisturbed climb, with a tokenizer that has far more tokens than it has rows."""
    folder = _made(bench, "SequenceClassification", "another-vocabulary")
    path = folder / "tokenizer.json"
    path.chmod(0o644)
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.__getitem__)] += 1_000_000
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def _silent(bench: Bench) -> Path:
    """A language model of the undisturbed climb whose end-of-text token is by far the likeliest after any text."""
    folder = _made(bench, "LMHeadModel", "ends-at-once")
    path = folder / "model.safetensors"
    path.chmod(0o644)
    weights = load_file(path)
    bias, end = "transformer.ln_f.bias", json.loads((folder / "config.json").read_text("utf-8"))["eos_token_id"]
    weights[bias] = torch.ones_like(weights[bias])
    weights["transformer.wte.weight"][end] = LOUD
    save_file(weights, path, metadata={"format": "pt"})
    return folder


def _made(bench: Bench, kind: str, name: str) -> Path:
    """A copy of the first model of a kind that the undisturbed climb has made."""
    models = (bench.calm(bench.ppo)[0] / "artifacts").rglob("config.json")
    origin = next(path.parent for path in sorted(models) if kind in path.read_text("utf-8"))
    folder = bench.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(origin, folder)
    return folder
