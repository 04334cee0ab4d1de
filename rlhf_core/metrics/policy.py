"""A policy against its SFT model on the same held-out prompts: reward, KL to the reference, diversity."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from rlhf_core.metrics.diversity import (
    distinct,
    distinct_ratio,
    duplicates,
    duplicates_gain,
    entropy_per_token,
    entropy_ratio,
    self_bleu,
)
from rlhf_core.metrics.drift import eos_rate, length_ratio
from rlhf_core.metrics.estimates import Estimate, clustered, mean
from rlhf_core.metrics.length_bias import weighted_pearson
from rlhf_core.metrics.win_rate import paired_gain, win_rate

TERM = "term."
"""Before the name of a term where it is a column of rows."""


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
        surprisal: minus the log-probability of each response under its policy, shape ``[N]``, nats.
        terms: what further terms of the reward say, by name, each of shape ``[N]``.
    """

    texts: list[str]
    tokens: NDArray[np.float64]
    finished: list[bool]
    kl: NDArray[np.float64]
    kl_k3: NDArray[np.float64]
    reward: NDArray[np.float64]
    judge: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    surprisal: NDArray[np.float64]
    terms: Mapping[str, NDArray[np.float64]] = {}

    def as_rows(self) -> NDArray[np.void]:
        """A row for each response, its fields by these names: one array of shape ``[N]``, without Python objects."""
        columns = {name: np.asarray(column) for name, column in self._asdict().items() if name != "terms"}
        columns |= {f"{TERM}{name}": values for name, values in self.terms.items()}
        fields = [(name, column.dtype) for name, column in columns.items()]
        return np.rec.fromarrays(list(columns.values()), dtype=fields)

    @classmethod
    def from_rows(cls, rows: NDArray[np.void]) -> Self:
        """The answers that `as_rows` gave."""
        columns: dict[str, Any] = {name: rows[name] for name in cls._fields if name != "terms"}
        columns |= {name: rows[name].tolist() for name in ("texts", "finished")}
        terms = {name.removeprefix(TERM): rows[name] for name in rows.dtype.names or () if name.startswith(TERM)}
        return cls(**columns, terms=terms)


def compare_policies(sft: Answers, policy: Answers) -> dict[str, Estimate]:
    """Every figure that the policy gates judge.

    Args:
        sft: answers of the SFT model.
        policy: answers of the trained policy to the same prompts, in the same order.

    Returns:
        Estimates by name; rewards in logits, KL in nats per response, ratios are policy over SFT. `judge_correlation`
        is Pearson's between the gains that reward model and judge see, by prompt: what either says of a prompt
        whatever the answer, which comparisons never teach, is not in them. Where the reward model is an ensemble also
        `reward_disagreement`, `sft_reward_disagreement` and `reward_disagreement_gain`, the paired difference of both.
        Of each further term of the reward `reward_<name>`, the mean over the policy's answers, and
        `reward_<name>_gain` over SFT, in the term's own unit.
    """
    return {
        "kl_to_sft_nats": mean(policy.kl),
        "kl_to_sft_nats_k3": mean(policy.kl_k3),
        "reward_gain": paired_gain(policy.reward, sft.reward),
        "judge_reward_gain": paired_gain(policy.judge, sft.judge),
        "judge_win_rate": win_rate(policy.judge, sft.judge),
        "judge_correlation": _correlation(policy.reward - sft.reward, policy.judge - sft.judge),
        "eos_rate": eos_rate(policy.finished),
        "sft_eos_rate": eos_rate(sft.finished),
        "length_ratio": length_ratio(policy.tokens, sft.tokens),
        **diversity(sft, policy),
        "sft_distinct_2": distinct(sft.texts, 2),
        "sft_duplicate_share": duplicates(sft.texts),
        "sft_self_bleu": self_bleu(sft.texts),
        **disagreements(sft, policy),
        **{f"reward_{name}": mean(values) for name, values in policy.terms.items()},
        **{f"reward_{name}_gain": paired_gain(values, sft.terms[name]) for name, values in policy.terms.items()},
    }


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> Estimate:
    return clustered(weighted_pearson, np.arange(len(first)), first, second)


def disagreements(sft: Answers, policy: Answers) -> dict[str, Estimate]:
    """How far reward models disagree about the answers of a policy, and how much further than about SFT's.

    Nothing where there is one with a single head.
    """
    if np.isnan(policy.disagreement).any():
        return {}
    return {
        "reward_disagreement": mean(policy.disagreement),
        "sft_reward_disagreement": mean(sft.disagreement),
        "reward_disagreement_gain": paired_gain(policy.disagreement, sft.disagreement),
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
