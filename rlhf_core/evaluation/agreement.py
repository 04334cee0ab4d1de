"""How often a reward model agrees with people, and how often something trivial does."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from rlhf_core.evaluation.calibration import hits
from rlhf_core.records import Pair

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import CountVectorizer

FLOOR_TRAINING_PAIRS = 20_000
"""Training pairs that the bag of words learns from, the first ones; more change its agreement little."""


def floor_hits(train: Sequence[Pair], held_out: Sequence[Pair]) -> dict[str, NDArray[np.float64]]:
    """Agreement of the best trivial rules, pair by pair.

    Args:
        train: pairs that the bag of words learns from.
        held_out: N pairs to judge.

    Returns:
        For `longest`, `shortest` and `bag_of_words`: 1 where the rule prefers the chosen response, 0.5 where it cannot
        tell, 0 elsewhere, shape ``[N]``.
    """
    words = np.array([len(pair.chosen.split()) - len(pair.rejected.split()) for pair in held_out], dtype=np.float64)
    return {"longest": hits(words), "shortest": hits(-words), "bag_of_words": hits(_bag_of_words(train, held_out))}


def _bag_of_words(train: Sequence[Pair], held_out: Sequence[Pair]) -> NDArray[np.float64]:
    """Margins of a logistic regression on differences of counts of words and word pairs; it never sees the prompt."""
    if not train:
        return np.zeros(len(held_out))

    from sklearn.feature_extraction.text import CountVectorizer  # noqa: PLC0415 training can spare 75 MiB
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    learned = train[:FLOOR_TRAINING_PAIRS]
    vectoriser = CountVectorizer(ngram_range=(1, 2), min_df=2, max_features=20_000, token_pattern=r"\S+")
    try:
        vectoriser.fit([text for pair in learned for text in (pair.chosen, pair.rejected)])
    except ValueError:  # no word occurs twice
        return np.zeros(len(held_out))
    differences = _differences(vectoriser, learned)
    model = LogisticRegression(C=0.1, fit_intercept=False, max_iter=500)
    model.fit(vstack([differences, -differences]), np.repeat([1, 0], len(learned)))
    margins: NDArray[np.float64] = model.decision_function(_differences(vectoriser, held_out))
    return margins


def _differences(vectoriser: "CountVectorizer", pairs: Sequence[Pair]) -> csr_matrix:
    chosen = vectoriser.transform([pair.chosen for pair in pairs])
    return (chosen - vectoriser.transform([pair.rejected for pair in pairs])).astype(np.float64)
