"""What several annotators of the same pairs say about one another, and so about any label."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.metrics.estimates import Estimate, clustered

VERDICTS = ("first", "second", "tie")

LEAST_SHARED = 30
"""Pairs that two annotators must share before their kappa is worth saying."""

MOST_KAPPAS = 10

KAPPA = "kappa of "


def agreement_figures(counts: ArrayLike, groups: ArrayLike) -> dict[str, Estimate]:
    """Agreement of annotators who need not be told apart.

    Mistakes are modelled as symmetric: an annotator names the worse response with probability e, whatever the pair. Two
    of them then agree with probability A = (1 - e)^2 + e^2, which gives e = (1 - sqrt(2 A - 1)) / 2; ties are left
    out. Where pairs differ in difficulty, a perfect judge reaches less than 1 - e (Jensen): these are upper bounds.
    Files cleaned of disagreement raise them further.

    Args:
        counts: annotators who preferred the first response, the second, or neither, shape ``[N, 3]``. Which response
            comes first must not depend on the votes.
        groups: what is resampled together, such as the prompt, shape ``[N]``.

    Returns:
        Over the pairs with at least two votes, whose count is n; nothing where there is none, as then nothing is known:
        `raw_agreement`, the chance that two annotators of a pair say the same; `krippendorff_alpha`, nominal, where
        more than one verdict occurs; and where two annotators of a pair prefer something, `flip_rate` (e),
        `best_against_one` (1 - e), what a perfect judge reaches against single labels, and `best_against_three`
        (1 - 3 e^2 + 2 e^3), against the majority of three.
    """
    votes = np.asarray(counts, dtype=np.float64).reshape(-1, len(VERDICTS))
    kept = votes.sum(axis=1) >= 2
    votes, labels = votes[kept], np.asarray(groups)[kept]
    strict = votes[:, :2].sum(axis=1) >= 2
    if not len(votes):
        return {}
    figures = {"raw_agreement": clustered(_agreement, labels, _agreeing(votes), np.ones(len(votes)))}
    if (votes.sum(axis=0) > 0).sum() > 1:
        figures["krippendorff_alpha"] = clustered(_alpha, labels, votes)
    if strict.any():
        preferred = votes[strict, :2]
        couples = preferred.sum(axis=1) * (preferred.sum(axis=1) - 1)
        agreement = clustered(_agreement, labels[strict], _agreeing(preferred) * couples, couples)
        figures["flip_rate"] = rate = _mapped(lambda share: (1 - math.sqrt(max(2 * share - 1, 0.0))) / 2, agreement)
        figures["best_against_one"] = _mapped(lambda e: 1 - e, rate)
        figures["best_against_three"] = _mapped(lambda e: 1 - 3 * e**2 + 2 * e**3, rate)
    return figures


def cohen_kappas(votes: Mapping[str, Sequence[str | None]], groups: ArrayLike) -> dict[str, Estimate]:
    """Cohen's (1960) kappa of every two annotators, where votes carry names.

    Args:
        votes: by annotator, a verdict on each of N pairs, None where there is none.
        groups: what is resampled together, shape ``[N]``.

    Returns:
        `kappa of <one> and <other>` for the ten couples who share most pairs, at least 30 each, in which more than one
        verdict occurs; n counts those pairs.
    """
    labels = np.asarray(groups)
    codes = {name: np.array([_code(vote) for vote in column]) for name, column in votes.items()}
    shared = {couple: (codes[couple[0]] >= 0) & (codes[couple[1]] >= 0) for couple in combinations(votes, 2)}
    kappas = {}
    for one, other in sorted(shared, key=lambda couple: -int(shared[couple].sum()))[:MOST_KAPPAS]:
        both = shared[one, other]
        said = codes[one][both] * len(VERDICTS) + codes[other][both]
        if len(said) >= LEAST_SHARED and len({*codes[one][both], *codes[other][both]}) > 1:
            kappas[f"{KAPPA}{one} and {other}"] = clustered(_kappa, labels[both], said)
    return kappas


def _code(vote: str | None) -> int:
    return -1 if vote is None else VERDICTS.index(vote)


def _agreeing(votes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the couples of annotators of each pair who say the same."""
    total = votes.sum(axis=1)
    return np.asarray((votes * (votes - 1)).sum(axis=1) / (total * (total - 1)))


def _agreement(weights: NDArray[np.float64], agreed: NDArray[np.float64], asked: NDArray[np.float64]) -> float:
    return float(weights @ agreed / (weights @ asked))


def _mapped(falling_or_rising: Callable[[float], float], estimate: Estimate) -> Estimate:
    """A monotone function of an estimate; percentiles go through it."""
    value, *ends = map(falling_or_rising, estimate[:3])
    return Estimate(value, min(ends), max(ends), estimate.n)


def _alpha(weights: NDArray[np.float64], votes: NDArray[np.float64]) -> float:
    """Krippendorff (2011), 'Computing Krippendorff's alpha-reliability', section C: nominal, votes may be missing.

    Every pair adds its couples of votes over one less than its votes to a table of coincidences. Of it only the
    diagonal and the margins are needed, and the margins are the votes themselves.
    """
    total = votes.sum(axis=1)
    same = weights @ ((votes * (votes - 1)).sum(axis=1) / (total - 1))
    margins = weights @ votes
    n = margins.sum()
    by_chance = (margins * (margins - 1)).sum() / (n - 1)
    return float(1 - (n - same) / (n - by_chance)) if n > by_chance else 1.0


def _kappa(weights: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """From the nine combinations of two verdicts, each weighted by how often it occurs; 1 where only one does."""
    from sklearn.metrics import cohen_kappa_score  # noqa: PLC0415 training can spare 75 MiB

    found = np.bincount(codes, weights, minlength=len(VERDICTS) ** 2)
    if found.max() == found.sum() and int(found.argmax()) % (len(VERDICTS) + 1) == 0:
        return 1.0
    one, other = np.divmod(np.arange(len(found)), len(VERDICTS))
    return float(cohen_kappa_score(one, other, sample_weight=found))
