"""A reward model with a tokenizer of its own reads texts, and everything else about it stays as it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.records import Demonstration
from rlhf_core.data.tokenizer import Tree, encode, load_tokenizer
from rlhf_core.evaluators.reward_model import score
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.known_answers import KNOWN, SelfTestError, save_known_answers
from rlhf_core.models.loading import load_reward_model, save
from rlhf_core.models.scoring import score_trees
from rlhf_core.ppo.train import train_policy
from rlhf_core.rewards.scorer import Responses, Scorer

PROMPTS = ["how are you", "fine", "you are fine thanks", "thanks", "how", "are you fine", "you", "thanks how are you"]
ADAM = OptimiserConfig(lr=0.01, eps=1e-5, schedule="constant")
LENGTHS = Lengths(32, 32)
PPO = PPOConfig(
    updates=2,
    rollout_size=8,
    minibatch_size=4,
    kl_budget_nats=None,
    monitor=None,
    collapse=None,
    evaluate_every=1,
    optimiser=ADAM,
    value=SeparateValueConfig(optimiser=ADAM),
    sampling=SamplingConfig(temperature=0.8, max_prompt_tokens=8, max_response_tokens=6),
)
MakeTokenizer = Callable[..., PreTrainedTokenizerBase]


class Twins(NamedTuple):
    """Reward models that say the same of the same texts, by the policy's tokens and by others."""

    same: Path
    other: Path


@pytest.fixture
def settled(base: Path) -> PreTrainedTokenizerBase:
    """The policy's tokenizer as every stage loads it."""
    return load_tokenizer(str(base))


@pytest.fixture
def twins(base: Path, settled: PreTrainedTokenizerBase, make_tokenizer: MakeTokenizer, tmp_path: Path) -> Twins:
    torch.manual_seed(1)
    model = load_reward_model(base, settled)
    own = make_tokenizer(settled.convert_ids_to_tokens(range(len(settled)))[::-1])  # ids count from the other end
    setattr(model.config, TEMPERATURE, 0.5)
    same = save(model, settled, tmp_path / "same")
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(model.get_input_embeddings().weight.flip(0))
    model.config.pad_token_id, model.config.eos_token_id = own.pad_token_id, own.eos_token_id
    found = Twins(same, save(model, own, tmp_path / "other"))
    items = [Demonstration(prompt, f"{prompt} thanks") for prompt in PROMPTS]
    values = score_trees(load_reward_model(same, settled), encode(settled, items, LENGTHS), ADAM).double().numpy()
    for folder in found:
        save_known_answers(folder, load_tokenizer(str(folder)), items, values, ADAM, LENGTHS)
    return found


@pytest.mark.parametrize("differs", ["vocabulary", "template"])
def test_texts_are_read_with_the_tokenizer_of_the_reward_model(
    twins: Twins, settled: PreTrainedTokenizerBase, differs: str
) -> None:
    texts, finished = ["fine thanks", "you are fine", "", "how", "are you"], [True, False, True, True, False]
    whole = encode(settled, list(zip(PROMPTS, texts, strict=False)), LENGTHS)
    trees = [
        Tree(tree.prompt, [ids if ended else ids[:-1] for ids in tree.responses])
        for tree, ended in zip(whole, finished, strict=True)
    ]
    folder, model = twins.other, load_reward_model(twins.same, settled)
    if differs == "template":
        folder, own = twins.same, load_tokenizer(str(twins.same))
        own.chat_template = own.chat_template.replace("<|user|>", "thanks")
        own.save_pretrained(folder)
        first = int(settled.convert_tokens_to_ids("thanks"))
        trees = [Tree([first, *tree.prompt[1:]], tree.responses) for tree in trees]
    scorer = Scorer(folder, settled, ADAM)
    garbled = [Tree([5], [[5]])] * len(texts)  # it must not look at the policy's tokens
    found = scorer(Responses(PROMPTS[: len(texts)], texts, garbled, finished)).score
    assert scorer.reads_text
    torch.testing.assert_close(found, score_trees(model, trees, ADAM), rtol=0, atol=1e-5)
    assert len(set(found.tolist())) == len(texts)


def test_tokens_are_read_where_they_are_the_same(twins: Twins, settled: PreTrainedTokenizerBase) -> None:
    scorer = Scorer(twins.same, settled, ADAM)
    trees = encode(settled, list(zip(PROMPTS, PROMPTS, strict=True)), LENGTHS)
    found = scorer(Responses(PROMPTS, ["read by nobody"] * len(trees), trees, [True] * len(trees))).score
    assert not scorer.reads_text
    torch.testing.assert_close(found, score_trees(scorer.model, trees, ADAM), rtol=0, atol=0)


def test_known_answers_are_asked_with_the_tokenizer_of_the_reward_model(
    twins: Twins, settled: PreTrainedTokenizerBase
) -> None:
    short = Lengths(1, 1)  # of the policy's tokens, which do not count here
    Scorer(twins.other, settled, ADAM).check_known_answers("reward model", short)
    settings = json.loads((twins.other / "config.json").read_text())
    (twins.other / "config.json").write_text(json.dumps(settings | {TEMPERATURE: 0.4}))
    with pytest.raises(SelfTestError, match="'the reward model says what it said when it was saved' failed"):
        Scorer(twins.other, settled, ADAM).check_known_answers("reward model", short)
    (twins.other / KNOWN).unlink()
    Scorer(twins.other, settled, ADAM).check_known_answers("reward model", short)


@pytest.mark.parametrize("adapter", [None, AdapterConfig(rank=2)])
def test_ppo_maximises_a_reward_model_of_other_tokens_and_values_start_at_zero(
    twins: Twins,
    base: Path,
    settled: PreTrainedTokenizerBase,
    tmp_path: Path,
    adapter: AdapterConfig | None,
) -> None:
    models, out = {"sft": base, "reward_model": twins.other, "judge": twins.same}, tmp_path / "out"
    config = PPO.model_copy(update={"adapter": adapter})
    events = list(train_policy(config, **models, prompts=PROMPTS, held_out_prompts=PROMPTS * 8, out=out, seed=1))
    first = events[1].metrics
    assert first["explained_variance"] == pytest.approx(0.0, abs=1e-6)  # a constant explains nothing
    rows = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    ended = [row for row in rows if row["finished"]]
    items = [Demonstration(row["prompt"], row["response"]) for row in ended]
    expected = score(twins.other, items, RewardModelConfig(**LENGTHS._asdict(), optimiser=ADAM))
    assert ended
    assert [row["reward_score"] for row in ended] == pytest.approx(expected, abs=1e-4)
    value = AutoModelForSequenceClassification.from_pretrained(out / "value")
    assert load_tokenizer(str(out / "value")).get_vocab() == settled.get_vocab()
    assert value.score.weight.abs().max() > 0.0
