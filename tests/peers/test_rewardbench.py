"""RewardBench's own tool on a reward model that was saved here: the scores and accuracies of `rlhf reward-bench`."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.config.loading import load_config
from flows.inference.pair_set import read_pair_set
from flows.inference.reward_bench import evaluate_pairs
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.metrics.reward_bench import SECTIONS
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.loading import load_reward_model, save

pytestmark = pytest.mark.slow
CONFIG = Path("configs/tiny.yaml")
Ask = Callable[..., Any]


def pairs() -> list[dict[str, Any]]:
    """Whole conversations, as the tool wants them; of every subset, each third with a prompt of three turns."""
    rng = random.Random(3)

    def say(least: int, most: int) -> str:
        return " ".join(f"w{rng.randrange(27)}" for _ in range(rng.randint(least, most)))

    rows = []
    for index, subset in enumerate(name for subsets in SECTIONS.values() for name in subsets):
        turns = [("user", say(1, 5)), ("assistant", say(1, 4)), ("user", say(1, 5))][0 if index % 3 == 0 else 2 :]
        before = [{"role": role, "content": content} for role, content in turns]
        for _ in range(2):
            chosen, rejected = ([*before, {"role": "assistant", "content": say(1, 8)}] for _ in range(2))
            rows.append({"subset": subset, "prompt": turns[0][1], "chosen": chosen, "rejected": rejected})
    return rows


def test_it_gives_the_same_scores_and_sections(rewardbench: Path, work: Path, ask: Ask, same: Ask) -> None:
    """Raw logits, pair by pair. It pads on the left and tells no positions, so GPT-2, which learns them, goes alone."""
    batch_size = "1" if work.name.startswith("gpt2") else "4"
    tokenizer = load_tokenizer(str(work / "reward_model"))
    model = load_reward_model(work / "reward_model", tokenizer)
    setattr(model.config, TEMPERATURE, 1.7)
    save(model, tokenizer, work / "saved")
    (work / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs()))
    judged = evaluate_pairs(
        load_config(CONFIG),
        str(work / "saved"),
        read_pair_set(str(work / "pairs.jsonl"), split="train", subsets=()),
    )
    accuracies = {name: found.value for name, found in judged.figures.subsets.items()}
    torch.save(accuracies, work / "accuracies.pt")
    said = ask("rewardbench_scores.py", [rewardbench], work, "saved", batch_size).said
    rows = [json.loads(line) for line in (work / "results" / "saved_outputs.jsonl").read_text().splitlines()]
    for side, ours in (("scores_chosen", judged.chosen), ("scores_rejected", judged.rejected)):
        theirs = torch.tensor([row[side] for row in rows], dtype=torch.float64).flatten()
        same("RewardBench: scores", ours * judged.temperature, theirs, tolerance=1e-4)
    assert [row["results"] for row in rows] == (judged.chosen > judged.rejected).astype(int).tolist()
    assert said["sections"] == pytest.approx({name: found.value for name, found in judged.figures.sections.items()})
    assert len({round(row["scores_chosen"], 3) for row in rows}) > len(rows) / 2
