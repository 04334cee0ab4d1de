"""A finished training whose files are not registered yet, kept where a climb that is killed then finds it again.

Prefect keeps what a task returned only with the task around it, which also registers.
"""

import os
import warnings
from pathlib import Path

import xxhash

from flows.stages.figures import Series
from rlhf_core.config import Frozen
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.training.durable import flush

FINISHED = "finished.json"
"""Lies beside the states of a stage, and is removed with them."""


class FinishedTraining(Frozen):
    """What came of a training.

    Attributes:
        folders: artifacts by name.
        files: what the stage wrote beside its artifacts.
        evidence: files of held-out rows that the estimates rest on.
    """

    run_id: str
    folders: dict[str, str]
    files: list[str]
    estimates: dict[str, Estimate]
    evidence: list[str]
    series: Series
    samples: list[dict[str, str]]
    outcome: str
    seconds: float


def has_folders(trained: FinishedTraining) -> bool:
    """Whether what it made is still there."""
    return all(Path(path).exists() for path in (*trained.folders.values(), *trained.evidence))


def keep_finished(states: Path, trained: FinishedTraining) -> None:
    """Write it down whole or not at all, after all that it made is on the disk."""
    os.sync()
    path = states / FINISHED
    part = path.with_suffix(".part")
    text = trained.model_dump_json()
    part.write_text(f"{xxhash.xxh3_128_hexdigest(text.encode())}\n{text}", encoding="utf-8")
    flush(part)
    part.rename(path)
    flush(states)


def read_finished(states: Path) -> FinishedTraining | None:
    """What was written down; None where nothing was, it is damaged, or what it made has gone."""
    path = states / FINISHED
    if not path.exists():
        return None
    digest, _, text = path.read_bytes().partition(b"\n")
    if digest != xxhash.xxh3_128_hexdigest(text).encode():
        warnings.warn(f"{path} is damaged; the training goes on from its last state", stacklevel=2)
        return None
    trained = FinishedTraining.model_validate_json(text)
    return trained if has_folders(trained) else None
