"""Reward-model training: ensemble, labels, debiasing, balance, lengths."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.units import Number, Passes, Probability, Prompts, Tokens, unit

Aggregate = Literal["mean", "min", "uncertainty"]
Balance = Literal["none", "length", "length-drop"]

LEAST_BATCH = 8
"""Prompts in an optimiser step from which a correlation with length can be told at all."""


class RewardModelConfig(Frozen):
    """Reward-model training by the loss of Bradley and Terry (1952)."""

    heads: Annotated[int, unit("members")] = Field(1, ge=1)
    """Members of an ensemble, as scalar heads on one trunk. Each starts elsewhere and sees the pairs in a bootstrap of
    its own."""
    aggregate: Aggregate = "mean"
    """How members make one score: `mean`, `min` (the worst case), or `uncertainty`, the mean less `uncertainty_lambda`
    times their variance. Stored with the model; whoever asks it uses it."""
    uncertainty_lambda: Annotated[float, unit("per logit")] = Field(0.5, ge=0)
    """For aggregate `uncertainty`: price of the variance of the members' logits, before the temperature."""
    debias: Literal["none", "length"] = "none"
    """`length` trains a second head beside that of quality, which takes what length explains and is not saved."""
    length_coef: Number = Field(1.0, ge=0)
    """For debias `length`: weight of the correlations with length, |that of quality| less that of the length head."""
    orthogonality_coef: Number = Field(1.0, ge=0)
    """For debias `length`: weight of the overlap of both heads, the size of the cosine of their angle."""
    labels: Literal["majority", "votes"] = "majority"
    """What is learned of a pair with several votes: what most of them preferred, or, by `votes`, their share as a soft
    label, so that its margin aims at the log-odds of the votes. Calibration is judged by the same labels, and agreement
    by the majority."""
    label_smoothing: Probability = Field(0.0, ge=0, lt=0.5)
    """Probability that a preference is recorded the wrong way round."""
    margin_scale: Annotated[float, unit("logits per grade")] = Field(0.0, ge=0)
    """Logits that one unit of a pair's grade is worth, a gap that it must clear (Touvron et al., 2023, equation 2). 0
    leaves grades unused."""
    centring_coef: Number = Field(0.0, ge=0)
    """Weight of the squared sum of a pair's scores, which keeps scores near 0; 0.01 is usual where it is used."""
    balance: Balance = "none"
    """`length` weighs the training pairs so that the longer response is chosen in half of them, however much longer it
    is; `length-drop` leaves pairs out to the same end. Held-out pairs and floors stay as they are."""
    weigh: Literal["pairs", "prompts"] = "pairs"
    """What counts alike in the loss: every pair, or every prompt, however many of its responses were ranked (Ouyang et
    al., 2022, equation 1)."""
    epochs: Passes = Field(1, ge=1)
    """Passes over the training pairs."""
    batch_size: Prompts = Field(4, ge=1)
    """Prompts in an optimiser step; all pairs of a prompt go together, it and each response are encoded once."""
    max_prompt_tokens: Tokens = Field(48, ge=1)
    """A longer prompt is cut at its start."""
    max_response_tokens: Tokens = Field(64, ge=2)
    """A longer response is cut at its end; the end-of-sequence token counts."""
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, weight_decay=0.01)
    """For trunk and heads."""
    adapter: AdapterConfig | None = None
    """Train an adapter and the heads, keep them, and merge a copy at the end. None: all weights are trained."""

    @property
    def lengths(self) -> Lengths:
        """Where prompts and responses are cut."""
        return Lengths(self.max_prompt_tokens, self.max_response_tokens)

    @model_validator(mode="after")
    def _check_ensemble(self) -> Self:
        if self.heads == 1 and self.aggregate != "mean":
            raise ValueError(f"aggregate {self.aggregate} is for an ensemble: set heads to 2 or more, or it to mean")
        return self

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if self.labels == "votes" and self.balance != "none":
            raise ValueError(
                f"balance {self.balance} counts whom the majority chose, and labels votes learns both ways: set "
                "balance to none, or labels to majority"
            )
        return self

    @model_validator(mode="after")
    def _check_debias(self) -> Self:
        if self.debias == "length" and self.batch_size < LEAST_BATCH:
            raise ValueError(
                f"debias length correlates scores with lengths within a batch, and {self.batch_size} prompts tell too "
                f"little: set batch_size to {LEAST_BATCH} or more"
            )
        return self
