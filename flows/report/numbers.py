"""How figures are written."""

from rlhf_core.evaluation.estimates import Estimate


def format_estimate(estimate: Estimate, *, digits: int = 3) -> str:
    """A figure with its 95 % interval; an exact one without."""
    if estimate.lower == estimate.upper:
        return f"{estimate.value:.{digits}g}"
    return f"{estimate.value:.{digits}f} [{estimate.lower:.{digits}f}, {estimate.upper:.{digits}f}]"
