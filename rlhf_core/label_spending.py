"""Spending labels: which of many choices are sent to be labelled, so that few labels teach a reward model much."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlhf_core.config.label_spending import SpendingRule
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Choice, Demonstration
from rlhf_core.data.tokenizer import encode, load_tokenizer
from rlhf_core.metrics.bag_of_words import word_presence
from rlhf_core.models.loading import load_reward_model
from rlhf_core.models.precision import to_numpy
from rlhf_core.models.scoring import member_scores

ASKS_MODEL: frozenset[SpendingRule] = frozenset({"disagreement", "uncertainty"})
"""Rules that go by what a reward model says of the choices."""


class Asking(NamedTuple):
    """The reward model that choices are told apart by.

    Attributes:
        folder: of the model.
        config: lengths and precision.
    """

    folder: Path
    config: RewardModelConfig


def spend_labels(
    choices: Sequence[Choice], count: int, rule: SpendingRule, *, seed: int, asking: Asking | None = None
) -> list[int]:
    """Choose what is labelled.

    Args:
        choices: N candidates.
        count: labels that there are; all choices if there are no more of them.
        rule: `uniform` draws by chance; `disagreement` takes those whose gap the members of an ensemble disagree about
            most, `uncertainty` those that the reward model finds nearest to even; `coverage` draws choices whose words
            are far from those drawn before (the seeding of k-means++, Arthur and Vassilvitskii, 2007).
        seed: of draws, and of the order among equals.
        asking: for rules that ask a reward model.

    Returns:
        Positions of the chosen ones, ascending.

    Raises:
        ValueError: if a rule needs a reward model that is not there, or an ensemble and there is one head.
    """
    if count >= len(choices):
        return list(range(len(choices)))
    gaps = None
    if rule in ASKS_MODEL:
        if asking is None:
            raise ValueError(f"rule {rule} asks a reward model: give one")
        gaps = member_gaps(asking, choices)
    return chosen_by(rule, choices, count, gaps, seed=seed)


def chosen_by(
    rule: SpendingRule, choices: Sequence[Choice], count: int, gaps: NDArray[np.float64] | None, *, seed: int
) -> list[int]:
    """As `spend_labels`, by gaps that are known: shape ``[N, K]`` for K members, logits."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(choices))
    match rule:
        case "uniform":
            chosen = order[:count]
        case "coverage":
            chosen = _far_apart(choices, count, seed)
        case _ if gaps is None:
            raise ValueError(f"rule {rule} goes by what a reward model says: give its gaps")
        case "uncertainty":
            chosen = order[np.argsort(np.abs(gaps.mean(axis=1))[order], kind="stable")[:count]]
        case "disagreement":
            if gaps.shape[1] < 2:
                raise ValueError("rule disagreement needs an ensemble: set reward_model.heads to 2 or more")
            chosen = order[np.argsort(-gaps.std(axis=1)[order], kind="stable")[:count]]
    return sorted(int(position) for position in chosen)


def member_gaps(asking: Asking, choices: Sequence[Choice]) -> NDArray[np.float64]:
    """Score of the first less that of the second response by each member, shape ``[N, K]``, logits as trained."""
    tokenizer = load_tokenizer(str(asking.folder))
    model = load_reward_model(asking.folder, tokenizer)
    items = [Demonstration(choice.prompt, text) for choice in choices for text in (choice.first, choice.second)]
    trees = encode(tokenizer, items, asking.config.lengths)
    scores = to_numpy(member_scores(model, trees, asking.config.optimiser)).astype(np.float64)
    return np.asarray(scores[::2] - scores[1::2])


def _far_apart(choices: Sequence[Choice], count: int, seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import kmeans_plusplus  # noqa: PLC0415 only this rule needs it
    from sklearn.preprocessing import normalize  # noqa: PLC0415 as above

    presence = word_presence(["\n".join(choice) for choice in choices])
    if presence is None:
        return np.random.default_rng(seed).permutation(len(choices))[:count]
    _, drawn = kmeans_plusplus(normalize(presence), count, random_state=seed % 2**32)
    unique = list(dict.fromkeys(int(position) for position in drawn))
    rest = [int(at) for at in np.random.default_rng(seed).permutation(len(choices)) if int(at) not in {*unique}]
    return np.array((unique + rest)[:count])
