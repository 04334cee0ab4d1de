"""What one update of TRL's PPO computes on given responses; run in a process of its own, with TRL 1.12.0 on the path.

TRL has the arithmetic of PPO inside one method, `train`. It runs here as it is. Sampling alone is replaced, by given
responses with the logits that TRL's own forward gives them, so that both sides work on the same tokens. What `train`
holds in its variables is read where it calls `masked_whiten`, and where it calls `backward`.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

ROLLOUT = ("logprobs", "ref_logprobs", "scores", "values", "kl", "rewards", "advantages", "returns", "padding_mask")
ROLLOUT = (*ROLLOUT, "padding_mask_p1", "sequence_lengths")
STEP = ("micro_batch_inds", "mb_advantage", "mb_return", "mb_values", "mb_logprobs", "new_logprobs", "vpred")
STEP = (*STEP, "pg_loss", "vf_loss")
SETTINGS = {
    "num_ppo_epochs": 2,
    "num_mini_batches": 2,
    "kl_coef": 0.2,
    "gamma": 0.97,
    "lam": 0.9,
    "cliprange": 0.1,
    "cliprange_value": 0.1,
    "learning_rate": 1e-2,
}
"""Not the defaults, so that each of them shows."""


def update(folder: Path, ids: list[dict[str, list[int]]], responses: list[list[int]], **special: Any) -> dict[str, Any]:
    """One update of TRL's PPO.

    Args:
        folder: holds the models.
        ids: with the prompts.
        responses: to each of them, as many token ids each.
        special: further settings.

    Returns:
        What `train` held: of the rollout, and of every minibatch by number; rows in the order of the prompts. Its
        metrics.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    order: list[int] = []
    held: dict[str, Any] = {}
    steps: list[dict[str, Any]] = []

    def given(model: Any, queries: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        prompts = [row["prompt"] for row in ids]
        kept = [[token for token in row if token != tokenizer.pad_token_id] for row in queries.tolist()]
        order[:] = [prompts.index(prompt) for prompt in kept]
        whole = torch.cat((queries, torch.tensor([responses[index] for index in order])), dim=1)
        output = ppo_trainer.forward(model, whole, tokenizer.pad_token_id)
        return whole, output.logits[:, queries.shape[1] - 1 : -1]

    def watched(call: Callable[..., Any], look: Callable[[FrameType], None]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            look(sys._getframe(1))
            return call(*arguments, **options)

        return called

    plain = ppo_trainer.masked_whiten
    ppo_trainer.batch_generation = given
    ppo_trainer.masked_whiten = watched(plain, lambda frame: held.update(copied(frame, ROLLOUT)))
    trainer = PPOTrainer(
        args=PPOConfig(
            **SETTINGS,
            **special,
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=len(ids),
            gradient_accumulation_steps=1,
            total_episodes=len(ids),
            local_rollout_forward_batch_size=len(ids),
            response_length=len(responses[0]),
            stop_token="eos",
            temperature=1.0,
            num_sample_generations=0,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
        ),
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=torch.float32),
        ref_model=AutoModelForCausalLM.from_pretrained(folder / "reference", dtype=torch.float32),
        reward_model=AutoModelForSequenceClassification.from_pretrained(folder / "reward_model", num_labels=1),
        value_model=AutoModelForSequenceClassification.from_pretrained(folder / "value_model", num_labels=1),
        train_dataset=Dataset.from_list([{"input_ids": row["prompt"]} for row in ids]),
        eval_dataset=Dataset.from_list([{"input_ids": row["prompt"]} for row in ids]),
    )
    trainer.accelerator.backward = watched(
        trainer.accelerator.backward, lambda frame: steps.append(copied(frame, STEP))
    )
    trainer.train()
    ppo_trainer.masked_whiten = plain
    places = torch.tensor(order).argsort()
    whitened = torch.zeros_like(held["advantages"])
    for step in steps:
        whitened[step["micro_batch_inds"]] = step["mb_advantage"]
        step["rows"] = [order[index] for index in step.pop("micro_batch_inds").tolist()]
    rollout = {name: values[places] for name, values in {**held, "whitened": whitened}.items()}
    metrics = {name: value for name, value in trainer.state.log_history[-1].items() if isinstance(value, float)}
    return {"rollout": rollout, "steps": steps, "metrics": metrics}


def copied(frame: FrameType, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Copies of variables of a caller."""
    return {name: torch.as_tensor(frame.f_locals[name]).detach().clone() for name in names}


if __name__ == "__main__":
    where = Path(sys.argv[1])
    given = json.loads((where / "ids.json").read_text())
    answers = json.loads((where / "responses.json").read_text())
    torch.save(
        {
            "full": update(where, given, answers["full"], kl_estimator="k1"),
            "ragged": update(where, given, answers["ragged"], kl_estimator="k3", missing_eos_penalty=0.7),
        },
        where / "trl_ppo.pt",
    )
