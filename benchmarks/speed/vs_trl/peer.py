"""One timed run of TRL, in a process of its own and with TRL's own trainers; run with the folder of TRL on the path."""

import sys
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

from benchmarks.speed.vs_trl.turns import Turns, now
from benchmarks.speed.vs_trl.workload import SEED, Workload

ON_GPU = torch.cuda.is_available()


class Clock(TrainerCallback):
    """Seconds and loss of every optimiser step, turn by turn."""

    def __init__(self, turns: Turns, tokens: list[int]) -> None:
        self.turns = turns
        self.tokens = tokens
        self.steps = 0
        self.started = self.seconds = 0.0

    def on_step_begin(self, *arguments: Any, **options: Any) -> None:
        """Start to count when it is this side's turn."""
        self.turns.enter()
        self.started = now()

    def on_step_end(self, *arguments: Any, **options: Any) -> None:
        """Stop; the loss follows."""
        self.seconds = now() - self.started

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **options: Any) -> None:
        """Keep the loss of the step that just ended."""
        if "loss" in logs:
            tokens = self.tokens[self.steps % len(self.tokens)]
            self.turns.add({"seconds": self.seconds, "tokens": tokens, "loss": float(logs["loss"])} | self.beside())
            self.steps += 1

    def beside(self) -> dict[str, float]:
        """What else is known of the step."""
        return {}


def common(work: Workload) -> dict[str, Any]:
    """Settings that all trainers share; on a processor bf16 and checkpointing would only slow TRL down."""
    batches = work.batches
    return {
        "output_dir": str(work.folder / "trl"),
        "per_device_train_batch_size": batches.micro,
        "gradient_accumulation_steps": batches.size // batches.micro,
        "max_steps": batches.steps * batches.turns,
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


def sft(work: Workload, **special: Any) -> None:
    """TRL's SFT on the responses only."""
    rows = [
        {
            "input_ids": row["prompt"] + row["chosen"],
            "completion_mask": [0] * len(row["prompt"]) + [1] * len(row["chosen"]),
        }
        for row in work.ids
    ]
    clock = Clock(Turns(work.batches.steps), work.by_step([len(row["input_ids"]) for row in rows]))
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(work.policy, dtype=torch.float32),
        args=SFTConfig(**{**common(work), "max_length": 1024, "completion_only_loss": True, **special}),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(work.policy),
        callbacks=[clock],
    )
    if special.get("packing"):
        per_step = packs(work)
        lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
        clock.tokens = [sum(lengths[start : start + per_step]) for start in range(0, len(lengths), per_step)]
    trainer.train()


def sft_packing(work: Workload) -> None:
    """TRL's fastest setting: about as many tokens in a step, in packs of 1,024, half of TRL's micro-batches."""
    rounds = max(1, work.batches.size // work.batches.micro // 2)
    sft(work, packing=True, per_device_train_batch_size=packs(work) // rounds, gradient_accumulation_steps=rounds)


def packs(work: Workload) -> int:
    """Packs of 1,024 tokens that hold about as many tokens as a step's dialogues."""
    return 3 * work.batches.size // 16


def reward_model(work: Workload) -> None:
    """TRL's reward-model training."""
    rows = [
        {"chosen_ids": row["prompt"] + row["chosen"], "rejected_ids": row["prompt"] + row["rejected"]}
        for row in work.ids
    ]
    sizes = [len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows]
    RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(work.reward_model, num_labels=1, dtype=torch.float32),
        args=RewardConfig(**common(work), max_length=1024, disable_dropout=True),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(work.reward_model),
        callbacks=[Clock(Turns(work.batches.steps), work.by_step(sizes))],
    ).train()


class Tokenised(DPOTrainer):  # type: ignore[misc]
    """TRL's DPO on token ids instead of texts, which times the reference where it runs before training."""

    def __init__(self, turns: Turns, **options: Any) -> None:
        self.turns = turns
        self.reference_seconds: list[float] = []
        super().__init__(**options)

    def _prepare_dataset(self, dataset: Dataset, *arguments: Any) -> Dataset:
        return dataset

    def compute_ref_log_probs(self, *arguments: Any) -> Any:
        """TRL's own, one micro-batch at a time, all of them in the first turn."""
        self.turns.enter()
        started = now()
        found = super().compute_ref_log_probs(*arguments)
        self.reference_seconds.append(now() - started)
        return found


class DPOClock(Clock):
    """Adds the reference's pass over the pairs of a step to it."""

    trainer: Tokenised

    def beside(self) -> dict[str, float]:
        """The reference's pass, where it was before training."""
        rounds = self.trainer.args.gradient_accumulation_steps
        reference = sum(self.trainer.reference_seconds[rounds * self.steps : rounds * (self.steps + 1)])
        return {"seconds": self.seconds + reference, "reference_seconds": reference}


def dpo(work: Workload, **special: Any) -> None:
    """TRL's DPO; the reference goes with the policy, batch by batch."""
    rows = [{f"{name}_ids": row[name] for name in ("prompt", "chosen", "rejected")} for row in work.ids]
    sizes = [2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows]
    turns = Turns(work.batches.steps)
    clock = DPOClock(turns, work.by_step(sizes))
    clock.trainer = Tokenised(
        turns,
        model=AutoModelForCausalLM.from_pretrained(work.policy, dtype=torch.float32),
        args=DPOConfig(**common(work), beta=0.1, max_length=1024, **special),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(work.policy),
        callbacks=[clock],
    )
    clock.trainer.train()


def dpo_precomputed(work: Workload) -> None:
    """TRL's DPO with the reference's log-probabilities taken before training, in the same micro-batches."""
    dpo(work, precompute_ref_log_probs=True)


if __name__ == "__main__":
    torch.manual_seed(SEED)
    globals()[sys.argv[1]](Workload(Path(sys.argv[2])))
