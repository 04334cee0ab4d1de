"""The configuration of the year's project, as a team would write it."""

from pathlib import Path
from typing import Any

import yaml

from benchmarks.year.inbox import TABLES
from benchmarks.year.size import Size
from rlhf_core.base.embedded import pretrain
from rlhf_core.config.base import PretrainConfig

PROJECT = "year"

FORMATS: dict[str, dict[str, Any]] = {
    "demonstrations": {"columns": {"prompt": "prompt", "response": "response"}},
    "pairs": {
        "columns": {
            "prompt": "prompt",
            "responses": ["response_a", "response_b"],
            "label": "better",
            "annotator": "annotator",
        },
        "labels": {"a": "first", "b": "second"},
    },
    "prompts": {"columns": {"prompt": "prompt"}},
}
"""How the files of each table are read."""


def make_base(config: PretrainConfig, out: Path, seed: int) -> Path:
    """The base as a folder, once; one that is there is kept."""
    if not (out / "config.json").exists():
        part = out.with_name(f"{out.name}.part")
        for _ in pretrain(config, out=part, seed=seed):
            pass
        part.rename(out)
    return out


def document(size: Size, folder: Path, seed: int) -> dict[str, Any]:
    """The configuration as a document.

    Args:
        size: of the year.
        folder: that holds inbox, base and storage.
        seed: of every stage.
    """
    return {
        "project": PROJECT,
        "seed": seed,
        "threads": 1,
        "storage": str(folder / "storage"),
        "data": {
            "kind": "files",
            **{
                field: [{"path": str(folder / "inbox" / table), "format": FORMATS[table]}]
                for table, field in TABLES.items()
            },
        },
        "contract": {"near_held_out": None},  # prompts of the help desk are all made of the same few phrases
        "base": {"kind": "folder", "path": str(folder / "base")},
        "compute": {"checkpoint_seconds": 5},
        **size.settings,
    }


def write_configuration(size: Size, folder: Path, seed: int) -> Path:
    """Write `ladder.yaml` into the folder of the year."""
    path = folder / "ladder.yaml"
    path.write_text(yaml.safe_dump(document(size, folder, seed), sort_keys=False), encoding="utf-8")
    return path
