"""PPO's KL controller and early stopping: how the price of KL follows the KL, and what ends training."""

from typing import Literal

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.config.units import Answers, Evaluations, NatsPerResponse, Probability, Ratio, Share


class FixedKLConfig(Frozen):
    """Beta stays what it is."""

    kind: Literal["fixed"] = "fixed"
    """The price of a nat stays `policy.beta`."""


class AdaptiveKLConfig(Frozen):
    """Beta, from where it starts, follows the KL by the proportional controller of Ziegler et al. (2019), section 2.2.

    After an update beta is multiplied by 1 + e * responses / `horizon`, where e = KL / `target_nats` - 1, clipped to
    [-0.2, 0.2].
    """

    kind: Literal["adaptive"] = "adaptive"
    """The price of a nat follows the KL."""
    target_nats: NatsPerResponse = Field(6.0, gt=0)
    """KL to the SFT model that is aimed at, per response of a rollout."""
    horizon: Answers = Field(10_000, ge=1)
    """Responses over which a steady error of one part would change beta by that part; 10,000 in the source. At least
    `rollout_size`."""


class MonitorConfig(Frozen):
    """Training stops where the judge has turned, and the result is the state of the judge's best evaluation.

    It has turned where its scores are significantly below those of its best evaluation, on the same prompts, while
    those of the reward model are above what they were there.
    """

    confidence: Probability = Field(0.95, gt=0.5, lt=1)
    """Of never stopping a run whose judge stays where it is, over all pairs of evaluations (Bonferroni)."""
    patience: Evaluations | None = Field(None, ge=1)
    """Training stops, too, where the judge has stalled: over so many evaluations its scores did not rise significantly,
    while those of the reward model rose and so did, significantly, the KL. The result is the state before them. A judge
    that learned as the reward model did is fooled by the same answers: it often flattens where the truth falls. None:
    only a fall stops."""


class CollapseConfig(Frozen):
    """What counts as a collapse of the answers to watched prompts, each by its whole interval; None is not looked at.

    Training stops there, and the result is the last evaluated state before it.
    """

    distinct_2_ratio: Ratio | None = Field(0.5, gt=0)
    """Collapsed below: distinct word pairs over those of the SFT model."""
    duplicate_share_gain: Share | None = Field(0.4, gt=0, lt=1)
    """Collapsed above: share of the answers that repeat one to an earlier prompt, less that of the SFT model."""
    entropy_ratio: Ratio | None = Field(0.05, gt=0)
    """Collapsed below: entropy per token over that of the SFT model."""
    self_bleu: Ratio | None = Field(None, gt=0, le=1)
    """Collapsed above: mean BLEU of an answer with the others as references. None: how alike good answers to
    different prompts are depends on the data."""
    repeats_within_prompt: Share | None = Field(None, gt=0, lt=1)
    """Collapsed above: share of the answers to a prompt that repeat one to the same prompt. Needs `answers_per_prompt`
    of 2 or more."""
