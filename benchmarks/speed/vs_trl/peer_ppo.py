"""One timed run of the PPO of TRL 1.12.0, in a process of its own; run with the folder of that release on the path."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from benchmarks.speed.vs_trl.peer import Clock, common
from benchmarks.speed.vs_trl.turns import Turns, now
from benchmarks.speed.vs_trl.workload import PPO_EPOCHS, PPO_LR, RESPONSE_TOKENS, SEED, Workload


class PPOClock(Clock):
    """Splits an update of TRL's PPO into rollout and the rest."""

    rollout_seconds = loss = 0.0

    def on_step_end(self, *arguments: Any, **options: Any) -> None:
        """An update has ended; it began with its rollout."""
        rest = now() - self.started - self.rollout_seconds
        figures = {"seconds": rest, "rollout_seconds": self.rollout_seconds, "loss": self.loss}
        self.turns.add(figures | {"tokens": self.tokens[0]})
        self.steps += 1

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **options: Any) -> None:
        """Keep the value loss, which unlike the policy loss is not 0 at the start."""
        self.loss = float(logs["loss/value_avg"])


def ppo(work: Workload) -> None:
    """TRL 1.12.0's PPO, the last release that has it; what it sampled is kept for the other side.

    It always samples to the full length. In the first step, which is not timed, responses stay that long, so that the
    losses can be compared: it rewards a shorter one at the place after its end. Later ones end where real ones do.
    """
    tokenizer = AutoTokenizer.from_pretrained(work.policy, padding_side="left")
    lengths, batches = work.response_lengths, work.batches
    clock = PPOClock(Turns(batches.steps), [sum(lengths)])
    plain = ppo_trainer.batch_generation

    def timed(model: Any, queries: torch.Tensor, *arguments: Any) -> Any:
        clock.on_step_begin()
        query_responses, logits = plain(model, queries, *arguments)
        clock.rollout_seconds = now() - clock.started
        responses = query_responses[:, queries.shape[1] :]
        for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):  # drawn by chance, they would cut a response
            responses[responses == token] = tokenizer.unk_token_id
        kept = lengths if clock.steps else [RESPONSE_TOKENS] * len(responses)
        for response, length in zip(responses, kept, strict=True):
            response[length - 1] = tokenizer.eos_token_id
        sampled = {
            "prompts": [[token for token in row if token != tokenizer.pad_token_id] for row in queries.tolist()],
            "responses": [row[:length] for row, length in zip(responses.tolist(), kept, strict=True)],
        }
        (work.folder / f"rollout_{clock.steps}.json").write_text(json.dumps(sampled))
        return query_responses, logits

    ppo_trainer.batch_generation = timed
    settings = common(work) | {
        "per_device_train_batch_size": batches.size,
        "gradient_accumulation_steps": 1,
        "learning_rate": PPO_LR,
    }
    for name in ("max_steps", "train_sampling_strategy", "max_grad_norm"):
        settings.pop(name)
    PPOTrainer(
        args=PPOConfig(
            **settings,
            num_ppo_epochs=PPO_EPOCHS,
            num_mini_batches=2,
            total_episodes=batches.size * batches.steps * batches.turns,
            local_rollout_forward_batch_size=batches.size,
            response_length=RESPONSE_TOKENS,
            stop_token="eos",
            temperature=1.0,
            kl_coef=0.05,
            num_sample_generations=0,
        ),
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(work.policy, dtype=torch.float32),
        ref_model=AutoModelForCausalLM.from_pretrained(work.policy, dtype=torch.float32),
        reward_model=AutoModelForSequenceClassification.from_pretrained(work.reward_model, num_labels=1),
        value_model=AutoModelForSequenceClassification.from_pretrained(work.reward_model, num_labels=1),
        train_dataset=Dataset.from_list([{"input_ids": row["ids"]} for row in work.rollout_prompts]),
        eval_dataset=Dataset.from_list([{"input_ids": row["ids"]} for row in work.rollout_prompts]),
        callbacks=[clock],
    ).train()


if __name__ == "__main__":
    torch.manual_seed(SEED)
    globals()[sys.argv[1]](Workload(Path(sys.argv[2])))
