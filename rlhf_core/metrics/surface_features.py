"""Surface features of responses, and how well each predicts preference, whatever the response says."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from rlhf_core.data.records import Pair
from rlhf_core.metrics.estimates import Estimate, clustered, student_95

LEAST_GROUPS = 30
"""Groups with a pair in which a feature differs, before anything is said of it."""

PRIOR = 10.0
"""Variance of the prior of a log odds ratio: keeps the ratio of a feature finite that is always right; mild else."""


def _count(pattern: str) -> Callable[[str], int]:
    compiled = re.compile(pattern, re.MULTILINE)
    return lambda text: len(compiled.findall(text))


FEATURES: dict[str, Callable[[str], int]] = {
    "words": lambda text: len(text.split()),
    "list items": _count(r"^\s*(?:[-*•]|\d{1,2}[.)])\s"),
    "markup": _count(r"\*\*|`|^#+\s"),
    "numbers": _count(r"\d+"),
    "hedges": _count(
        r"\b(?:may|might|could|perhaps|maybe|possibly|probably|likely|seems?|appears?|generally|usually|depends"
        r"|i (?:think|believe|guess)|not sure)\b"
    ),
    "refusals": _count(
        r"\b(?:i (?:can't|cannot|can not|won't|will not|wouldn't|couldn't)"
        r"|i(?:'m| am) (?:not able|unable|not comfortable|not going to)|as an ai)\b"
    ),
    "apologies": _count(r"\b(?:sorry|apologi[sz]e|apologies)\b"),
    "politeness": _count(r"\b(?:please|thanks?|welcome|glad|happy to|of course|certainly)\b"),
    "flattery": _count(r"\b(?:(?:great|good|excellent|wonderful) (?:question|idea|point)|you(?:'re| are) right)\b"),
    "exclamations": _count("!"),
    "questions": _count(r"\?"),
    "first person": _count(r"\bi\b|\bmy\b|\bme\b"),
}
"""Counts in a lower-case English text with straight apostrophes."""


class Effect(NamedTuple):
    """What having more of a feature than the other response does to the odds of being chosen.

    Attributes:
        more: pairs whose chosen response has more of it, with their weights.
        fewer: pairs whose rejected response has more of it.
        alone: odds ratio of the feature for itself, more over fewer with one half added to each; n counts the groups of
            those pairs.
        others_equal: odds ratio with all other features in the same logistic regression; n is the same.
    """

    more: float
    fewer: float
    alone: Estimate
    others_equal: Estimate


def surface_effects(pairs: Sequence[Pair], groups: ArrayLike) -> dict[str, Effect]:
    """Odds ratios of surface features, with 95 % intervals over groups.

    A feature enters by which response has more of it, 1, -1 or 0, so that a ratio of 1.5 says: of two responses that
    differ, the one with more is preferred 3 times in 5. The model is logistic without intercept, as it does not matter
    which response is named first; its intervals have the sandwich covariance of clustered data (Liang and Zeger, 1986,
    equation 8) and Student's quantile.

    Args:
        pairs: N labelled pairs; weights count.
        groups: what is drawn together, such as the prompt, shape ``[N]``.

    Returns:
        By feature, in the order of `FEATURES`; those that differ in fewer than 30 groups are left out.
    """
    labels = np.unique(np.asarray(groups), return_inverse=True)[1]
    weights = np.array([pair.weight for pair in pairs], dtype=np.float64)
    signs = np.sign(_measured([pair.chosen for pair in pairs]) - _measured([pair.rejected for pair in pairs]))
    columns = [index for index, column in enumerate(signs.T) if len(set(labels[column != 0])) >= LEAST_GROUPS]
    if not columns:
        return {}
    together = _odds_ratios(signs[:, columns], weights, labels)
    names = list(FEATURES)
    return {
        names[index]: _effect(signs[:, index], weights, labels, ratio)
        for index, ratio in zip(columns, together, strict=True)
    }


def _measured(texts: Sequence[str]) -> NDArray[np.float64]:
    """Counts of every feature, shape ``[N, F]``."""
    plain = [text.lower().replace("\u2019", "'") for text in texts]
    counts = [[count(text) for count in FEATURES.values()] for text in plain]
    return np.array(counts, dtype=np.float64).reshape(-1, len(FEATURES))


def _effect(
    signs: NDArray[np.float64], weights: NDArray[np.float64], groups: NDArray[np.int64], others_equal: Estimate
) -> Effect:
    differs = signs != 0

    def log_odds(
        counts: NDArray[np.float64], more: NDArray[np.float64], fewer: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return np.log(counts @ more + 0.5) - np.log(counts @ fewer + 0.5)

    more, fewer = (weights * side for side in (signs > 0, signs < 0))
    alone = clustered(log_odds, groups[differs], more[differs], fewer[differs])
    value, lower, upper = np.exp(alone[:3]).tolist()
    return Effect(float(more.sum()), float(fewer.sum()), Estimate(value, lower, upper, alone.n), others_equal)


def _odds_ratios(signs: NDArray[np.float64], weights: NDArray[np.float64], groups: NDArray[np.int64]) -> list[Estimate]:
    """Odds ratio of each column in one logistic regression; every second pair is turned round to make two classes."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 training can spare 75 MiB

    turned = np.where(np.arange(len(signs)) % 2, -1.0, 1.0)
    model = LogisticRegression(C=PRIOR, fit_intercept=False, solver="newton-cholesky")
    model.fit(turned[:, None] * signs, turned > 0, sample_weight=weights)
    logs = model.coef_[0]
    wrong = scipy.special.expit(-(signs @ logs))
    information = (signs * (weights * wrong * (1 - wrong))[:, None]).T @ signs + np.eye(len(logs)) / PRIOR
    scores = np.zeros((int(groups.max()) + 1, len(logs)))
    np.add.at(scores, groups, signs * (weights * wrong)[:, None])
    bread = np.linalg.inv(information)
    errors = np.sqrt(np.diag(bread @ (scores.T @ scores) @ bread) * len(scores) / max(len(scores) - 1, 1))
    counts = [len(set(groups[column != 0])) for column in signs.T]
    spreads = errors * [student_95(count) for count in counts]
    ends = np.exp([logs, logs - spreads, logs + spreads]).tolist()
    return [Estimate(*row) for row in zip(*ends, counts, strict=True)]
