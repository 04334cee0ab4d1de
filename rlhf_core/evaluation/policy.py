"""A policy against its SFT model on the same held-out prompts: reward, drift from the reference, diversity."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from rlhf_core.evaluation.drift import distinct_n, duplicate_share, eos_rate, length_ratio
from rlhf_core.evaluation.estimates import Estimate, mean, point
from rlhf_core.evaluation.preference import paired_gain, win_rate


class Answers(NamedTuple):
    """Responses of one policy to N prompts with what was measured on them.

    Attributes:
        texts: the responses.
        tokens: their lengths, shape ``[N]``.
        finished: whether they ended by themselves.
        kl: log-ratio to the SFT model summed over each response (k1), shape ``[N]``, nats.
        kl_k3: the same by the k3 estimator, shape ``[N]``, nats.
        reward: calibrated score by the reward model that trained the policy, shape ``[N]``, logits.
        judge: calibrated score by the held-out judge, shape ``[N]``, logits.
        disagreement: of the members of the reward model that trained the policy, as standard deviation, shape ``[N]``,
            calibrated logits; NaN where it has one head.
    """

    texts: list[str]
    tokens: NDArray[np.float64]
    finished: list[bool]
    kl: NDArray[np.float64]
    kl_k3: NDArray[np.float64]
    reward: NDArray[np.float64]
    judge: NDArray[np.float64]
    disagreement: NDArray[np.float64]

    def as_rows(self) -> NDArray[np.void]:
        """A row for each response, its fields by these names: one array of shape ``[N]``, without Python objects."""
        columns = [np.asarray(column) for column in self]
        fields = [(name, column.dtype) for name, column in zip(self._fields, columns, strict=True)]
        return np.rec.fromarrays(columns, dtype=fields)

    @classmethod
    def from_rows(cls, rows: NDArray[np.void]) -> Self:
        """The answers that `as_rows` gave."""
        columns = {name: rows[name] for name in cls._fields}
        return cls(**columns | {name: columns[name].tolist() for name in ("texts", "finished")})


def compare_policies(sft: Answers, policy: Answers) -> dict[str, Estimate]:
    """Every figure that the policy gates judge.

    Args:
        sft: answers of the SFT model.
        policy: answers of the trained policy to the same prompts, in the same order.

    Returns:
        Estimates by name; rewards in logits, KL in nats per response, ratios are policy over SFT. Where the reward
        model is an ensemble also `reward_disagreement`, `sft_reward_disagreement` and `reward_disagreement_gain`, the
        paired difference of both.
    """
    count = len(policy.texts)
    distinct, sft_distinct = distinct_n(policy.texts, 2), distinct_n(sft.texts, 2)
    return {
        "kl_to_sft_nats": mean(policy.kl),
        "kl_to_sft_nats_k3": mean(policy.kl_k3),
        "reward_gain": paired_gain(policy.reward, sft.reward),
        "judge_reward_gain": paired_gain(policy.judge, sft.judge),
        "judge_win_rate": win_rate(policy.judge, sft.judge),
        "eos_rate": eos_rate(policy.finished),
        "sft_eos_rate": eos_rate(sft.finished),
        "length_ratio": length_ratio(policy.tokens, sft.tokens),
        "distinct_2": point(distinct, count),
        "sft_distinct_2": point(sft_distinct, count),
        "distinct_2_ratio": point(distinct / max(sft_distinct, 1e-8), count),
        "duplicate_share": point(duplicate_share(policy.texts), count),
        "sft_duplicate_share": point(duplicate_share(sft.texts), count),
        **_disagreement(sft.disagreement, policy.disagreement),
    }


def _disagreement(sft: NDArray[np.float64], policy: NDArray[np.float64]) -> dict[str, Estimate]:
    """How far the members of an ensemble disagree about the answers, and how much further than before."""
    if np.isnan(policy).any():
        return {}
    return {
        "reward_disagreement": mean(policy),
        "sft_reward_disagreement": mean(sft),
        "reward_disagreement_gain": paired_gain(policy, sft),
    }
