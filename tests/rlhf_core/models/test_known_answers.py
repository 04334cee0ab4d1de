"""Known answers: a saved model says of a few texts what it said when it was saved, or PPO does not go on."""

import json
import shutil
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from rlhf_core.base.from_text import build_tokenizer
from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import Tree, load_tokenizer
from rlhf_core.evaluators import policy as policy_evaluator
from rlhf_core.evaluators.reward_model import score
from rlhf_core.models.known_answers import (
    KNOWN,
    KNOWN_COUNT,
    SelfTestError,
    check_known_answers,
    mean_logprobs,
    save_known_answers,
)
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.scoring import Scores, score_ensemble
from rlhf_core.ppo import train as ppo
from rlhf_core.ppo.train import train_policy
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.rewards import scorer
from rlhf_core.sft import train_sft
from rlhf_core.training.stage import Event

PROMPTS = [" ".join(words) for words in product(("how", "are", "you"), repeat=2)]
DEMONSTRATIONS = [Demonstration(*texts) for texts in product(PROMPTS, ("fine thanks", "you are fine thanks"))]
PAIRS = [Pair(prompt, f"{start} thanks", f"{start} how") for prompt, start in product(PROMPTS, ("fine", "you are"))]
ADAM = OptimiserConfig(lr=0.02, eps=1e-3, schedule="constant")
SAMPLING = SamplingConfig(max_prompt_tokens=8, max_response_tokens=6)
SFT = SFTConfig(epochs=1, batch_size=6, optimiser=ADAM, sampling=SAMPLING, evaluation_prompts=4)
REWARD_MODEL = RewardModelConfig(epochs=1, batch_size=4, max_prompt_tokens=8, max_response_tokens=6, optimiser=ADAM)
PPO = PPOConfig(
    updates=4,
    rollout_size=8,
    minibatch_size=4,
    kl_budget_nats=None,
    kl_to_rollout_limit_nats=None,
    monitor=None,
    collapse=None,
    evaluate_every=2,
    optimiser=ADAM,
    value=SeparateValueConfig(optimiser=ADAM),
    sampling=SAMPLING,
)


class Models(NamedTuple):
    sft: Path
    reward_model: Path
    judge: Path


@pytest.fixture
def models(base: Path, tmp_path: Path) -> Models:
    sft = tmp_path / "sft"
    list(train_sft(SFT, base=base, train=DEMONSTRATIONS, held_out=DEMONSTRATIONS, out=sft, seed=1))
    made = Models(sft, tmp_path / "reward_model", tmp_path / "judge")
    for seed, out in enumerate(made[1:]):
        data = {"train": PAIRS, "held_out": PAIRS, "demonstrations": DEMONSTRATIONS}
        list(train_reward_model(REWARD_MODEL, init_from=sft, out=out, seed=seed, **data))
    return made


def climb(models: Models, out: Path, config: PPOConfig = PPO) -> list[Event]:
    texts = {"prompts": PROMPTS, "held_out_prompts": PROMPTS * 4}
    return list(train_policy(config, **models._asdict(), **texts, out=out, seed=1))


def known_of(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / KNOWN).read_text())["answers"]
    return found


def tamper(folder: Path) -> None:
    """A head that is not the one that was trained, as when the names in a checkpoint do not match."""
    tokenizer = load_tokenizer(str(folder))
    model = load_reward_model(folder, tokenizer)
    with torch.no_grad():
        model.score.weight.normal_()
    save(model, tokenizer, folder)


def test_a_saved_sft_model_tells_log_probabilities_that_a_plain_forward_gives(models: Models) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(models.sft), load_tokenizer(str(models.sft))
    answers = known_of(models.sft)
    assert len(answers) == KNOWN_COUNT
    for row in answers:
        prompt = tokenizer.convert_tokens_to_ids(f"<|user|> {row['prompt']} <|assistant|>".split())
        response = [*tokenizer.convert_tokens_to_ids(str(row["response"]).split()), tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]).mean()
        assert row["value"] == pytest.approx(float(expected), abs=1e-4)


def test_a_saved_reward_model_tells_its_calibrated_scores(models: Models) -> None:
    answers = known_of(models.reward_model)
    items = [Demonstration(str(row["prompt"]), str(row["response"])) for row in answers]
    assert [row["value"] for row in answers] == pytest.approx(score(models.reward_model, items, REWARD_MODEL), abs=1e-4)
    assert np.ptp([float(str(row["value"])) for row in answers]) > 0.01


def test_what_was_cut_when_the_model_was_saved_is_not_among_them(base: Path, tmp_path: Path) -> None:
    long = [Demonstration(PROMPTS[0], "fine " * 9), Demonstration("how " * 9, "fine")]
    list(train_sft(SFT, base=base, train=DEMONSTRATIONS, held_out=[*long, DEMONSTRATIONS[0]], out=tmp_path, seed=1))
    assert [row["response"] for row in known_of(tmp_path)] == [DEMONSTRATIONS[0].response]


def test_a_climb_with_the_models_as_they_were_saved_goes_on(models: Models, tmp_path: Path) -> None:
    assert len(climb(models, tmp_path / "out")) == 1 + PPO.updates


def test_a_policy_of_shorter_responses_asks_what_fits(models: Models, tmp_path: Path) -> None:
    short = PPO.model_copy(update={"sampling": SamplingConfig(max_prompt_tokens=8, max_response_tokens=3)})
    assert len(climb(models, tmp_path / "out", short)) == 1 + PPO.updates


def test_models_that_bring_no_known_answers_are_not_tested(models: Models, tmp_path: Path) -> None:
    tamper(models.reward_model)
    (models.reward_model / KNOWN).unlink()
    assert len(climb(models, tmp_path / "out")) == 1 + PPO.updates


@pytest.mark.parametrize("which", ["reward model", "judge"])
def test_a_lost_head_is_noticed_before_the_first_update(models: Models, tmp_path: Path, which: str) -> None:
    folder = models.judge if which == "judge" else models.reward_model
    tamper(folder)
    with pytest.raises(SelfTestError, match=f"'the {which} says what it said when it was saved' failed: of 16 known"):
        climb(models, tmp_path / "out")


def test_another_chat_template_is_noticed(models: Models, tmp_path: Path) -> None:
    def without_marker(path: str) -> PreTrainedTokenizerBase:
        tokenizer = load_tokenizer(path)
        template = str(tokenizer.chat_template)
        assert "<|assistant|>" in template
        tokenizer.chat_template = template.replace("<|assistant|>", "")
        return tokenizer

    with (
        patch.object(policy_evaluator, "load_tokenizer", without_marker),
        pytest.raises(SelfTestError, match="'the SFT model says what it said"),
    ):
        climb(models, tmp_path / "out")


def test_other_tokens_are_told_from_other_weights() -> None:
    """By what a model says it would pass; the cause is the template, and no weight."""
    tokenizer = build_tokenizer(["how are you fine thanks"], vocabulary=300)
    lengths, config = Lengths(99, 99), OptimiserConfig()
    with TemporaryDirectory() as folder:
        save_known_answers(Path(folder), tokenizer, DEMONSTRATIONS[:3], np.zeros(3), config, lengths)
        check_known_answers("judge", Path(folder), lambda trees: torch.zeros(len(trees)), tokenizer, config, lengths)
        tokenizer.chat_template = "Today. " + str(tokenizer.chat_template)
        raised = ""
        try:
            check_known_answers(
                "judge", Path(folder), lambda trees: torch.zeros(len(trees)), tokenizer, config, lengths
            )
        except SelfTestError as error:
            raised = str(error)
    assert "'the judge says what it said when it was saved' failed: 3 of 3 known answers" in raised
    assert "reach it as other tokens than then, such as that to 'how how'" in raised


def test_a_reward_model_that_does_not_see_the_end_of_responses_is_noticed(models: Models, tmp_path: Path) -> None:
    def without_end(model: object, trees: list[Tree], config: OptimiserConfig) -> Scores:
        return score_ensemble(model, [Tree(tree.prompt, [tree.responses[0][:-1]]) for tree in trees], config)  # type: ignore[arg-type]

    with (
        patch.object(scorer, "score_ensemble", without_end),
        pytest.raises(SelfTestError, match="'the reward model says what it said"),
    ):
        climb(models, tmp_path / "out")


def test_a_reference_that_follows_the_policy_is_noticed_once_it_has_moved(models: Models, tmp_path: Path) -> None:
    advance = ppo.PPORun._ppo_step

    def with_shared_weights(run: ppo.PPORun, prompts: list[str], step: int) -> dict[str, float]:
        run.reference = run.actor_critic.policy
        return advance(run, prompts, step)

    stage = train_policy(
        PPO, **models._asdict(), prompts=PROMPTS, held_out_prompts=PROMPTS * 4, out=tmp_path / "out", seed=1
    )
    with patch.object(ppo.PPORun, "_ppo_step", with_shared_weights):
        assert [next(stage).step, next(stage).step] == [0, 1]
        with pytest.raises(SelfTestError, match="'the SFT model says what it said"):
            next(stage)
    assert not (tmp_path / "out" / "policy").exists()


def test_a_policy_is_not_measured_by_another_reward_model_either(models: Models) -> None:
    shutil.copytree(models.sft, models.sft.with_name("policy"))
    tamper(models.reward_model)
    exam = policy_evaluator.PolicyEvaluator(PPO, **models._asdict(), seed=1)
    with pytest.raises(SelfTestError, match="'the reward model says"):
        exam.evaluate(models.sft.with_name("policy"), PROMPTS)


def test_bfloat16_is_given_its_rounding_and_no_more(models: Models) -> None:
    tokenizer = load_tokenizer(str(models.sft))
    model = load_policy(models.sft, tokenizer)
    config = ADAM.model_copy(update={"precision": "bfloat16"})
    lengths = Lengths(8, 6)

    def say(trees: list[Tree], *, off: float = 0.0) -> torch.Tensor:
        return mean_logprobs(model, trees, config) + off

    check_known_answers("SFT model", models.sft, say, tokenizer, config, lengths)
    with pytest.raises(SelfTestError, match=r"limit 0\.1"):
        check_known_answers("SFT model", models.sft, lambda trees: say(trees, off=0.2), tokenizer, config, lengths)
    with pytest.raises(SelfTestError, match=r"limit 0\.001"):
        check_known_answers("SFT model", models.sft, lambda trees: say(trees, off=0.2), tokenizer, ADAM, lengths)
