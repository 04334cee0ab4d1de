"""Every figure that the reward-model gates judge, from the margins of held-out pairs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.evaluation.agreement import floor_hits
from rlhf_core.evaluation.calibration import (
    abs_delta_median,
    abs_delta_ratio,
    expected_calibration_error,
    hits,
    losses,
    overconfidence_gap,
    share_in_band,
)
from rlhf_core.evaluation.estimates import Estimate, clustered, weighted_mean
from rlhf_core.records import Pair


def evaluate_margins(
    deltas: ArrayLike,
    temperature: float,
    held_out: Sequence[Pair],
    train: Sequence[Pair],
    *,
    ceiling: Estimate | None = None,
) -> dict[str, Estimate]:
    """Judge a reward model by its margins on held-out pairs.

    Agreement does not depend on the temperature. The size of |delta| and the overconfidence are those of the model as
    trained; calibration error and likelihood are also given after the temperature, which other pairs fitted.

    Args:
        deltas: margins chosen - rejected as trained, shape ``[N]``, logits.
        temperature: fitted on other pairs.
        held_out: the N pairs; those of one prompt are resampled together in every interval.
        train: pairs that the reward model learned from, for the bag-of-words floor, which learns from all but a fold of
            the held-out pairs too.
        ceiling: agreement that a perfect judge would reach, where repeated votes tell.

    Returns:
        Estimates by name, n counts pairs. Floors are `floor_<rule>`; `agreement_above_floor` is paired, against the
        best of them; `share_of_ceiling` only with a ceiling; likelihoods are in nats per pair.
    """
    margins = np.asarray(deltas, dtype=np.float64)
    clusters = [pair.prompt for pair in held_out]
    calibrated = margins / temperature
    floors = floor_hits(train, held_out, clusters)
    best = max(floors.values(), key=lambda found: float(found.mean()))

    def average(values: NDArray[np.float64]) -> Estimate:
        return clustered(weighted_mean, clusters, values)

    agreement = average(hits(margins))
    return {
        "agreement": agreement,
        **({"share_of_ceiling": _share(agreement, ceiling)} if ceiling else {}),
        **{f"floor_{name}": average(found) for name, found in floors.items()},
        "agreement_above_floor": average(hits(margins) - best),
        "share_in_band": share_in_band(margins, clusters),
        "abs_delta_median": abs_delta_median(margins, clusters),
        "abs_delta_ratio": abs_delta_ratio(margins, clusters),
        "overconfidence_gap": overconfidence_gap(margins, clusters),
        "ece": expected_calibration_error(calibrated, clusters),
        "ece_uncalibrated": expected_calibration_error(margins, clusters),
        "nll": average(losses(calibrated)),
        "nll_above_chance": average(losses(margins) - np.log(2.0)),
        "nll_above_calibrated": average(losses(margins) - losses(calibrated)),
    }


def _share(agreement: Estimate, ceiling: Estimate) -> Estimate:
    """Agreement over the ceiling; the interval takes the worse end of both."""
    return Estimate(
        agreement.value / ceiling.value, agreement.lower / ceiling.upper, agreement.upper / ceiling.lower, agreement.n
    )
