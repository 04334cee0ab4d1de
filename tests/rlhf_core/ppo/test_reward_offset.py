"""A constant in the reward changes nothing, wherever values start: the reward is centred before the first update."""

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerBase

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig, SharedTrunkConfig
from rlhf_core.config.reward import RegexConfig, RewardConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.generation.rollout import as_rollout
from rlhf_core.generation.sampling import Sampled
from rlhf_core.models.known_answers import SelfTestError
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.precision import NotFiniteError
from rlhf_core.models.scoring import Scores
from rlhf_core.ppo.experience import Experience
from rlhf_core.ppo.self_tests import check_centring
from rlhf_core.ppo.train import train_policy
from rlhf_core.ppo.update import centred_advantages, compute_advantages, reward_offset
from rlhf_core.rewards.reward import Reward
from rlhf_core.training.stage import Event, StageResult

PROMPTS = ["how are you", "fine", "you are fine thanks", "thanks", "how", "are you fine", "you", "thanks how are you"]
HELD_OUT = ["fine thanks", "how you", "are you how", "thanks fine"]
ADAM = OptimiserConfig(lr=0.01, eps=1e-3, schedule="constant")
CONFIG = PPOConfig(
    updates=3,
    rollout_size=8,
    minibatch_size=4,
    kl_budget_nats=None,
    monitor=None,
    collapse=None,
    evaluate_every=3,
    optimiser=ADAM,
    value=SeparateValueConfig(optimiser=ADAM),
    sampling=SamplingConfig(temperature=0.8, max_prompt_tokens=6, max_response_tokens=6),
)
ALWAYS_10 = RewardConfig(terms=(RegexConfig(name="always", pattern="(?s).*", weight=10.0),))
SAMPLED = [
    Sampled([3, 5, 4], [7, 8, 2], [-1.0, -2.0, -0.5], True),
    Sampled([3, 6, 7, 8, 4], [9, 2], [-2.0, -1.5], True),
    Sampled([3, 9, 4], [5, 7, 6, 9], [-1.0, -2.5, -0.5, -3.0], False),
]
VALUES = torch.tensor([[9.0, 9.0, 0.5, 0.0], [9.0, -1.0, 0.0, 0.0], [9.0, 9.0, 9.0, 2.0]])
ENDS = torch.tensor([0.5, -1.0, 2.0])
"""What values say after the responses."""


UNDISCOUNTED = CONFIG.model_copy(update={"beta": 0.0, "lam": 1.0})
"""By it the return of every token is the reward of the whole response."""


def experienced(rewards: list[float], *, offset: float) -> Experience:
    rollout, given, zeros = as_rollout(SAMPLED), torch.tensor(rewards), torch.zeros(3)
    advantages, returns = centred_advantages(UNDISCOUNTED, rollout, given, rollout.logprobs, VALUES, offset=offset)
    return Experience(rollout, zeros, zeros, rollout.logprobs, VALUES, advantages, returns, given, {}, given, offset)


def test_the_offset_by_hand() -> None:
    """Mean rewards 0, less the mean value at the end, 0.5; nothing where both are alike."""
    assert reward_offset(torch.tensor([1.0, 2.0, -3.0]), ENDS) == pytest.approx(-0.5)
    assert reward_offset(torch.tensor([2.0, 0.5, -1.0]), ENDS) == pytest.approx(0.0)


def test_advantages_forget_a_constant_in_the_reward() -> None:
    plain, more = (
        experienced(rewards, offset=reward_offset(torch.tensor(rewards), ENDS))
        for rewards in ([1.0, 2.0, -3.0], [11.0, 12.0, 7.0])
    )
    torch.testing.assert_close(more.advantages, plain.advantages, rtol=0, atol=1e-5)
    returns = [row[row != 0].tolist() for row in more.returns]
    assert returns == [pytest.approx([reward + 0.5] * n, abs=1e-5) for reward, n in ((1, 3), (2, 2), (-3, 4))]


def failed(experience: Experience) -> str:
    """What the self-test says, nothing where it passes."""
    try:
        check_centring(UNDISCOUNTED, experience, ENDS)
    except SelfTestError as error:
        return str(error)
    return ""


def test_the_self_test_sees_a_reward_that_is_not_centred() -> None:
    assert failed(experienced([1.0, 2.0, -3.0], offset=-0.5)) == ""
    assert "'a constant in the reward changes nothing' failed: 10 more moves returns by up to 1.5 (" in failed(
        experienced([1.0, 2.0, -3.0], offset=1.0)
    )
    with patch.dict(check_centring.__globals__, reward_offset=lambda *_: 0.0):  # nobody measures the offset
        assert "returns by up to 10 (limit 0.01)" in failed(experienced([1.0, 2.0, -3.0], offset=0.0))


def test_the_offset_is_of_rewards_after_clip_and_penalty(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Which are 1, 2 and -3.5 here: the last one did not end."""
    reward = RewardConfig(clip=2.0)

    def experience(offset: float | Tensor) -> Experience:
        return compute_advantages(
            UNDISCOUNTED.model_copy(update={"reward": reward, "missing_eos_penalty": 1.5}),
            as_rollout(SAMPLED),
            reference=load_policy(base, tokenizer),
            scores=Scores(torch.tensor([1.0, 5.0, -3.0]), torch.full((3,), torch.nan)),
            values=VALUES,
            reward=Reward(reward),
            terms={},
            offset=offset,
        )

    first = experience(ENDS)
    assert first.offset == pytest.approx(-0.5 / 3 - 0.5)
    assert first.total.tolist() == [1.0, 2.0, -2.0]
    assert first.returns[:, 0].tolist() == pytest.approx([5 / 3, 8 / 3, -17 / 6], abs=1e-5)
    assert experience(0.25).returns[:, 0].tolist() == pytest.approx([0.75, 1.75, -3.75], abs=1e-5)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_refused(base: Path, tokenizer: PreTrainedTokenizerBase, score: float) -> None:
    with pytest.raises(NotFiniteError, match="rewards of responses are not finite, 1 of 3"):
        compute_advantages(
            UNDISCOUNTED,
            as_rollout(SAMPLED),
            reference=load_policy(base, tokenizer),
            scores=Scores(torch.tensor([1.0, score, -3.0]), torch.full((3,), torch.nan)),
            values=VALUES,
            reward=Reward(RewardConfig()),
            terms={},
            offset=0.0,
        )


class Trained:
    """A run with what it leaves."""

    def __init__(self, out: Path, config: PPOConfig, **models: Path) -> None:
        stage = train_policy(config, **models, prompts=PROMPTS, held_out_prompts=HELD_OUT, out=out, seed=1)
        self.events: list[Event] = []
        while True:
            try:
                self.events.append(next(stage))
            except StopIteration as end:
                self.result: StageResult = end.value
                break
        self.policy = AutoModelForCausalLM.from_pretrained(out / "policy").state_dict()
        self.value = AutoModelForSequenceClassification.from_pretrained(out / "value").state_dict()

    def metric(self, name: str) -> list[float]:
        return [event.metrics[name] for event in self.events if name in event.metrics]


def apart(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    return max(float((weight - second[name]).abs().max()) for name, weight in first.items())


@pytest.mark.parametrize("value", [CONFIG.value, SharedTrunkConfig(coef=0.5)], ids=["separate", "shared"])
def test_ten_more_on_every_score_trains_the_same_policy_and_values(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, value: SeparateValueConfig | SharedTrunkConfig
) -> None:
    torch.manual_seed(1)
    reward_model = save(load_reward_model(base, tokenizer), tokenizer, tmp_path / "reward")
    models = {"sft": base, "reward_model": reward_model, "judge": reward_model}
    config = CONFIG.model_copy(update={"value": value})
    plain = Trained(tmp_path / "plain", config, **models)
    more = Trained(tmp_path / "more", config.model_copy(update={"reward": ALWAYS_10}), **models)
    start = AutoModelForCausalLM.from_pretrained(base).state_dict()
    assert apart(plain.policy, start) > 0.01
    assert apart(plain.policy, more.policy) < 1e-4 and apart(plain.value, more.value) < 1e-4
    shift = {"reward_total": 10.0, "reward_offset": 10.0, "reward_score": 0.0, "kl_to_sft_nats": 0.0}
    for name, by in shift.items():
        assert more.metric(name) == pytest.approx([figure + by for figure in plain.metric(name)], abs=1e-4)
    assert len(set(more.metric("reward_offset"))) == 1
    assert more.result.estimates["reward_offset"] == (*[more.metric("reward_offset")[0]] * 3, 8)
