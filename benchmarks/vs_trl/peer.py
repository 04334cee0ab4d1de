"""One timed run of TRL, in a process of its own and with TRL's own trainers; run with the folder of TRL on the path."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from benchmarks.vs_trl.workload import BATCH, SEED, Workload

ON_GPU = torch.cuda.is_available()


class Clock(TrainerCallback):
    """Seconds and loss of every optimiser step."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.steps: list[dict[str, Any]] = []
        self.started = 0.0

    def on_step_begin(self, *arguments: Any, **options: Any) -> None:
        """Start to count."""
        self.started = time.perf_counter()

    def on_step_end(self, *arguments: Any, **options: Any) -> None:
        """Stop; the loss follows."""
        tokens = self.tokens[len(self.steps)] if self.tokens else 0
        self.steps.append({"seconds": time.perf_counter() - self.started, "tokens": tokens, "loss": None})

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **options: Any) -> None:
        """Keep the loss of the step that just ended."""
        if "loss" in logs:
            self.steps[-1]["loss"] = float(logs["loss"])


def common(folder: Path, steps: int) -> dict[str, Any]:
    """Settings that both trainers share; on a processor bf16 and checkpointing would only slow TRL down."""
    return {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": BATCH // 2,
        "gradient_accumulation_steps": 2,
        "max_steps": steps,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "optim": "adamw_torch_fused",
        "bf16": ON_GPU,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "train_sampling_strategy": "sequential",
        "use_cpu": not ON_GPU,
        "dataloader_pin_memory": False,
        "seed": SEED,
    }


def sft(work: Workload, steps: int, **special: Any) -> list[dict[str, Any]]:
    """TRL's SFT on the responses only."""
    rows = [
        {
            "input_ids": row["prompt"] + row["chosen"],
            "completion_mask": [0] * len(row["prompt"]) + [1] * len(row["chosen"]),
        }
        for row in work.ids
    ]
    sizes = [len(row["input_ids"]) for row in rows]
    clock = Clock([sum(sizes[start : start + BATCH]) for start in range(0, len(sizes), BATCH)])
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(work.policy, dtype=torch.float32),
        args=SFTConfig(**{**common(work.folder, steps), "max_length": 1024, "completion_only_loss": True, **special}),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(work.policy),
        callbacks=[clock],
    )
    if special.get("packing"):
        packed = trainer.train_dataset
        per_step = 3
        lengths = [len(row["input_ids"]) for row in packed]
        clock.tokens = [sum(lengths[start : start + per_step]) for start in range(0, len(lengths), per_step)]
    trainer.train()
    return clock.steps


def sft_packing(work: Workload, steps: int) -> list[dict[str, Any]]:
    """TRL's fastest setting: about as many tokens in a step, in three packs of 1,024."""
    special = {"packing": True, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 1}
    return sft(work, steps, **special)


def reward_model(work: Workload, steps: int) -> list[dict[str, Any]]:
    """TRL's reward-model training."""
    rows = [
        {"chosen_ids": row["prompt"] + row["chosen"], "rejected_ids": row["prompt"] + row["rejected"]}
        for row in work.ids
    ]
    sizes = [len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows]
    clock = Clock([sum(sizes[start : start + BATCH]) for start in range(0, len(sizes), BATCH)])
    RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(work.reward_model, num_labels=1, dtype=torch.float32),
        args=RewardConfig(**common(work.folder, steps), max_length=1024, disable_dropout=True),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(work.reward_model),
        callbacks=[clock],
    ).train()
    return clock.steps


class Tokenised(DPOTrainer):  # type: ignore[misc]
    """TRL's DPO on token ids instead of texts, which times the reference where it runs before training."""

    def _prepare_dataset(self, dataset: Dataset, *arguments: Any) -> Dataset:
        self.reference_seconds: list[float] = []
        return dataset

    def compute_ref_log_probs(self, *arguments: Any) -> Any:
        """TRL's own, one micro-batch at a time."""
        started = time.perf_counter()
        found = super().compute_ref_log_probs(*arguments)
        self.reference_seconds.append(time.perf_counter() - started)
        return found


def dpo(work: Workload, steps: int, **special: Any) -> list[dict[str, Any]]:
    """TRL's DPO; the reference goes with the policy, batch by batch."""
    rows = [{f"{name}_ids": row[name] for name in ("prompt", "chosen", "rejected")} for row in work.ids]
    sizes = [2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows]
    clock = Clock([sum(sizes[start : start + BATCH]) for start in range(0, len(sizes), BATCH)])
    trainer = Tokenised(
        model=AutoModelForCausalLM.from_pretrained(work.policy, dtype=torch.float32),
        args=DPOConfig(**common(work.folder, steps), beta=0.1, max_length=1024, **special),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(work.policy),
        callbacks=[clock],
    )
    trainer.train()
    before = trainer.reference_seconds
    for place, step in enumerate(clock.steps):
        if before:
            step["reference_seconds"] = sum(before[2 * place : 2 * place + 2])
            step["seconds"] += step["reference_seconds"]
    return clock.steps


def dpo_precomputed(work: Workload, steps: int) -> list[dict[str, Any]]:
    """TRL's DPO with the reference's log-probabilities taken before training, in the same micro-batches."""
    return dpo(work, steps, precompute_ref_log_probs=True)


def report(done: list[dict[str, Any]]) -> None:
    """Print the figures of some steps, and the memory of this process at its peak, as JSON."""
    print(json.dumps({"steps": done, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    torch.manual_seed(SEED)
    report(globals()[sys.argv[1]](Workload(Path(sys.argv[2])), int(sys.argv[3])))
