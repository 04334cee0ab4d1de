"""Running mean and variance of a stream of values, kept as three numbers."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

EPSILON = 1e-8
"""Added to the variance, so that a constant becomes 0 and not a division by 0."""


class Moments(NamedTuple):
    """What is known of the values seen so far.

    Attributes:
        n: how many there were.
        mean: their mean.
        squares: sum of their squared distances from it.
    """

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def with_values(self, values: ArrayLike) -> Self:
        """The moments of these values and all before them, by the parallel update of Chan et al. (1979), equation 1.5.

        Args:
            values: finite, shape ``[N]``; with none nothing changes.
        """
        batch = np.asarray(values, dtype=np.float64)
        if batch.size == 0:
            return self
        n = self.n + batch.size
        mean = float(batch.mean())
        gap = mean - self.mean
        squares = float(np.square(batch - mean).sum()) + gap**2 * self.n * batch.size / n
        return type(self)(n, self.mean + gap * batch.size / n, self.squares + squares)

    def whiten(self, values: ArrayLike) -> NDArray[np.float64]:
        """Values less the mean, over the standard deviation (of the population), shape as given."""
        variance = self.squares / max(self.n, 1)
        whitened: NDArray[np.float64] = (np.asarray(values, dtype=np.float64) - self.mean) / np.sqrt(variance + EPSILON)
        return whitened

    @classmethod
    def from_numbers(cls, numbers: Sequence[float]) -> Self:
        """The moments that were written down as a list."""
        n, mean, squares = numbers
        return cls(int(n), mean, squares)
