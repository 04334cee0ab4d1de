"""SFT, reward model, DPO and PPO beside TRL: on the same weights and tokens the same figures, or a reason by hand.

TRL's own trainers compute its side, in processes of their own (`trl_losses.py`, `trl_ppo.py`). Every difference is in
docs/evidence/agreement.md, with the table that these tests print.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.ppo import UpdateConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.pair_trees import PairTree
from rlhf_core.data.records import Demonstration
from rlhf_core.data.tokenizer import Tree, load_tokenizer
from rlhf_core.dpo import anchor, pair_losses
from rlhf_core.generation.rollout import Rollout, all_logprobs, as_rollout, policy_view
from rlhf_core.generation.sampling import Sampled
from rlhf_core.models.loading import load_policy, load_reward_model
from rlhf_core.models.scoring import score_ensemble, score_trees
from rlhf_core.objectives import (
    estimate_advantages,
    kl_k1,
    kl_k3,
    ppo_policy_loss,
    ppo_value_loss,
    shaped_rewards,
    whiten,
)
from rlhf_core.ppo.experience import Experience, all_values, value_view
from rlhf_core.ppo.losses import Minibatch
from rlhf_core.ppo.update import compute_advantages
from rlhf_core.reward_model.losses import Lesson, reward_loss
from rlhf_core.rewards.reward import Reward
from rlhf_core.sft import train_sft

pytestmark = pytest.mark.slow

Array = NDArray[np.float64]
Same = Callable[..., None]
END = 2
# The settings of trl_losses.py and trl_ppo.py, which import TRL and so cannot be imported here.
MARGINS = [0.0, 0.5, 1.0, 2.0, 0.25, 0.0, 3.0, 1.5]
CENTRING, DPO_BETA, SMOOTHING = 0.01, 0.3, 0.15
MISSING_EOS_PENALTY = 0.7
PPO = UpdateConfig(
    epochs=2,
    minibatch_size=4,
    beta=0.2,
    gamma=0.97,
    lam=0.9,
    cliprange=0.1,
    cliprange_value=0.1,
    missing_eos_penalty=MISSING_EOS_PENALTY,
    kl_to_rollout_limit_nats=None,
)


def policy(peer: Any, name: str = "policy") -> PreTrainedModel:
    return load_policy(peer.folder / name, load_tokenizer(str(peer.folder / name)))


def scorer(peer: Any, name: str = "reward_model") -> PreTrainedModel:
    return load_reward_model(peer.folder / name, load_tokenizer(str(peer.folder / name)))


def comparisons(peer: Any, margins: list[float] | None = None) -> list[PairTree]:
    return [
        PairTree(Tree(row["prompt"], [row["chosen"], row["rejected"]]), [0], [1], [margin], [1.0])
        for row, margin in zip(peer.ids, margins or [0.0] * len(peer.ids), strict=True)
    ]


def as_text(ids: list[int]) -> str:
    """The words of the tokenizer, `w0` and on from id 5."""
    return " ".join(f"w{token - 5}" for token in ids)


# SFT


def test_the_sft_loss(losses: Any, same: Same, tmp_path: Path) -> None:
    """That of the first step of the stage, which takes all demonstrations, before any weight has changed."""
    demonstrations = [Demonstration(as_text(row["prompt"][1:-1]), as_text(row["chosen"][:-1])) for row in losses.ids]
    stage = train_sft(
        SFTConfig(batch_size=len(demonstrations), evaluation_prompts=1),
        base=losses.folder / "policy",
        train=demonstrations,
        held_out=demonstrations[:1],
        out=tmp_path,
        seed=0,
    )
    same("SFT loss", next(stage).metrics["loss_nats"], losses.said["sft_loss"])


# Reward model


def test_scores_of_the_reward_model(losses: Any, same: Same) -> None:
    for side, theirs in zip(("chosen", "rejected"), losses.said["scores"].chunk(2), strict=True):
        trees = [Tree(row["prompt"], [row[side]]) for row in losses.ids]
        same("reward model: scores", score_trees(scorer(losses), trees, RewardModelConfig().optimiser), theirs)


@pytest.mark.parametrize(
    ("name", "margins", "centring"), [("plain", None, 0.0), ("margin", MARGINS, 0.0), ("centred", None, CENTRING)]
)
def test_the_reward_model_loss(
    losses: Any, same: Same, name: str, margins: list[float] | None, centring: float
) -> None:
    lessons = [Lesson(item, [[1.0]]) for item in comparisons(losses, margins)]
    loss, _ = reward_loss(RewardModelConfig(centring_coef=centring), lessons)(scorer(losses), list(range(len(lessons))))
    same(f"reward model: loss, {name}", loss.detach(), losses.said[f"reward_loss_{name}"])


# DPO


@pytest.mark.parametrize(("theirs", "smoothing"), [("sigmoid", 0.0), ("ipo", 0.0), ("aot", SMOOTHING)])
def test_the_dpo_loss(losses: Any, same: Same, theirs: str, smoothing: float) -> None:
    config = DPOConfig(beta=DPO_BETA, loss="ipo" if theirs == "ipo" else "sigmoid", label_smoothing=smoothing)
    anchored = anchor(config, policy(losses, "reference"), comparisons(losses), None)
    found, _ = pair_losses(config, policy(losses), anchored)
    said = losses.said[f"dpo_loss_{theirs}"]
    name = {"sigmoid": "DPO: loss", "ipo": "DPO: loss, IPO", "aot": "DPO: loss, label smoothing"}[theirs]
    same(name, found.detach() if len(said) > 1 else found.detach().mean()[None], said)


def test_log_probabilities_of_whole_responses(losses: Any, same: Same) -> None:
    anchored = anchor(DPOConfig(), policy(losses, "reference"), comparisons(losses), None)
    ours = torch.stack([item.ref_logprobs for item in anchored]).T.flatten()
    same("DPO: reference log-probabilities, per response", ours, losses.said["ref_logprobs"])


# PPO


class Sides:
    """One rollout as both sides see it.

    Attributes:
        said: what TRL held in its variables, rows in the order of the prompts.
        steps: the same of its minibatches.
        metrics: what it logged.
        rollout: ours, the same tokens without what follows an end, with log-probabilities by our forward.
        experience: what our update learns from.
    """

    def __init__(self, peer: Any, kind: str, config: UpdateConfig) -> None:
        self.said, self.steps, self.metrics = (peer.said[kind][name] for name in ("rollout", "steps", "metrics"))
        self.peer, self.config = peer, config
        given = json.loads((peer.folder / "responses.json").read_text())[kind]
        kept = [row[: row.index(END) + 1] if END in row else row for row in given]
        sampled = [
            Sampled(pair["prompt"], row, [0.0] * len(row), row[-1] == END)
            for pair, row in zip(peer.ids, kept, strict=True)
        ]
        plain = as_rollout(sampled)
        logprobs = all_logprobs(policy(peer), plain, config.optimiser, sampling_temperature=1.0)
        self.rollout: Rollout = plain._replace(logprobs=logprobs)
        self.experience: Experience = compute_advantages(
            config,
            self.rollout,
            reference=policy(peer, "reference"),
            scores=score_ensemble(scorer(peer), self.rollout.trees, config.optimiser),
            values=all_values(scorer(peer, "value_model"), self.rollout, config.optimiser),
            reward=Reward(config.reward),
            terms={},
            offset=0.0,
        )

    @property
    def mask(self) -> Tensor:
        return self.rollout.mask

    def theirs(self, name: str) -> Tensor:
        """A quantity of TRL's at real tokens, 0 elsewhere."""
        return torch.where(self.mask, self.said[name], 0.0)


@pytest.fixture(params=["full", "ragged"])
def sides(request: pytest.FixtureRequest, ppo: Any) -> Sides:
    return Sides(ppo, request.param, PPO)


@pytest.fixture
def full(ppo: Any) -> Sides:
    return Sides(ppo, "full", PPO)


@pytest.fixture
def ragged(ppo: Any) -> Sides:
    return Sides(ppo, "ragged", PPO)


def test_what_models_say_of_a_rollout(sides: Sides, same: Same) -> None:
    assert sides.mask.sum(dim=1).tolist() == (sides.said["sequence_lengths"] + 1).tolist()
    same("PPO: log-probabilities of the policy", sides.rollout.logprobs, sides.theirs("logprobs"))
    same("PPO: log-probabilities of the reference", sides.experience.ref_logprobs, sides.theirs("ref_logprobs"))
    same("PPO: values", sides.experience.values, sides.theirs("values"))
    penalty = torch.where(sides.rollout.finished, 0.0, MISSING_EOS_PENALTY)
    same("PPO: scores less the penalty for no end", sides.experience.scores - penalty, sides.said["scores"])


def test_kl_by_both_estimators(full: Sides, ragged: Sides, same: Same) -> None:
    """k1 where all responses are of full length, k3 where they are ragged; of each response, and their mean."""
    for sides, estimate, name in ((full, kl_k1, "k1"), (ragged, kl_k3, "k3")):
        ours = estimate(sides.rollout.logprobs, sides.experience.ref_logprobs, sides.mask)
        same(f"PPO: KL to the reference by {name}", ours, sides.said["kl"].sum(dim=1))
        same(f"PPO: KL to the reference by {name}", ours.mean(), sides.metrics["objective/kl"])


def test_advantages_and_returns_of_full_responses(full: Sides, same: Same) -> None:
    same("PPO: returns", full.experience.returns, full.theirs("returns"))
    same("PPO: advantages", full.experience.returns - full.experience.values, full.theirs("advantages"))


def test_the_recursion_of_gae_on_the_rewards_of_the_other_side(ragged: Sides, same: Same) -> None:
    """Given TRL's rewards and values, which go one place beyond the end, the same advantages and returns."""
    rewards, values, mask = ragged.said["rewards"], ragged.said["values"], ~ragged.said["padding_mask_p1"]
    advantages, returns = estimate_advantages(rewards, values, mask, gamma=PPO.gamma, lam=PPO.lam)
    same("PPO: GAE on TRL's own rewards", advantages, ragged.said["advantages"])
    same("PPO: GAE on TRL's own rewards", returns, ragged.said["returns"])


def by_hand(rewards: Array, values: Array) -> Array:
    """Advantages of one response: the sum of discounted surprises (Schulman et al., 2016, equation 16)."""
    after = np.append(values[1:], 0.0)
    surprises = rewards + PPO.gamma * after - values
    decay = PPO.gamma * PPO.lam
    places = range(len(rewards))
    return np.array([sum(decay ** (later - t) * surprises[later] for later in places[t:]) for t in places])


def test_a_response_that_ends_early_is_rewarded_at_its_end_and_not_after_it(ragged: Sides) -> None:
    """The difference in the recipe: TRL adds the score one place after the end, where a value of padding stands.

    By hand, an episode is the response: its last action is the end-of-sequence token, and nothing is worth anything
    after it. TRL has one more step, whose value the loss then trains too. A response of full length has no such place,
    so that there both sides agree.
    """
    differ = 0
    penalty = torch.where(ragged.rollout.finished, 0.0, MISSING_EOS_PENALTY)
    for row, length in enumerate(ragged.mask.sum(dim=1).tolist()):
        values, kl = (ragged.said[name][row].double().numpy() for name in ("values", "kl"))
        log_ratios = (ragged.rollout.logprobs - ragged.experience.ref_logprobs)[row, :length].double().numpy()
        rewards = -PPO.beta * log_ratios
        rewards[-1] += float(ragged.experience.scores[row] - penalty[row])
        ours = (ragged.experience.returns - ragged.experience.values)[row, :length].double().numpy()
        np.testing.assert_allclose(ours, by_hand(rewards, values[:length]), atol=1e-5)
        theirs = ragged.said["advantages"][row].double().numpy()
        slots = min(length + 1, len(kl))
        moved = np.append(-PPO.beta * kl[:length], 0.0)[:slots]
        moved[-1] += float(ragged.said["scores"][row])
        np.testing.assert_allclose(theirs[:slots], by_hand(moved, values[:slots]), atol=1e-5)
        differ += not np.allclose(ours, theirs[:length], atol=1e-3)
    assert differ == int((ragged.mask.sum(dim=1) < ragged.mask.shape[1]).sum()) > 0


def test_rewards_of_full_responses(full: Sides, same: Same) -> None:
    ours = shaped_rewards(
        full.experience.scores, full.rollout.logprobs, full.experience.ref_logprobs, full.mask, beta=PPO.beta
    )
    same("PPO: rewards of tokens", ours, full.said["rewards"])


def test_whitening_differs_by_the_correction_of_the_variance_alone(sides: Sides, same: Same) -> None:
    """TRL divides by the standard deviation of a sample (N - 1), ours by that of the batch itself (N)."""
    ours = whiten(sides.said["advantages"], sides.mask)
    count = int(sides.mask.sum())
    same(
        "PPO: whitened advantages, times sqrt((N - 1) / N)",
        ours * np.sqrt((count - 1) / count),
        sides.theirs("whitened"),
    )
    real = ours[sides.mask].double().numpy()
    np.testing.assert_allclose([real.mean(), real.var()], [0.0, 1.0], atol=1e-5)


def test_losses_of_every_minibatch(full: Sides, ragged: Sides, same: Same) -> None:
    """On TRL's log-probabilities, values, advantages and masks: two epochs, in which ratios and values get clipped."""
    clipped = 0.0
    for sides in (full, ragged):
        for step in sides.steps:
            mask = ~sides.said["padding_mask"][step["rows"]]
            loss, share = ppo_policy_loss(
                step["new_logprobs"], step["mb_logprobs"], step["mb_advantage"], mask, cliprange=PPO.cliprange
            )
            clipped += float(share)
            same("PPO: policy loss", loss, step["pg_loss"])
            loss = ppo_value_loss(
                step["vpred"],
                step["mb_values"],
                step["mb_return"],
                ~sides.said["padding_mask_p1"][step["rows"]],
                cliprange_value=PPO.cliprange_value,
            )
            same("PPO: value loss", loss, step["vf_loss"])
    assert clipped > 0


def test_the_first_minibatch_from_weights_to_losses(full: Sides, same: Same) -> None:
    """All of it by ours, forward passes too; whitening is brought to TRL's variance first."""
    rows, count = full.steps[0]["rows"], int(full.mask.sum())
    experience = full.experience._replace(advantages=full.experience.advantages * np.sqrt((count - 1) / count))
    minibatch = Minibatch(PPO, experience, rows)
    logprobs, entropies = policy_view(policy(full.peer), full.rollout, rows, sampling_temperature=1.0)
    loss, _ = minibatch.policy_loss(rows, logprobs, entropies)
    same("PPO: policy loss, from the weights", loss.detach(), full.steps[0]["pg_loss"])
    loss, _ = minibatch.value_loss(rows, value_view(scorer(full.peer, "value_model"), full.rollout, rows))
    same("PPO: value loss, from the weights", loss.detach(), full.steps[0]["vf_loss"])


def test_figures_of_an_update_leave_padding_out(ragged: Sides) -> None:
    """TRL's mean squared log-ratio counts padding as agreement, so that it shrinks with the shorter responses."""
    everywhere, real = [], []
    for step in ragged.steps:
        squares = (step["new_logprobs"] - step["mb_logprobs"]).square()
        mask = ~ragged.said["padding_mask"][step["rows"]]
        everywhere.append(float(0.5 * squares.mean()))
        real.append(float(0.5 * squares[mask].mean()))
    assert np.mean(everywhere) == pytest.approx(ragged.metrics["policy/approxkl_avg"], rel=1e-4)
    assert np.mean(real) > 1.2 * np.mean(everywhere)
    step = ragged.steps[-1]
    mask = ~ragged.said["padding_mask"][step["rows"]]
    noise = torch.where(mask, step["new_logprobs"], -99.0)
    ours = [kl_k3(step["mb_logprobs"], values, mask).tolist() for values in (step["new_logprobs"], noise)]
    assert ours[0] == ours[1]
