"""What the trainers of TRL say of one batch; run in a process of its own, with a release of TRL on the path."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

MARGINS = [0.0, 0.5, 1.0, 2.0, 0.25, 0.0, 3.0, 1.5]
CENTRING = 0.01
BETA = 0.3
SMOOTHING = 0.15


def settings(folder: Path, size: int) -> dict[str, Any]:
    """One batch of all rows in their order, in float32."""
    return {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": size,
        "bf16": False,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }


def language_model(folder: Path, name: str) -> Any:
    """A policy in float32."""
    return AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32)


def batches(trainer: Any) -> list[Any]:
    """The batches as the trainer collates them."""
    return list(trainer.get_train_dataloader())


def sft(folder: Path, ids: list[dict[str, list[int]]]) -> dict[str, Any]:
    """The loss of chosen responses."""
    rows = [
        {
            "input_ids": row["prompt"] + row["chosen"],
            "completion_mask": [0] * len(row["prompt"]) + [1] * len(row["chosen"]),
        }
        for row in ids
    ]
    trainer = SFTTrainer(
        model=language_model(folder, "policy"),
        args=SFTConfig(**settings(folder, len(ids)), completion_only_loss=True),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / "policy"),
    )
    (batch,) = batches(trainer)
    return {"sft_loss": trainer.compute_loss(trainer.model, batch).detach()}


def reward_model(folder: Path, ids: list[dict[str, list[int]]]) -> dict[str, Any]:
    """Scores and losses of pairs, plain, with margins and with centring."""
    said = {}
    for name, margins, centring in (("plain", False, None), ("margin", True, None), ("centred", False, CENTRING)):
        rows = [
            {"chosen_ids": row["prompt"] + row["chosen"], "rejected_ids": row["prompt"] + row["rejected"]}
            | ({"margin": margin} if margins else {})
            for row, margin in zip(ids, MARGINS, strict=True)
        ]
        trainer = RewardTrainer(
            model=AutoModelForSequenceClassification.from_pretrained(
                folder / "reward_model", num_labels=1, dtype=torch.float32
            ),
            args=RewardConfig(**settings(folder, len(ids)), center_rewards_coefficient=centring),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(folder / "reward_model"),
        )
        (batch,) = batches(trainer)
        loss, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
        said[f"reward_loss_{name}"] = loss.detach()
    return said | {"scores": outputs.logits.detach().squeeze(-1)}


class Tokenised(DPOTrainer):  # type: ignore[misc]
    """TRL's DPO on token ids instead of texts."""

    def _prepare_dataset(self, dataset: Dataset, *arguments: Any) -> Dataset:
        return dataset


def dpo(folder: Path, ids: list[dict[str, list[int]]]) -> dict[str, Any]:
    """Losses of pairs: plain, IPO, and smoothed.

    `sigmoid` of this release has no smoothing. `aot` has that of conservative DPO on pairs that it sorts within a
    batch, so that it is conservative DPO where each pair is a batch of its own.
    """
    rows = [{f"{name}_ids": row[name] for name in ("prompt", "chosen", "rejected")} for row in ids]
    said = {}
    for loss, size, smoothing in (("sigmoid", len(ids), 0.0), ("ipo", len(ids), 0.0), ("aot", 1, SMOOTHING)):
        trainer = Tokenised(
            model=language_model(folder, "policy"),
            ref_model=language_model(folder, "reference"),
            args=DPOConfig(**settings(folder, size), beta=BETA, loss_type=loss, label_smoothing=smoothing),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(folder / "policy"),
        )
        found = [trainer.compute_loss(trainer.model, batch).detach() for batch in batches(trainer)]
        said[f"dpo_loss_{loss}"] = torch.stack(found)
        if size > 1:
            (batch,) = batches(trainer)
            said["policy_logprobs"] = torch.cat(trainer.compute_ref_log_probs(trainer.model, batch)).detach()
            said["ref_logprobs"] = torch.cat(trainer.compute_ref_log_probs(trainer.ref_model, batch)).detach()
    return said


if __name__ == "__main__":
    where = Path(sys.argv[1])
    pairs = json.loads((where / "ids.json").read_text())
    torch.save({**sft(where, pairs), **reward_model(where, pairs), **dpo(where, pairs)}, where / "trl_losses.pt")
