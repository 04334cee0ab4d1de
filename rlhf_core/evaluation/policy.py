"""A policy against its SFT model on the same held-out prompts: reward, drift from the reference, diversity."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from rlhf_core.evaluation.diversity import (
    distinct,
    distinct_ratio,
    duplicates,
    duplicates_gain,
    entropy_per_token,
    entropy_ratio,
    self_bleu,
)
from rlhf_core.evaluation.drift import eos_rate, length_ratio
from rlhf_core.evaluation.estimates import Estimate, mean
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
        surprisal: minus the log-probability of each response under its policy, shape ``[N]``, nats.
    """

    texts: list[str]
    tokens: NDArray[np.float64]
    finished: list[bool]
    kl: NDArray[np.float64]
    kl_k3: NDArray[np.float64]
    reward: NDArray[np.float64]
    judge: NDArray[np.float64]
    surprisal: NDArray[np.float64]

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
        Estimates by name; rewards in logits, KL in nats per response, ratios are policy over SFT.
    """
    return {
        "kl_to_sft_nats": mean(policy.kl),
        "kl_to_sft_nats_k3": mean(policy.kl_k3),
        "reward_gain": paired_gain(policy.reward, sft.reward),
        "judge_reward_gain": paired_gain(policy.judge, sft.judge),
        "judge_win_rate": win_rate(policy.judge, sft.judge),
        "eos_rate": eos_rate(policy.finished),
        "sft_eos_rate": eos_rate(sft.finished),
        "length_ratio": length_ratio(policy.tokens, sft.tokens),
        **diversity(sft, policy),
        "sft_distinct_2": distinct(sft.texts, 2),
        "sft_duplicate_share": duplicates(sft.texts),
        "sft_self_bleu": self_bleu(sft.texts),
    }


def diversity(sft: Answers, policy: Answers) -> dict[str, Estimate]:
    """Signs of mode collapse in the answers of a policy, beside those of the SFT model to the same prompts.

    Returns:
        `distinct_1` to `distinct_3` and `distinct_2_ratio`; `duplicate_share` over all prompts and
        `duplicate_share_gain`; `self_bleu`; `entropy_nats` per token and `entropy_ratio`.
    """
    return {
        **{f"distinct_{n}": distinct(policy.texts, n) for n in (1, 2, 3)},
        "distinct_2_ratio": distinct_ratio(policy.texts, sft.texts, 2),
        "duplicate_share": duplicates(policy.texts),
        "duplicate_share_gain": duplicates_gain(policy.texts, sft.texts),
        "self_bleu": self_bleu(policy.texts),
        "entropy_nats": entropy_per_token(policy.surprisal, policy.tokens),
        "entropy_ratio": entropy_ratio(policy.surprisal, policy.tokens, sft.surprisal, sft.tokens),
    }
