"""Inter-annotator agreement: flip rate, Krippendorff's alpha, Cohen's kappa."""

import math
from collections.abc import Callable, Mapping, Sequence
from heapq import nlargest
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.metrics.estimates import Estimate, clustered, share, weighted_ratio

VERDICTS = ("first", "second", "tie")

LEAST_SHARED = 30
"""Groups of pairs that two annotators must share before their kappa is worth saying."""

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
        Over the pairs with at least two votes, whose groups n counts; nothing where there is none, as nothing is known:
        `raw_agreement`, the chance that two annotators of a pair say the same; `krippendorff_alpha`, nominal, where
        more than one verdict occurs; and where two annotators of a pair prefer something, `flip_rate` (e),
        `best_against_one` (1 - e), what a perfect judge reaches against single labels, and `best_against_three`
        (1 - 3 e^2 + 2 e^3), against the majority of three.
    """
    votes = np.asarray(counts, dtype=np.float64).reshape(-1, len(VERDICTS))
    several = votes.sum(axis=1) >= 2
    votes, labels = votes[several], np.asarray(groups)[several]
    strict = votes[:, :2].sum(axis=1) >= 2
    if not len(votes):
        return {}
    figures = {"raw_agreement": share(_agreeing(votes), labels)}
    if (votes.sum(axis=0) > 0).sum() > 1:
        figures["krippendorff_alpha"] = clustered(_alpha, labels, votes).within(-1.0, 1.0)
    if strict.any():
        preferred = votes[strict, :2]
        couples = preferred.sum(axis=1) * (preferred.sum(axis=1) - 1)
        agreement = clustered(weighted_ratio, labels[strict], _agreeing(preferred) * couples, couples)
        figures["flip_rate"] = rate = _mapped(_mistakes, agreement)
        figures["best_against_one"] = _mapped(lambda e: 1 - e, rate)
        figures["best_against_three"] = _mapped(lambda e: 1 - 3 * e**2 + 2 * e**3, rate)
    return figures


def cohen_kappas(votes: Mapping[str, Sequence[str | None]], groups: ArrayLike) -> dict[str, Estimate]:
    """Cohen's (1960) kappa of every two annotators, where votes carry names.

    Args:
        votes: by annotator, a verdict on each of N pairs, None where there is none.
        groups: what is resampled together, shape ``[N]``.

    Returns:
        `kappa of <one> and <other>` for the ten couples who share most pairs, of at least 30 groups each, in which more
        than one verdict occurs; n counts those groups.
    """
    labels = np.asarray(groups)
    codes = {name: np.array([_code(vote) for vote in column]) for name, column in votes.items()}
    voted = np.array([codes[name] >= 0 for name in votes], dtype=np.float32).reshape(len(votes), len(labels))
    shared = voted @ voted.T
    couples = combinations(range(len(votes)), 2)
    names = list(votes)
    kappas = {}
    for one, other in ((names[i], names[j]) for i, j in nlargest(MOST_KAPPAS, couples, key=lambda at: shared[at])):
        both = (codes[one] >= 0) & (codes[other] >= 0)
        verdicts = codes[one][both] * len(VERDICTS) + codes[other][both]
        if len(set(labels[both])) >= LEAST_SHARED and len({*codes[one][both], *codes[other][both]}) > 1:
            combinations_seen = np.eye(len(VERDICTS) ** 2)[verdicts]
            kappas[f"{KAPPA}{one} and {other}"] = clustered(kappa_of_couples, labels[both], combinations_seen).within(
                -1.0, 1.0
            )
    return kappas


def _code(vote: str | None) -> int:
    return -1 if vote is None else VERDICTS.index(vote)


def _agreeing(votes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the couples of annotators of each pair who say the same."""
    total = votes.sum(axis=1)
    return np.asarray((votes * (votes - 1)).sum(axis=1) / (total * (total - 1)))


def _mistakes(agreement: float) -> float:
    """Chance of naming the worse response that makes two annotators agree so often, from 1/2, or less, to 1."""
    return (1 - math.sqrt(2 * min(max(agreement, 0.5), 1.0) - 1)) / 2


def _mapped(falling_or_rising: Callable[[float], float], estimate: Estimate) -> Estimate:
    """A monotone function of an estimate; percentiles go through it."""
    value, *ends = map(falling_or_rising, estimate[:3])
    return Estimate(value, min(ends), max(ends), estimate.n)


def _alpha(weights: NDArray[np.float64], votes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Krippendorff (2011), 'Computing Krippendorff's alpha-reliability', section C: nominal, votes may be missing.

    Every pair adds its couples of votes over one less than its votes to a table of coincidences. Of it only the
    diagonal and the margins are needed, and the margins are the votes themselves.
    """
    total = votes.sum(axis=1)
    same = weights @ ((votes * (votes - 1)).sum(axis=1) / (total - 1))
    margins = weights @ votes
    n = margins.sum(axis=-1)
    by_chance = (margins * (margins - 1)).sum(axis=-1) / (n - 1)
    disagreement = np.divide(n - same, n - by_chance, out=np.zeros_like(n), where=n > by_chance)
    return np.asarray(1 - disagreement)


def kappa_of_couples(weights: NDArray[np.float64], verdicts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Agreement beyond chance over what there is beyond it; 1 where only one verdict occurs.

    Args:
        weights: shape ``[..., N]``.
        verdicts: 1 at the two verdicts on each pair, or a share of it at each of several couples, shape ``[N, V * V]``.
    """
    counts = weights @ verdicts
    table = (counts / counts.sum(axis=-1, keepdims=True)).reshape(*counts.shape[:-1], len(VERDICTS), len(VERDICTS))
    agreement = np.trace(table, axis1=-2, axis2=-1)
    by_chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1)
    beyond = 1 - by_chance
    return np.asarray(np.divide(agreement - by_chance, beyond, out=np.ones_like(beyond), where=beyond > 1e-12))
