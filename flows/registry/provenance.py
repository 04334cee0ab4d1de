"""Provenance of a training as tags of its run: commit, packages, hardware, time and cost."""

import functools
import json
import os
import platform
import subprocess
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import rlhf_core
from flows.registry.names import COMMIT_TAG, COST_TAG, DIRTY_TAG, HARDWARE_TAG, PACKAGES_TAG, SECONDS_TAG

RECORDED = (
    *("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy", "pandas", "pyarrow"),
    *("mlflow", "prefect"),
)


@functools.cache
def surroundings() -> dict[str, str]:
    """Tags that say with which code, packages and machine this process trains."""
    packages = {"python": platform.python_version(), **{name: version(name) for name in RECORDED}}
    return {
        **commit_tags(Path(rlhf_core.__file__)),
        PACKAGES_TAG: json.dumps(packages),
        HARDWARE_TAG: json.dumps(hardware()),
    }


def spent(seconds: float, price_per_hour: float | None) -> dict[str, str]:
    """Tags that say how long a training took, and what it cost where the price of an hour is known."""
    cost = {} if price_per_hour is None else {COST_TAG: f"{seconds / 3600 * price_per_hour:.4f}"}
    return {SECONDS_TAG: f"{seconds:.1f}", **cost}


def commit_tags(file: Path) -> dict[str, str]:
    """Commit of the checkout that tracks a file, and whether its files differ from it; nothing for an installed one."""
    git = ("git", "-C", str(file.parent))
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", file.name], capture_output=True, check=True)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {COMMIT_TAG: commit.strip(), DIRTY_TAG: str(bool(changes)).lower()}


def hardware() -> dict[str, Any]:
    """Processor, cores, memory in GiB and accelerators of this machine."""
    gpus = Counter(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "accelerators": [f"{count} x {name}" for name, count in gpus.items()],
    }


def _processor() -> str:
    """The processor's model where the system says it, else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
