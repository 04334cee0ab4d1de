"""Proximal policy optimisation: value model, update, KL limits, early stopping."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.control import AdaptiveKLConfig, CollapseConfig, FixedKLConfig, MonitorConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.policy import PolicyConfig
from rlhf_core.config.units import (
    Logits,
    NatsPerResponse,
    Number,
    Prompts,
    Ratio,
    ResponseCount,
    RewardPerNat,
    RewardUnits,
    Updates,
    unit,
)


class SeparateValueConfig(Frozen):
    """A value model with weights of its own, started from the reward model, as in Stiennon et al. (2020).

    A reward model that reads other tokens than the policy cannot be its start; it is the SFT model then, with a head of
    zeros. Learning values cannot disturb the policy, and each loss has its Adam, so that no coefficient weighs them.
    """

    kind: Literal["separate"] = "separate"
    """The value model has weights of its own."""
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, eps=1e-5, schedule="linear", warmup_share=0.0)
    """For the value model."""
    warmup_updates: Updates = Field(0, ge=0)
    """Updates, of all, at whose end the policy is still the SFT model: only values learn in them. The learning rate of
    the policy starts after them."""


class SharedTrunkConfig(Frozen):
    """The value is a linear head on the policy's trunk, which starts at 0, as in Ziegler et al. (2019).

    One step descends policy loss + `coef` * value loss, so that learning values moves the policy too. It costs one
    forward and backward pass instead of two, and the memory of one model instead of two.
    """

    kind: Literal["shared"] = "shared"
    """The value is a head on the trunk of the policy."""
    coef: Number = Field(0.1, gt=0)
    """Weight of the value loss; `vf_coef` in the source, with this value."""


class UpdateConfig(PolicyConfig):
    """What happens between one rollout and the next."""

    epochs: Annotated[int, unit("passes over a rollout")] = Field(2, ge=1)
    """Passes over a rollout. 4 in the source; 2 keep a small policy nearer to the one that sampled."""
    minibatch_size: ResponseCount = Field(32, ge=1)
    """Responses in an optimiser step."""
    beta: RewardPerNat = Field(0.05, ge=0)
    """Price of one nat of KL to the SFT model, in calibrated reward; where it adapts, its start."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Where it is paid for. `reward`: the log-ratio of each token is taken from its reward (Ziegler et al., 2019).
    `loss`: beta times the mean over tokens of `rlhf_core.objectives.kl_loss` is added to the policy loss, whose
    advantages are whitened, so that a nat is priced in standard deviations of the advantages. Each has the expected
    gradient of KL(policy || SFT)."""
    gamma: Number = Field(1.0, gt=0, le=1)
    """Discount: none, an answer is one episode."""
    lam: Number = Field(0.95, ge=0, le=1)
    """Weight of longer returns in the advantages: lambda of GAE (Schulman et al., 2016)."""
    cliprange: Ratio = Field(0.2, gt=0)
    """How far a token's probability ratio may leave 1 (Schulman et al., 2017, equation 7)."""
    cliprange_value: RewardUnits = Field(0.2, gt=0)
    """How far a value may move in an update, in calibrated reward."""
    entropy_coef: Annotated[float, unit("loss per nat per token")] = Field(0.0, ge=0)
    """Worth of one nat of entropy per token in the policy loss."""
    ptx_coef: Number = Field(0.0, ge=0)
    """Weight of the cross-entropy, nats per token, on demonstrations in the policy loss: a minibatch of them goes with
    each minibatch of responses (Ouyang et al., 2022, equation 2). 0 leaves them out."""
    missing_eos_penalty: RewardUnits = Field(1.0, ge=0)
    """Taken from the reward of a response that did not end by itself."""
    kl_to_rollout_limit_nats: NatsPerResponse | None = Field(0.5, gt=0)
    """An update ends before the step of a minibatch whose KL to the policy that sampled, per response, passes this.
    None: no limit."""
    optimiser: OptimiserConfig = OptimiserConfig(lr=3e-4, eps=1e-5, schedule="linear", warmup_share=0.0)
    """For the policy; its precision and token budget hold for the frozen models too."""
    value: SeparateValueConfig | SharedTrunkConfig = Field(SeparateValueConfig(), discriminator="kind")
    """Where values come from."""

    @model_validator(mode="before")
    @classmethod
    def _check_estimator(cls, fields: Any) -> Any:
        """`kl_estimator`, which `kl_in` decides: taken where it says what is done anyway, else refused."""
        if not isinstance(fields, dict) or "kl_estimator" not in fields:
            return fields
        estimator = fields["kl_estimator"]
        match fields.get("kl_in", "reward"), estimator:
            case ("reward", "k1") | ("loss", "k3"):
                return {name: value for name, value in fields.items() if name != "kl_estimator"}
            case "loss", _:
                raise ValueError(
                    f"kl_estimator {estimator} in the loss: the gradient of k1 is 0 on average there; remove "
                    "kl_estimator, the loss has an estimate whose gradient is that of the KL"
                )
        raise ValueError(
            f"kl_estimator {estimator} in the reward drives the policy away from SFT: the gradient of an estimate "
            "counts there, and by k3 a token less likely than under SFT is charged and becomes less likely still; "
            "remove kl_estimator, the reward pays the log-ratio (k1) and k3 is reported beside it"
        )

    @model_validator(mode="after")
    def _check_adapter(self) -> Self:
        if self.adapter is not None and self.adapter.dropout > 0:
            raise ValueError(
                f"adapter.dropout {self.adapter.dropout} would tell the policy that learns from the one that sampled "
                "before it has learned anything: set it to 0 for PPO"
            )
        return self


class PPOConfig(UpdateConfig):
    """PPO; where a value differs from Huang et al. (2024), its line says why."""

    method: Literal["ppo"] = "ppo"
    """The policy is trained by PPO; what is meant where no method is named."""
    updates: Updates = Field(40, ge=1)
    """Rollouts, each followed by an update."""
    rollout_size: Prompts = Field(128, ge=1)
    """Prompts answered in a rollout. 512 in the source."""
    kl_control: FixedKLConfig | AdaptiveKLConfig = Field(FixedKLConfig(), discriminator="kind")
    """Whether beta stays or follows the KL."""
    kl_budget_nats: NatsPerResponse | None = Field(6.0, gt=0)
    """Training stops once the upper bound of KL to the SFT model, per response on held-out prompts, passes this, and
    the result is the last evaluated state inside. None: no budget."""
    disagreement_limit: Logits | None = Field(None, gt=0)
    """Training stops once the members of an ensemble disagree about the policy's answers to held-out prompts by more
    than this, in calibrated logits, beyond what they do about the SFT model's, by the lower bound of the paired
    difference, and the result is the last evaluated state before. None: it is measured, nothing stops for it."""
    evaluate_every: Updates = Field(4, ge=1)
    """Updates between evaluations on held-out prompts."""
    monitor: MonitorConfig | None = MonitorConfig()
    """Early stopping on over-optimisation. None: it is measured, nothing stops for it."""
    collapse: CollapseConfig | None = CollapseConfig()
    """Early stopping on the diversity of answers. None: it is measured, nothing stops for it."""

    @property
    def warmup_updates(self) -> int:
        """Updates in which only values learn."""
        return self.value.warmup_updates if isinstance(self.value, SeparateValueConfig) else 0

    @model_validator(mode="after")
    def _check_control(self) -> Self:
        if isinstance(self.kl_control, AdaptiveKLConfig):
            if self.kl_control.horizon < self.rollout_size:
                raise ValueError(
                    f"kl_control.horizon {self.kl_control.horizon} is less than rollout_size {self.rollout_size}: "
                    "raise it, or beta jumps"
                )
            if self.beta == 0:
                raise ValueError("beta 0 cannot adapt, it is multiplied: give kl_control a start above 0")
            if self.kl_budget_nats is not None and self.kl_control.target_nats > self.kl_budget_nats:
                raise ValueError(
                    f"kl_control.target_nats {self.kl_control.target_nats} lies above kl_budget_nats "
                    f"{self.kl_budget_nats}, where training stops: lower it"
                )
        if self.collapse and self.collapse.repeats_within_prompt and self.answers_per_prompt == 1:
            raise ValueError("collapse.repeats_within_prompt compares answers: set answers_per_prompt to 2 or more")
        if self.minibatch_size > self.rollout_size:
            raise ValueError(
                f"minibatch_size {self.minibatch_size} is more than rollout_size {self.rollout_size}, the responses "
                "that there are: lower it"
            )
        if self.warmup_updates >= self.updates:
            raise ValueError(
                f"value.warmup_updates {self.warmup_updates} leaves none of {self.updates} updates to the policy: "
                "lower it"
            )
        return self
