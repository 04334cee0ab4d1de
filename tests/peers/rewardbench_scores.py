"""What RewardBench's own tool says of a reward model; run in a process of its own, with RewardBench on the path.

Its pipeline for sequence classifiers asks for a CUDA device by name; without one the tokens stay where they are. It
also has pipelines for models with code of their own, which want names that transformers 5 no longer has; these names,
and modules that it imports for uploads and such models, stand empty. What scores here is all its own.
"""

import re
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from transformers import BatchEncoding

ABSENT = ("wandb", "pkg_resources", "trl")
RELOADED = ("rewardbench", "fastchat")
MOST = 100
"""Names that may be missing."""


class Empty:
    """Stands for a class or a decorator with arguments that is not there."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, decorated: Any) -> Any:
        """Decorate nothing."""
        return decorated


def load() -> None:
    """Import RewardBench, with every name that is missing from another library standing empty."""
    for name in ABSENT:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__spec__ = ModuleSpec(name, None)
    for _ in range(MOST):
        try:
            import_module("rewardbench")
            return
        except ImportError as error:
            missing = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error))
            if missing is None:
                raise
            setattr(sys.modules[missing[2]], missing[1], "" if missing[1].isupper() else Empty)
            for module in [name for name in sys.modules if name.partition(".")[0] in RELOADED]:
                del sys.modules[module]


if not torch.cuda.is_available():
    BatchEncoding.to = lambda self, *_, **__: self
load()

from rewardbench.constants import EXAMPLE_COUNTS, SUBSET_MAPPING  # noqa: E402
from rewardbench.rewardbench import Args, rewardbench  # noqa: E402
from rewardbench.utils import calculate_scores_per_section  # noqa: E402

if __name__ == "__main__":
    where, model, batch_size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    rewardbench(
        Args(
            dataset=str(where / "pairs.jsonl"),
            load_json=True,
            model=model,
            not_quantized=True,
            torch_dtype="float32",
            batch_size=batch_size,
            output_dir=str(where / "results"),
        )
    )
    given = torch.load(where / "accuracies.pt")
    sections = calculate_scores_per_section(EXAMPLE_COUNTS, SUBSET_MAPPING, given)
    torch.save({"sections": sections}, where / "rewardbench_scores.pt")
