"""Every figure that the reward-model gates judge, from the scores and margins of held-out pairs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.metrics.calibration import (
    abs_delta_median,
    abs_delta_ratio,
    expected_calibration_error,
    hits,
    losses,
    overconfidence_gap,
    share_in_band,
)
from rlhf_core.metrics.ensemble import mean_disagreement, member_correlation
from rlhf_core.metrics.estimates import Estimate, difference, mean, point, share
from rlhf_core.metrics.length_bias import agreement_by_slice, length_correlation


class ScoredPairs(NamedTuple):
    """Pairs as a reward model of K members scores them, before its temperature: logits as trained.

    Attributes:
        items: the R unique responses with their prompts.
        members: score of each of them by each member, shape ``[R, K]``.
        scores: what the members make together, shape ``[R]``.
        spreads: standard deviation over the members, shape ``[R]``.
        chosen: index in `items` of the chosen response of each of N pairs.
        rejected: index of its rejected response.
        shares: of the labels that prefer its chosen response, shape ``[N]``, by which its claims are judged.
    """

    items: list[Demonstration]
    members: NDArray[np.float64]
    scores: NDArray[np.float64]
    spreads: NDArray[np.float64]
    chosen: list[int]
    rejected: list[int]
    shares: NDArray[np.float64]

    @property
    def deltas(self) -> NDArray[np.float64]:
        """Margins chosen - rejected, shape ``[N]``."""
        return self.scores[self.chosen] - self.scores[self.rejected]


def evaluate_scores(
    pairs: ScoredPairs,
    temperature: float,
    held_out: Sequence[Pair],
    floors: Mapping[str, NDArray[np.float64]],
    *,
    ceiling: Estimate | None = None,
) -> dict[str, Estimate]:
    """Judge a reward model by its scores of held-out pairs; arguments as in `evaluate_margins`.

    Args:
        pairs: the held-out pairs with their scores.
        temperature: fitted on other pairs.
        held_out: the N pairs.
        floors: what trivial rules make of them, as `floor_hits` says.
        ceiling: agreement that a perfect judge would reach, where repeated votes tell.

    Returns:
        The estimates of `evaluate_margins` and `agreement_by_slice`; `length_correlation` of the scores; of an ensemble
        `disagreement`, mean over responses, in calibrated logits, and `member_correlation`. n counts prompts.
    """
    prompts = [pair.prompt for pair in held_out]
    figures = {
        **evaluate_margins(pairs.deltas, temperature, held_out, floors, shares=pairs.shares, ceiling=ceiling),
        **agreement_by_slice(pairs.deltas, held_out),
        "length_correlation": correlation_with_length(pairs.items, pairs.scores),
    }
    if pairs.members.shape[1] > 1:
        by_member = pairs.members[pairs.chosen] - pairs.members[pairs.rejected]
        figures["disagreement"] = mean_disagreement(pairs.spreads / temperature, [item.prompt for item in pairs.items])
        figures["member_correlation"] = member_correlation(by_member, prompts)
    return figures


def demonstration_figures(
    scores: NDArray[np.float64],
    demonstrations: Sequence[Demonstration],
    pairs: ScoredPairs,
    temperature: float,
    held_out: Sequence[Pair],
) -> dict[str, Estimate]:
    """What a reward model says of the answers that people wrote, beside those that people rejected.

    Args:
        scores: of the demonstrations, shape ``[D]``, logits as trained.
        demonstrations: the D demonstrations; those of one prompt are resampled together.
        pairs: the held-out pairs with their scores.
        temperature: fitted on other pairs.
        held_out: the N pairs; those of one prompt are resampled together.

    Returns:
        `demonstration_score`, the mean over demonstrations, and `demonstrations_above_rejected`, that less the mean
        over the rejected responses, both in calibrated logits.
    """
    prompts = [pair.prompt for pair in held_out]
    demonstrated = mean(scores / temperature, [demonstration.prompt for demonstration in demonstrations])
    rejected = mean(pairs.scores[pairs.rejected] / temperature, prompts)
    return {
        "demonstration_score": demonstrated,
        "demonstrations_above_rejected": difference(demonstrated, rejected),
    }


def correlation_with_length(items: Sequence[Demonstration], scores: NDArray[np.float64]) -> Estimate:
    """`length_correlation` of some scores of prompts with responses, shape ``[R]``."""
    return length_correlation(scores, [item.response for item in items], [item.prompt for item in items])


def evaluate_margins(
    deltas: ArrayLike,
    temperature: float,
    held_out: Sequence[Pair],
    floors: Mapping[str, NDArray[np.float64]],
    *,
    shares: ArrayLike = 1.0,
    ceiling: Estimate | None = None,
) -> dict[str, Estimate]:
    """Judge a reward model by its margins on held-out pairs.

    Agreement is with what most people preferred, and does not depend on the temperature. What a model claims is held
    against the labels that it learned, the majority or each of the votes. The size of |delta| and the overconfidence
    are those of the model as trained; calibration error and likelihood are also given after the temperature, which
    other pairs fitted.

    Args:
        deltas: margins chosen - rejected as trained, shape ``[N]``, logits.
        temperature: fitted on other pairs.
        held_out: the N pairs; those of one prompt are resampled together in every interval.
        floors: what trivial rules make of them, as `floor_hits` says.
        shares: of the labels of each pair that prefer its chosen response, shape ``[N]``.
        ceiling: agreement that a perfect judge would reach with labels of so many votes, where repeated votes tell.

    Returns:
        Estimates by name, n counts prompts; `judged_pairs` says how many pairs these have. Floors are `floor_<rule>`;
        `agreement_above_floor` is paired, against the best of them; `share_of_ceiling` only with a ceiling; likelihoods
        are in nats per pair.
    """
    margins = np.asarray(deltas, dtype=np.float64)
    clusters = [pair.prompt for pair in held_out]
    calibrated = margins / temperature
    best = max(floors.values(), key=lambda floor: float(floor.mean()))

    def average(values: NDArray[np.float64]) -> Estimate:
        return mean(values, clusters)

    agreement = share(hits(margins), clusters)
    return {
        "judged_pairs": point(len(margins), agreement.n),
        "agreement": agreement,
        **({"share_of_ceiling": share_of_ceiling(agreement, ceiling)} if ceiling else {}),
        **{f"floor_{name}": share(floor, clusters) for name, floor in floors.items()},
        "agreement_above_floor": average(hits(margins) - best),
        "share_in_band": share_in_band(margins, clusters),
        "abs_delta_median": abs_delta_median(margins, clusters),
        "abs_delta_ratio": abs_delta_ratio(margins, clusters, shares),
        "overconfidence_gap": overconfidence_gap(margins, clusters, shares),
        "ece": expected_calibration_error(calibrated, clusters, shares),
        "ece_uncalibrated": expected_calibration_error(margins, clusters, shares),
        "nll": average(losses(calibrated, shares)),
        "nll_above_chance": average(losses(margins, shares) - np.log(2.0)),
        "nll_above_calibrated": average(losses(margins, shares) - losses(calibrated, shares)),
    }


def share_of_ceiling(agreement: Estimate, ceiling: Estimate) -> Estimate:
    """Agreement over the ceiling of the labels that it is with; the interval takes the worse end of both."""
    return Estimate(
        agreement.value / ceiling.value, agreement.lower / ceiling.upper, agreement.upper / ceiling.lower, agreement.n
    )
