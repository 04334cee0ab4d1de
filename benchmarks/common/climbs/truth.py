"""What answers are truly worth, which no gate sees: the gold reward of the embedded world."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_core.config.policy import PolicyConfig
from rlhf_core.data.records import Response
from rlhf_core.embedded_world.audit import audit
from rlhf_core.embedded_world.gold import gold_components, gold_reward
from rlhf_core.evaluators.policy import PolicyEvaluator
from rlhf_core.metrics.estimates import Estimate, mean
from rlhf_core.metrics.policy import Answers
from rlhf_core.metrics.win_rate import paired_gain
from rlhf_core.models.loading import load_policy
from rlhf_core.training.stage import Stage, StageResult


def tell_truth(
    config: PolicyConfig,
    *,
    sft: Path,
    reward_model: Path,
    judge: Path,
    policy: Path,
    prompts: Sequence[str],
    seed: int,
    cache: Path | None,
) -> Stage:
    """Have a policy and its SFT model answer held-out prompts with sound code, and judge them by the gold reward.

    Args:
        config: sampling.
        sft: folder of the SFT model.
        reward_model: folder of the reward model.
        judge: folder of the judge.
        policy: folder of the policy.
        prompts: N prompts of the embedded world.
        seed: seed of the answers.
        cache: where the SFT model's answers are kept.

    Returns:
        No artifact; the estimates of `audit` for `sft` and `policy`, `gold_gain` of the policy over SFT, paired, and
        `kl_to_sft_nats`, `reward_gain`, `judge_gain` on the same answers; series `sft_gold` and `policy_gold`, by
        prompt.
    """
    yield from ()
    examiner = PolicyEvaluator(config, sft=sft, reward_model=reward_model, judge=judge, seed=seed, cache=cache)
    before = examiner.baseline(prompts)
    after = examiner.answer(load_policy(policy, examiner.tokenizer), prompts)
    said = {"sft": _responses(before), "policy": _responses(after)}
    gold = {
        name: [gold_reward(prompt, *response) for prompt, response in zip(prompts, responses, strict=True)]
        for name, responses in said.items()
    }
    estimates: dict[str, Estimate] = {
        **audit(prompts, said),
        "gold_gain": paired_gain(gold["policy"], gold["sft"]),
        "kl_to_sft_nats": mean(after.kl),
        "reward_gain": paired_gain(after.reward, before.reward),
        "judge_gain": paired_gain(after.judge, before.judge),
    }
    return StageResult(artifacts={}, estimates=estimates, series={f"{name}_gold": rows for name, rows in gold.items()})


def curve(answers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean KL, proxy, judge and gold reward of every evaluation, with lengths and parts of the gold reward.

    Args:
        answers: lines of the `answers.jsonl` that PPO writes.
    """
    by_step: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for answer in answers:
        by_step[answer["step"]].append(answer)
    return [{"step": step, **_point(rows)} for step, rows in sorted(by_step.items())]


def _point(rows: list[dict[str, Any]]) -> dict[str, Any]:
    said = [(row["prompt"], row["response"], row["finished"]) for row in rows]
    parts = [gold_components(*item) for item in said]
    kl = mean([row["kl_to_sft_nats"] for row in rows])
    return {
        "kl": kl.value,
        "kl_upper": kl.upper,
        "reward": float(np.mean([row["reward_score"] for row in rows])),
        "judge": float(np.mean([row["judge_score"] for row in rows])),
        "gold": float(np.mean([gold_reward(*item) for item in said])),
        "gold_interval": mean([gold_reward(*item) for item in said])._asdict(),
        "words": float(np.mean([len(response.split()) for _, response, _ in said])),
        "right": float(np.mean([part["right"] > 0 for part in parts])),
        "filler": float(np.mean([part["filler"] < 0 for part in parts])),
    }


def _responses(answers: Answers) -> list[Response]:
    return [Response(text, bool(finished)) for text, finished in zip(answers.texts, answers.finished, strict=True)]
