"""Bag of words: texts as the words that they hold, for baselines that must not understand them."""

from collections.abc import Sequence

import numpy as np
import scipy

MOST_FEATURES = 20_000


def word_presence(texts: Sequence[str]) -> "scipy.sparse.csr_matrix | None":
    """Words, marks and pairs of them that each text holds: 1 where it does, 0 elsewhere.

    Presence tells more than counts in texts of this length (Pang et al., 2002, section 6.1).

    Args:
        texts: N texts; each different one is split into words once, as a response stands in many pairs.

    Returns:
        Shape ``[N, F]``, at most the 20,000 most frequent features that occur in two texts or more; None if there is no
        such feature, as then there is nothing to learn.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # noqa: PLC0415 training can spare 75 MiB

    places: dict[str, int] = {}
    indices = [places.setdefault(text, len(places)) for text in texts]
    vectoriser = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", binary=True, dtype=np.float64)
    try:
        presence: scipy.sparse.csr_matrix = vectoriser.fit_transform(places)
    except ValueError:
        return None
    frequencies = np.bincount(indices, minlength=len(places)) @ presence
    most = np.argsort(-frequencies, kind="stable")[:MOST_FEATURES]
    kept = np.sort(most[frequencies[most] > 1])
    return presence[:, kept][indices] if len(kept) else None
