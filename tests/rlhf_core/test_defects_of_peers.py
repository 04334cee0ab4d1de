"""Defects of other systems, where no other test shows that this one has none; docs/evidence/agreement.md lists all."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import UpdateConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.pair_trees import compare
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import Tree
from rlhf_core.generation.rollout import as_rollout
from rlhf_core.generation.sampling import sample
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.scoring import score_ensemble, score_trees
from rlhf_core.ppo.actor_critic import load_actor_critic
from rlhf_core.ppo.update import compute_advantages
from rlhf_core.reward_model import train as reward_model_stage
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.rewards.reward import Reward

SAMPLING = SamplingConfig(temperature=0.8, max_prompt_tokens=8, max_response_tokens=5)


def test_an_end_in_the_prompt_does_not_end_the_response(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """TRL looked for the end in all tokens, so that a chat prompt which holds one switched the penalty off."""
    config = UpdateConfig(lam=1.0, gamma=1.0, beta=0.0, missing_eos_penalty=2.5, sampling=SAMPLING)
    policy = load_policy(base, tokenizer)
    tokenizer.chat_template = "<|user|> {{ messages[0]['content'] }} <|end|> you <|assistant|>"
    prompts = ["how are", "fine", "thanks"] * 6
    drawn = sample(policy, tokenizer, prompts, SAMPLING, generator=torch.Generator().manual_seed(1))
    assert all(tokenizer.eos_token_id in one.prompt_ids for one in drawn)
    assert {one.finished for one in drawn} == {True, False}
    rollout = as_rollout(drawn)
    torch.manual_seed(1)
    experience = compute_advantages(
        config,
        rollout,
        reference=policy,
        scores=score_ensemble(load_reward_model(base, tokenizer), rollout.trees, config.optimiser),
        values=torch.zeros(rollout.mask.shape),
        reward=Reward(config.reward),
        terms={},
        offset=0.0,
    )
    for row, one in enumerate(drawn):
        assert one.finished is (tokenizer.eos_token_id in one.response_ids)
        expected = float(experience.scores[row]) - (0.0 if one.finished else 2.5)
        assert float(experience.returns[row, 0]) == pytest.approx(expected, abs=1e-4)


def test_a_pair_that_is_too_long_is_cut_and_neither_lost_nor_ended(tokenizer: PreTrainedTokenizerBase) -> None:
    """TRL drops such pairs without a word; OpenRLHF writes the end over the last token that fits."""
    pairs = [Pair("how are you fine thanks", "fine thanks you are how", "how"), Pair("how", "fine", "thanks")]
    first, second = compare(tokenizer, pairs, Lengths(4, 3))
    assert [len(first.chosen), len(second.chosen)] == [1, 1]
    assert len(first.tree.prompt) == 4
    assert tokenizer.decode(first.tree.responses[0]) == "fine thanks you"
    assert first.tree.responses[1][-1] == tokenizer.eos_token_id


def test_a_reward_model_that_scores_otherwise_once_it_is_saved_ends_the_stage(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that is drawn anew when an adapter is loaded gave random rewards in PEFT and in TRL."""

    def losing_the_head(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> Path:
        save(model, tokenizer, out)
        weights = load_file(out / "model.safetensors")
        weights["score.weight"] = torch.randn(weights["score.weight"].shape)
        save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
        return out

    monkeypatch.setattr(reward_model_stage, "save", losing_the_head)
    pairs = [Pair(prompt, "fine thanks", "how you") for prompt in ("how", "are", "you", "how are")]
    training = train_reward_model(
        RewardModelConfig(optimiser=OptimiserConfig(lr=1e-2)),
        init_from=base,
        train=pairs,
        held_out=pairs,
        demonstrations=[Demonstration("how", "fine"), Demonstration("are", "thanks")],
        out=tmp_path / "out",
        seed=1,
    )
    with pytest.raises(RuntimeError, match="the saved reward model gives other scores than the trained one"):
        list(training)


def test_values_start_as_the_reward_model(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """trlX's documentation said so and its code did not: the value after the last token is the score."""
    torch.manual_seed(1)
    folder = save(load_reward_model(base, tokenizer), tokenizer, tmp_path / "reward")
    config = UpdateConfig(sampling=SAMPLING)
    actor_critic = load_actor_critic(config, tokenizer, sft=base, reward_model=folder, steps=1)
    trees = [Tree([3, 5, 4], [[6, 7, 2]]), Tree([3, 6, 4], [[8, 9, 5, 2]])]
    scores = score_trees(load_reward_model(folder, tokenizer), trees, config.optimiser)
    # The value before a token is the head after the one before it, so one more token shows that after the last.
    drawn = sample(actor_critic.policy, tokenizer, ["how"] * 2, SAMPLING, generator=torch.Generator().manual_seed(1))
    longer = [
        one._replace(prompt_ids=tree.prompt, response_ids=[*tree.responses[0], 5], logprobs=[0.0] * 5)
        for one, tree in zip(drawn, trees, strict=True)
    ]
    longer = [one._replace(logprobs=[0.0] * len(one.response_ids)) for one in longer]
    values = actor_critic.values(as_rollout(longer))
    last = [len(one.response_ids) - 1 for one in longer]
    torch.testing.assert_close(values[[0, 1], last], scores, rtol=0, atol=1e-4)
