"""Prompt quality: near duplicates, and the shift from the prompts that the reward model knows."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf_core.metrics.bag_of_words import word_presence
from rlhf_core.metrics.estimates import Estimate, clustered, proportion

NEAR = 0.95
"""Cosine from which prompts are near duplicates: they differ in case, marks, spelling or a word of little weight."""

AMONG = 10_000
"""Prompts at most among which near duplicates are sought."""

LOOKED_AT = 1000
"""Prompts at most of which the nearest other one is sought; the interval is then 3 points at most to each side."""

COMPARED = 5000
"""Prompts at most of each side that are told apart."""

FOLDS = 5


def prompt_figures(prompts: Sequence[str], pair_prompts: Sequence[str]) -> dict[str, Estimate]:
    """What there is to say of a policy's prompts beside those of the pairs that its reward model learns from.

    Args:
        prompts: those that the policy is trained on.
        pair_prompts: one for each preference pair, or each once; the figure then weighs them like that.

    Returns:
        `prompt_near_duplicate_share` and `prompt_shift_auc`, as the functions of these names give them; what so few
        prompts cannot tell is left out.
    """
    figures = {
        "prompt_near_duplicate_share": prompt_near_duplicate_share(prompts),
        "prompt_shift_auc": prompt_shift_auc(prompts, pair_prompts),
    }
    return {name: estimate for name, estimate in figures.items() if estimate is not None}


def prompt_near_duplicate_share(prompts: Sequence[str], *, near: float = NEAR) -> Estimate | None:
    """Share of the prompts to which another one is so near that a policy learns hardly more from both than from one.

    Near is the cosine of TF-IDF over letter n-grams within words, n from 3 to 5, so that case, marks, spelling and
    frequent words count little. Of more than 10,000 prompts as many are drawn, of which 1,000 are looked at; pairs that
    are torn apart by the drawing go unseen, so the share is then a lower bound.

    Args:
        prompts: N texts.
        near: cosine in [0, 1] from which on two prompts are near duplicates.

    Returns:
        The share in [0, 1] with its Wilson interval, n counting the prompts that were looked at; None for fewer than
        two prompts, or if none has a letter.
    """
    from sklearn import config_context  # noqa: PLC0415 training can spare 75 MiB
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 as above
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 as above

    sample = _drawn(prompts, AMONG)
    if len(sample) < 2:
        return None
    try:
        vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), dtype=np.float32).fit_transform(sample)
    except ValueError:
        return None
    probes = vectors[:LOOKED_AT]
    with config_context(working_memory=64):
        distances, _ = NearestNeighbors(n_neighbors=2, metric="cosine").fit(vectors).kneighbors(probes)
    nearest = distances[:, 1]  # the first is the prompt itself, or one that is the same
    return proportion(int(np.count_nonzero(nearest <= 1.0 - near)), len(nearest))


def prompt_shift_auc(prompts: Sequence[str], pair_prompts: Sequence[str]) -> Estimate | None:
    """How well a bag of words tells a policy's prompts from those of preference pairs: a classifier two-sample test.

    After Lopez-Paz and Oquab (2017), with the area under the ROC curve instead of the accuracy: the probability that a
    prompt of the policy looks more like one than a prompt of a pair does. It is .5 if both are drawn alike, and
    .5 + s / 2 if a share s of the policy's prompts is of a kind that no pair has and the rest is drawn alike. So it
    also sees prompts of one topic among t that the pairs have evenly: 1 - 1 / (2 t). The classifier is a logistic
    regression, cross-validated so that the same prompt, but for case and white space, lies in one fold.

    Args:
        prompts: texts of the policy's prompts; 5,000 are drawn of more.
        pair_prompts: texts of the prompts of pairs; likewise.

    Returns:
        The area in [0, 1] with its bootstrap interval over distinct prompts, given the classifiers; n counts the
        distinct prompts of the smaller side. None if either side has fewer than 5.
    """
    sides = [_drawn(prompts, COMPARED), _drawn(pair_prompts, COMPARED)]
    texts = [text for side in sides for text in side]
    groups = np.unique([" ".join(text.lower().split()) for text in texts], return_inverse=True)[1]
    is_policys = np.repeat([1.0, 0.0], [len(side) for side in sides])
    distinct = min(len(set(groups[is_policys == side])) for side in (0.0, 1.0))
    if distinct < FOLDS:
        return None
    levels = np.unique(_out_of_fold_margins(texts, is_policys, groups), return_inverse=True)[1]
    estimate = clustered(roc_auc, groups, levels, is_policys)
    return estimate._replace(n=distinct)


def roc_auc(
    weights: NDArray[np.float64], levels: NDArray[np.int64], is_positive: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Area under the ROC curve of weighted observations; ties count half (Hanley and McNeil, 1982).

    Args:
        weights: how often each observation counts, shape ``[..., N]``.
        levels: rank of its score among the distinct scores, shape ``[N]``.
        is_positive: 1 for positives, 0 for negatives, shape ``[N]``.

    Returns:
        In [0, 1], shape ``[...]``; 0.5 where the weights leave out one side.
    """
    order = np.argsort(levels, kind="stable")
    starts = np.unique(levels[order], return_index=True)[1]
    positives, negatives = (
        np.add.reduceat((weights * side)[..., order], starts, axis=-1) for side in (is_positive, 1.0 - is_positive)
    )
    pairs = positives.sum(axis=-1) * negatives.sum(axis=-1)
    below = np.cumsum(negatives, axis=-1) - negatives
    wins = (positives * (below + negatives / 2)).sum(axis=-1)
    return np.asarray(np.divide(wins, pairs, out=np.full_like(pairs, 0.5), where=pairs > 0.0))


def _out_of_fold_margins(
    texts: Sequence[str], is_policys: NDArray[np.float64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log odds that a text is a policy's, by a model that learned from other folds; 0 if no word occurs twice."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 as above
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict  # noqa: PLC0415 as above

    words = word_presence(texts)
    if words is None:
        return np.zeros(len(texts))
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    margins: NDArray[np.float64] = cross_val_predict(
        model, words, is_policys, groups=groups, cv=folds, method="decision_function"
    )
    return margins


def _drawn(texts: Sequence[str], size: int) -> list[str]:
    """As many of the texts as wanted, or all, in an order drawn at random, the same each time; in Unicode's NFC."""
    order = np.random.default_rng(0).permutation(len(texts))[:size]
    return [unicodedata.normalize("NFC", texts[index]) for index in order]
