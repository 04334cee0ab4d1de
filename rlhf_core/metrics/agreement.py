"""Preference accuracy of a reward model, and the floors: how often something trivial agrees with people."""

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from rlhf_core.data.records import Pair
from rlhf_core.metrics.bag_of_words import word_presence
from rlhf_core.metrics.calibration import hits

FLOOR_TRAINING_PAIRS = 20_000
"""Pairs that the bag of words learns from at most; more change its agreement little."""

FOLDS = 5

PENALTY = 0.02
"""Inverse strength of the L2 penalty; a few hundred pairs need about this much, and tens of thousands mind little."""


def floor_hits(
    train: Sequence[Pair], held_out: Sequence[Pair], groups: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Agreement of the best trivial rules, pair by pair.

    The bag of words is cross-validated: it judges a fold of the held-out pairs after learning from the others and from
    all training pairs, whatever their weight, so it knows no group that it judges and no less than the reward model.

    Args:
        train: pairs that the bag of words learns from; may be empty.
        held_out: N pairs to judge.
        groups: what must not be torn apart by folds, such as the prompt of each held-out pair, shape ``[N]``.

    Returns:
        For `longest`, `shortest` and `bag_of_words`: 1 where the rule prefers the chosen response, 0.5 where it cannot
        tell, 0 elsewhere, shape ``[N]``.
    """
    return rule_hits(held_out, bag_of_words_margins(train, held_out, groups))


def rule_hits(pairs: Sequence[Pair], margins: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """As `floor_hits`, by `bag_of_words_margins` that are known, shape ``[N]``."""
    words = np.array([more_words(pair) for pair in pairs], dtype=np.float64)
    return {"longest": hits(words), "shortest": hits(-words), "bag_of_words": hits(margins)}


def more_words(pair: Pair) -> int:
    """By how many words the chosen response is longer."""
    return len(pair.chosen.split()) - len(pair.rejected.split())


def bag_of_words_margins(train: Sequence[Pair], held_out: Sequence[Pair], groups: Sequence[str]) -> NDArray[np.float64]:
    """Margins of a logistic regression on words and word pairs of the two responses; it never sees the prompt.

    Args:
        train: as of `floor_hits`.
        held_out: as of `floor_hits`.
        groups: as of `floor_hits`.

    Returns:
        Log odds that the chosen response is the chosen one, shape ``[N]``; 0 where there is nothing to learn.
    """
    from sklearn.model_selection import GroupKFold  # noqa: PLC0415 training can spare 75 MiB

    sample = train[:FLOOR_TRAINING_PAIRS]
    differences = _differences([*sample, *held_out])
    margins = np.zeros(len(held_out))
    if differences is None:
        return margins
    train_differences, test_differences = differences[: len(sample)], differences[len(sample) :]
    folds = min(FOLDS, len(set(groups)))
    if folds < 2:
        return _margins(train_differences, test_differences)
    for rest, fold in GroupKFold(folds).split(np.empty(len(held_out)), groups=groups):
        lesson = scipy.sparse.vstack([test_differences[rest], train_differences], format="csr")[:FLOOR_TRAINING_PAIRS]
        margins[fold] = _margins(lesson, test_differences[fold])
    return margins


def _differences(pairs: Sequence[Pair]) -> "scipy.sparse.csr_matrix | None":
    """Words, marks and pairs of them that one response has and the other lacks, 1 for chosen and -1 for rejected.

    How often a word is there follows from length, which is a floor of its own. None if there is nothing to learn.
    """
    presence = word_presence([text for pair in pairs for text in (pair.chosen, pair.rejected)])
    return None if presence is None else presence[::2] - presence[1::2]


def _margins(
    train_differences: "scipy.sparse.csr_matrix", test_differences: "scipy.sparse.csr_matrix"
) -> NDArray[np.float64]:
    """Bradley-Terry on what responses hold, as a logistic regression without intercept; 0 if there is nothing to learn.

    Every second pair is turned round, which changes no loss, because scikit-learn wants two classes.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 as above

    if train_differences.shape[0] < 2:
        return np.zeros(test_differences.shape[0])
    turned = np.where(np.arange(train_differences.shape[0]) % 2, -1.0, 1.0)
    model = LogisticRegression(C=PENALTY, fit_intercept=False, max_iter=500)
    model.fit(scipy.sparse.diags_array(turned) @ train_differences, turned > 0)
    margins: NDArray[np.float64] = model.decision_function(test_differences)
    return margins
