"""Calibration of a reward model: whether P(chosen wins) = sigmoid(delta), and the temperature that mends it.

`shares` are of the labels of each pair that prefer its chosen response, shape ``[N]``: 1 where the majority is taken
for certain, the share of the votes where a model learned these and so claims how many people prefer a response.
"""

from functools import cache

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from rlhf_core.metrics.estimates import Estimate, clustered, mean, share, weighted_mean

BAND = (0.5, 4.0)
"""Where most margins of a useful reward model lie, in logits: below it is undecided, above it is overconfident."""

BINS = 10


def fit_temperature(deltas: ArrayLike, shares: ArrayLike = 1.0) -> float:
    """The temperature T for which sigmoid(delta / T) explains the preferences best (Guo et al., 2017, section 4.2).

    Args:
        deltas: margins chosen - rejected of held-out pairs, shape ``[N]``, logits.
        shares: of their labels for the chosen response.

    Returns:
        T in [0.05, 20]; above 1 the margins were too large.

    Raises:
        ValueError: if there is no margin.
    """
    margins = np.asarray(deltas, dtype=np.float64)
    if margins.size == 0:
        raise ValueError("a temperature needs at least one held-out pair")
    optimum = scipy.optimize.minimize_scalar(
        lambda log: float(losses(margins / np.exp(log), shares).mean()), bounds=np.log((0.05, 20.0)), method="bounded"
    )
    return float(np.exp(optimum.x))


def losses(deltas: NDArray[np.float64], shares: ArrayLike = 1.0) -> NDArray[np.float64]:
    """Mean negative log-likelihood of the labels of each pair, shape ``[N]``, nats; stable for any margin.

    With p of the labels for the chosen response, -p log sigmoid(delta) - (1 - p) log sigmoid(-delta).
    """
    return np.logaddexp(0.0, -deltas) + (1.0 - np.asarray(shares)) * deltas


def hits(deltas: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where the chosen response scores higher, 0.5 on a tie, 0 elsewhere, shape ``[N]``."""
    return (np.sign(deltas) + 1.0) / 2.0


def labels_met(deltas: NDArray[np.float64], shares: ArrayLike = 1.0) -> NDArray[np.float64]:
    """Share of the labels of each pair that prefer what scores higher, shape ``[N]``; 0.5 on a tie of the scores."""
    return 0.5 + np.sign(deltas) * (np.asarray(shares) - 0.5)


def overconfidence_gap(deltas: NDArray[np.float64], clusters: ArrayLike, shares: ArrayLike = 1.0) -> Estimate:
    """Mean claimed accuracy sigmoid(|delta|) less the accuracy: positive is overconfident, 0 calibrated on average."""
    return mean(scipy.special.expit(np.abs(deltas)) - labels_met(deltas, shares), clusters)


def share_in_band(deltas: NDArray[np.float64], clusters: ArrayLike) -> Estimate:
    """Share of the pairs with |delta| inside `BAND`."""
    sizes = np.abs(deltas)
    return share((sizes >= BAND[0]) & (sizes <= BAND[1]), clusters)


def expected_calibration_error(deltas: NDArray[np.float64], clusters: ArrayLike, shares: ArrayLike = 1.0) -> Estimate:
    """Mean distance of claimed from observed accuracy over ten bins of equal mass (Naeini et al., 2015).

    The value has a floor above 0: on N pairs even a perfectly calibrated model shows about 0.8 sqrt(0.2 * 10 / N).
    Resampling adds as much again, so the interval is the basic one, reflected at the value, which takes that bias off
    (Davison and Hinkley, 1997, section 5.2), cut so that it holds the value and nothing negative.

    Args:
        deltas: margins, shape ``[N]``, logits.
        clusters: prompt of each pair, shape ``[N]``.
        shares: of their labels for the chosen response.

    Returns:
        The error in [0, 1] with its interval over prompts.
    """
    claimed = scipy.special.expit(np.abs(deltas))
    edges = np.quantile(claimed, np.linspace(0.0, 1.0, BINS + 1)[1:-1])
    bins = np.searchsorted(edges, claimed, side="right")

    gaps = np.eye(BINS)[bins] * (claimed - labels_met(deltas, shares))[:, None]

    def error(weights: NDArray[np.float64], gaps: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.abs(weights @ gaps).sum(axis=-1) / weights.sum(axis=-1))

    estimate = clustered(error, clusters, gaps)
    return estimate._replace(
        lower=max(2.0 * estimate.value - estimate.upper, 0.0),
        upper=max(2.0 * estimate.value - estimate.lower, estimate.value),
    )


def abs_delta_median(deltas: NDArray[np.float64], clusters: ArrayLike) -> Estimate:
    """Median |delta| in logits."""
    sizes = np.abs(deltas)
    order = np.argsort(sizes)
    return clustered(_sorted_median, np.asarray(clusters)[order], sizes[order])


def abs_delta_ratio(deltas: NDArray[np.float64], clusters: ArrayLike, shares: ArrayLike = 1.0) -> Estimate:
    """Median |delta| over the one that a calibrated reward model of this accuracy has.

    If delta ~ N(0, s^2) and the better response wins with probability sigmoid(|delta|), the accuracy E sigmoid(|delta|)
    fixes s and so the median, 0.674 s; above 91 % accuracy the end of `BAND` stands for it, as larger is not asked for.

    Args:
        deltas: margins, shape ``[N]``, logits.
        clusters: prompt of each pair, shape ``[N]``.
        shares: of their labels for the chosen response, which the accuracy is with.

    Returns:
        The ratio: 1 is calibrated, far below undertrained, far above overconfident.
    """
    sizes = np.abs(deltas)
    order = np.argsort(sizes)

    def ratio(
        weights: NDArray[np.float64], ordered_sizes: NDArray[np.float64], ordered_met: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return _sorted_median(weights, ordered_sizes) / expected_median(weighted_mean(weights, ordered_met))

    return clustered(ratio, np.asarray(clusters)[order], sizes[order], labels_met(deltas, shares)[order])


def _sorted_median(weights: NDArray[np.float64], ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest value that at least half of the weight does not exceed."""
    below = np.cumsum(weights, axis=-1)
    return np.asarray(ordered[np.argmax(below >= below[..., -1:] / 2, axis=-1)])


def expected_median(accuracy: ArrayLike) -> NDArray[np.float64]:
    """Median |delta| in logits of a calibrated reward model with this accuracy, at most the end of `BAND`.

    Nearly all labels met leave the median open: an error more or less doubles it, and the band wants less.
    """
    return np.asarray(np.minimum(scipy.stats.norm.ppf(0.75) * expected_spread(accuracy), BAND[1]))


def expected_spread(accuracy: ArrayLike) -> NDArray[np.float64]:
    """Standard deviation in logits of the normal margins of a calibrated reward model with this accuracy."""
    accuracies, spreads = _calibrated()
    return np.asarray(np.interp(np.asarray(accuracy), accuracies, spreads))


@cache
def _calibrated() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy E sigmoid(s |z|), z standard normal, on a grid of spreads s."""
    spreads = np.linspace(1e-3, 30.0, 3000)
    sizes = scipy.stats.norm.ppf((np.arange(500) + 0.5) / 1000 + 0.5)
    return scipy.special.expit(spreads[:, None] * sizes[None, :]).mean(axis=1), spreads
