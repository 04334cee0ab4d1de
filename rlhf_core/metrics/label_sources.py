"""Sources of labels one by one: whose labels contradict those of the others, and who likes length beyond them."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from rlhf_core.config import Frozen
from rlhf_core.data.records import Pair
from rlhf_core.metrics.agreement import more_words
from rlhf_core.metrics.calibration import hits
from rlhf_core.metrics.estimates import Estimate, difference
from rlhf_core.metrics.rater_evidence import FALSE_ALARMS
from rlhf_core.metrics.raters import LIKES_LENGTH

LEAST_SOURCE_GROUPS = 30
"""Groups, such as prompts, that a source needs before anything is said of it."""

SOURCES = 200
"""Sources among which `FALSE_ALARMS` is divided, and each among its verdicts; a sample of 5,000 pairs has fewer."""

LIKING_OF_A_SOURCE = 0.02
"""A source that chooses the longer response no more often than this beyond the others is not said to like length."""

CONTRADICTS = "labels contradict those of the other sources"

VERDICTS_OF_A_SOURCE = (CONTRADICTS, LIKES_LENGTH)
"""Of which a source gets one at most."""


class SourceFigures(Frozen):
    """What the labels of a source are like; the intervals hold for all sources together.

    Attributes:
        pairs: how many were looked at.
        agreement: how often a bag of words that never saw the pair's group agrees with the label.
        longer: how much more often the longer response is chosen than that bag of words expects, less the same of the
            other sources; None where too few pairs differ in length, and for one that contradicts.
        verdicts: those of `VERDICTS_OF_A_SOURCE` that are shown.
    """

    pairs: int
    agreement: Estimate
    longer: Estimate | None
    verdicts: tuple[str, ...] = ()


def measure_sources(
    pairs: Sequence[Pair], groups: Sequence[str], sources: Sequence[str], margins: NDArray[np.float64]
) -> dict[str, SourceFigures]:
    """Hold the labels of each source against what a bag of words learned from all of them.

    A source contradicts the others where the bag of words, which learned from them and from other groups of its own, is
    wrong about more than half of its labels; so a source that is most of the data cannot. It likes length where it
    chooses the longer response by more than `LIKING_OF_A_SOURCE` more often than the words of the two responses make
    likely, less the same of the others, as a bag of words that learned from few pairs expects too little of everybody.
    Those that contradict are no others then.

    Args:
        pairs: N labelled pairs.
        groups: what is drawn together, such as the prompt, shape ``[N]``.
        sources: where each pair comes from, shape ``[N]``.
        margins: log odds of each chosen response by a bag of words that never saw its group, shape ``[N]``.

    Returns:
        By source, in the order of the names; those with fewer than `LEAST_SOURCE_GROUPS` groups are left out, and a
        source without others says nothing.
    """
    names, of = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
    members = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    right = hits(margins)
    agreed = {code: _simultaneous(right[of == code], members[of == code]) for code in range(len(names))}
    known = {code: agreement for code, agreement in agreed.items() if agreement and len(names) > 1}
    against = [code for code, agreement in known.items() if agreement.upper < 0.5]
    longer = _longer(pairs, margins, members, np.where(np.isin(of, against), -1, of))
    verdicts = {code: (LIKES_LENGTH,) for code, beyond in longer.items() if beyond.lower > LIKING_OF_A_SOURCE}
    verdicts |= dict.fromkeys(against, (CONTRADICTS,))
    return {
        str(names[code]): SourceFigures(
            pairs=int((of == code).sum()),
            agreement=agreement,
            longer=longer.get(code),
            verdicts=verdicts.get(code, ()),
        )
        for code, agreement in known.items()
    }


def least_source_agreement(figures: Mapping[str, SourceFigures]) -> dict[str, Estimate]:
    """The agreement of the source with the least upper bound, by the name that gates have for it; none without any."""
    found = sorted((each.agreement for each in figures.values()), key=lambda agreement: agreement.upper)
    return {"least_source_agreement": found[0]} if found else {}


def _longer(
    pairs: Sequence[Pair], margins: NDArray[np.float64], groups: NDArray[np.int64], sources: NDArray[np.int64]
) -> dict[int, Estimate]:
    """How much more often each source chooses the longer response than words make likely, less the same of the others.

    Arguments as of `measure_sources`, the sources as numbers, shape ``[N]``; below 0 for one that does not count.
    """
    words = np.array([more_words(pair) for pair in pairs])
    chosen = scipy.special.expit(margins)
    excess = np.where(words > 0, 1.0 - chosen, chosen - 1.0)
    unlike = (words != 0) & (sources >= 0)
    found = {}
    for code in np.unique(sources[unlike]).tolist():
        mine, others = (unlike & which for which in (sources == code, sources != code))
        one, other = (_simultaneous(excess[which], groups[which]) for which in (mine, others))
        if one and other:
            found[code] = difference(one, other)
    return found


def _simultaneous(values: NDArray[np.float64], groups: NDArray[np.int64]) -> Estimate | None:
    """Mean over pairs with Student's interval over groups, for one of `SOURCES`; None where there are too few groups.

    Either end is passed by chance `FALSE_ALARMS` / (`SOURCES` times the verdicts) of the time.
    """
    members = np.unique(groups, return_inverse=True)[1]
    n = int(members.max(initial=-1)) + 1
    if n < LEAST_SOURCE_GROUPS:
        return None
    value = float(values.mean())
    deviations = np.bincount(members, weights=values - value) / len(values)
    error = float(np.sqrt(n / (n - 1) * (deviations @ deviations)))
    reach = float(scipy.stats.t.ppf(1 - FALSE_ALARMS / (SOURCES * len(VERDICTS_OF_A_SOURCE)), n - 1)) * error
    return Estimate(value, value - reach, value + reach, n)
