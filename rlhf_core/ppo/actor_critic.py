"""Actor and critic of PPO: a policy beside a value model of its own, or both heads on one trunk."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.ppo import SharedTrunkConfig, UpdateConfig
from rlhf_core.data.packing import Row, lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.distributed import LossFigures
from rlhf_core.generation.rollout import Rollout, policy_view
from rlhf_core.models.ensembles import forget_aggregation
from rlhf_core.models.forward import response_logprobs, response_logprobs_and_values
from rlhf_core.models.heads import add_value_head, as_classifier, score_head
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.lora import add_adapter, is_adapted, twin
from rlhf_core.models.precision import device, precision
from rlhf_core.models.scoring import score_trees
from rlhf_core.ppo.experience import all_values, joint_view, value_view
from rlhf_core.ppo.losses import Minibatch
from rlhf_core.training.optimiser import Optimiser


@dataclass(frozen=True)
class ActorCritic(ABC):
    """A policy with its optimiser, and values.

    Attributes:
        policy: causal language model.
        policy_optimiser: what moves it.
    """

    policy: PreTrainedModel
    policy_optimiser: Optimiser

    @property
    @abstractmethod
    def parts(self) -> dict[str, Optimiser]:
        """Optimisers with their models, by name: what a state of training holds."""

    @abstractmethod
    def values(self, rollout: Rollout) -> Tensor:
        """Values before all sampled tokens as they are now, shape ``[B, T]``, in units of calibrated reward."""

    @abstractmethod
    def end_values(self, rollout: Rollout) -> Tensor:
        """What the value head says after each whole response, where a reward model scores it: shape ``[B]``."""

    @abstractmethod
    def accumulate(self, minibatch: Minibatch) -> dict[str, float]:
        """Set the gradients to those of a minibatch and return its figures; nothing is stepped on yet."""

    @abstractmethod
    def save(self, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
        """Write `policy`, a stock causal language model, and `value`, a stock classifier with one label."""

    def read(self, policy: PreTrainedModel, row: Row) -> Tensor:
        """Log-probabilities of the response tokens of a row, shape ``[R]``, nats, with gradient."""
        return response_logprobs(policy, row)[0]

    def add_demonstrations(self, trees: Sequence[Tree], *, coef: float) -> dict[str, float]:
        """Add to the policy's gradients those of a cross-entropy on demonstrations.

        The last term of Ouyang et al. (2022), equation 2, on the mean over tokens.

        Args:
            trees: prompts with a response each.
            coef: weight.

        Returns:
            `ptx_loss_nats` per token, without the weight.
        """
        config, tokens = self.policy_optimiser.config, sum(len(ids) for tree in trees for ids in tree.responses)

        def loss(policy: PreTrainedModel, group: list[int]) -> tuple[Tensor, LossFigures]:
            with precision(config):
                logprobs = self.read(policy, lay([trees[index] for index in group], device()))
            part = -logprobs.sum() / tokens
            return coef * part, {"ptx_loss_nats": part.detach()}

        return self.policy_optimiser.add([tree.size for tree in trees], loss)

    def step(self) -> None:
        """Move the weights by their gradients."""
        for optimiser in self.parts.values():
            optimiser.step()


@dataclass(frozen=True)
class SeparateValue(ActorCritic):
    """A value model beside the policy, which share nothing.

    Attributes:
        value: a scalar head on a trunk of its own.
        value_optimiser: what moves it.
    """

    value: PreTrainedModel
    value_optimiser: Optimiser

    @property
    def parts(self) -> dict[str, Optimiser]:
        """Both optimisers."""
        return {"policy": self.policy_optimiser, "value": self.value_optimiser}

    def values(self, rollout: Rollout) -> Tensor:
        """Values by the value model."""
        return all_values(self.value, rollout, self.value_optimiser.config)

    def end_values(self, rollout: Rollout) -> Tensor:
        """By the value model."""
        return score_trees(self.value, rollout.trees, self.value_optimiser.config)

    def accumulate(self, minibatch: Minibatch) -> dict[str, float]:
        """Go through policy and value model, each by its loss."""
        rollout, temperature = minibatch.experience.rollout, minibatch.config.sampling.temperature

        def policy_loss(policy: PreTrainedModel, group: list[int]) -> tuple[Tensor, LossFigures]:
            rows = [minibatch.rows[index] for index in group]
            with precision(self.policy_optimiser.config):
                logprobs, entropies = policy_view(policy, rollout, rows, sampling_temperature=temperature)
            return minibatch.policy_loss(rows, logprobs, entropies)

        of_policy = self.policy_optimiser.accumulate(minibatch.sizes, policy_loss)
        return of_policy | self.accumulate_values(minibatch)

    def accumulate_values(self, minibatch: Minibatch) -> dict[str, float]:
        """Go through the value model alone."""
        rollout = minibatch.experience.rollout

        def value_loss(value: PreTrainedModel, group: list[int]) -> tuple[Tensor, LossFigures]:
            rows = [minibatch.rows[index] for index in group]
            with precision(self.value_optimiser.config):
                values = value_view(value, rollout, rows)
            return minibatch.value_loss(rows, values)

        return self.value_optimiser.accumulate(minibatch.sizes, value_loss)

    def save(self, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
        """Write both models."""
        save(self.policy, tokenizer, out / "policy")
        save(self.value, tokenizer, out / "value")


@dataclass(frozen=True)
class SharedTrunk(ActorCritic):
    """One model with two heads: the policy has a value head, and one forward pass gives both.

    Attributes:
        coef: weight of the value loss.
    """

    coef: float

    @property
    def parts(self) -> dict[str, Optimiser]:
        """The one optimiser."""
        return {"policy": self.policy_optimiser}

    def read(self, policy: PreTrainedModel, row: Row) -> Tensor:
        """As `ActorCritic.read`; the value head takes part at weight 0, as DDP waits for all gradients."""
        logprobs, _, values = response_logprobs_and_values(policy, row)
        return logprobs + 0.0 * values

    def values(self, rollout: Rollout) -> Tensor:
        """Values by the policy's value head."""
        return all_values(self.policy, rollout, self.policy_optimiser.config)

    def end_values(self, rollout: Rollout) -> Tensor:
        """By the policy's value head."""
        return score_trees(self.policy, rollout.trees, self.policy_optimiser.config)

    def accumulate(self, minibatch: Minibatch) -> dict[str, float]:
        """Go through the model once, by the sum of both losses."""
        rollout, temperature = minibatch.experience.rollout, minibatch.config.sampling.temperature

        def loss(model: PreTrainedModel, group: list[int]) -> tuple[Tensor, LossFigures]:
            rows = [minibatch.rows[index] for index in group]
            with precision(self.policy_optimiser.config):
                logprobs, entropies, values = joint_view(model, rollout, rows, sampling_temperature=temperature)
            policy_loss, of_policy = minibatch.policy_loss(rows, logprobs, entropies)
            value_loss, of_value = minibatch.value_loss(rows, values)
            return policy_loss + self.coef * value_loss, {**of_policy, **of_value}

        return self.policy_optimiser.accumulate(minibatch.sizes, loss)

    def save(self, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
        """Write the model twice, each time with one of its heads."""
        save(self.policy, tokenizer, out / "policy")
        save(self.policy, tokenizer, out / "value", form=as_classifier)


def load_actor_critic(
    config: UpdateConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    sft: Path,
    reward_model: Path | None,
    steps: int,
    warmup_steps: int = 0,
) -> ActorCritic:
    """Load what learns with all its weights, ready to be stepped on.

    Args:
        config: says where values come from.
        tokenizer: that of the models.
        sft: folder of the SFT model, where the policy starts.
        reward_model: folder of the reward model, where a separate value model starts. None: it starts as the SFT model
            with a head of zeros, as a reward model that reads other tokens tells nothing of the policy's.
        steps: optimiser steps of the whole run.
        warmup_steps: how many of them, the first ones, only values take.

    Raises:
        ValueError: if the classifier of the architecture has no linear `score` head.
    """

    def value() -> PreTrainedModel:
        if reward_model is None:
            return _new_value_model(load_policy(sft, tokenizer))
        return as_value_model(load_reward_model(reward_model, tokenizer))

    return _actor_critic(config, load_policy(sft, tokenizer), value, steps, warmup_steps)


def adapted_actor_critic(
    config: UpdateConfig,
    adapter: AdapterConfig,
    *,
    reference: PreTrainedModel,
    reward_model: PreTrainedModel | None,
    seed: int,
    steps: int,
    warmup_steps: int = 0,
) -> ActorCritic:
    """What learns as adapters and heads on the weights of frozen models, ready to be stepped on.

    A separate value model starts as the reward model: with a copy of its adapter where it is one, else with a new one.

    Args:
        config: says where values come from.
        adapter: of the policy, and of a value model that needs a new one.
        reference: the SFT model.
        reward_model: the reward model, or None as in `load_actor_critic`.
        seed: of new adapters.
        steps: as in `load_actor_critic`.
        warmup_steps: as in `load_actor_critic`.

    Raises:
        ValueError: as `add_adapter` and `twin`, or if the architecture has no stock classifier with a linear `score`
            head.
    """
    policy = twin(reference)
    add_adapter(policy, adapter, seed=seed)

    def value() -> PreTrainedModel:
        model = _new_value_model(twin(reference)) if reward_model is None else as_value_model(twin(reward_model))
        if not is_adapted(model):
            add_adapter(model, adapter, seed=seed)
        return model

    return _actor_critic(config, policy, value, steps, warmup_steps)


def as_value_model(model: PreTrainedModel) -> PreTrainedModel:
    """Make of a reward model, in place, the start of a value model, which has one head: the mean of an ensemble's."""
    members = score_head(model)
    if members.out_features > 1:
        model.score = nn.Linear(members.in_features, 1, bias=False, device=members.weight.device)
        model.score.weight = nn.Parameter(members.weight.detach().mean(dim=0, keepdim=True))
        model.config.num_labels = 1
        forget_aggregation(model.config)
    return model


def _new_value_model(model: PreTrainedModel) -> PreTrainedModel:
    """A value model on the trunk of a causal language model; its head starts at 0."""
    add_value_head(model)
    value = as_classifier(model)
    value.eval()
    return value


def _actor_critic(
    config: UpdateConfig, policy: PreTrainedModel, value: Callable[[], PreTrainedModel], steps: int, warmup_steps: int
) -> ActorCritic:
    if isinstance(config.value, SharedTrunkConfig):
        add_value_head(policy)
        return SharedTrunk(policy, Optimiser(policy, config.optimiser, steps), config.value.coef)
    policy_optimiser, model = Optimiser(policy, config.optimiser, steps - warmup_steps), value()
    return SeparateValue(policy, policy_optimiser, model, Optimiser(model, config.value.optimiser, steps))
