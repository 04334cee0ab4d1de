"""What RewardBench's own tool says of a reward model; run in a process of its own, with RewardBench on the path.

Its pipeline for sequence classifiers asks for a CUDA device by name; without one the tokens stay where they are. It
reports to a service that is not asked here, whose client is not installed. Nothing else is replaced.
"""

import sys
from pathlib import Path
from types import ModuleType

import torch
from transformers import BatchEncoding

if not torch.cuda.is_available():
    BatchEncoding.to = lambda self, *_, **__: self
for absent in ("wandb",):
    sys.modules[absent] = ModuleType(absent)

from rewardbench.constants import EXAMPLE_COUNTS, SUBSET_MAPPING  # noqa: E402
from rewardbench.rewardbench import Args, rewardbench  # noqa: E402
from rewardbench.utils import calculate_scores_per_section  # noqa: E402

if __name__ == "__main__":
    where, model = Path(sys.argv[1]), sys.argv[2]
    rewardbench(
        Args(
            dataset=str(where / "pairs.jsonl"),
            load_json=True,
            model=model,
            not_quantized=True,
            torch_dtype="float32",
            batch_size=4,
            output_dir=str(where / "results"),
        )
    )
    given = torch.load(where / "accuracies.pt")
    sections = calculate_scores_per_section(EXAMPLE_COUNTS, SUBSET_MAPPING, given)
    torch.save({"sections": sections}, where / "rewardbench_scores.pt")
