"""Reward models from elsewhere: their scores stay, what they lack is fitted, and what is none is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.evaluators.reward_model import parameter_ratio, score
from rlhf_core.metrics.calibration import fit_temperature
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.known_answers import KNOWN, SelfTestError
from rlhf_core.models.loading import parameters
from rlhf_core.reward_model.external import adopt_reward_model
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.training.stage import StageResult, finish

PROMPTS = [f"{first} {second}" for first in ("how", "are", "you") for second in ("fine", "thanks", "you")]
PAIRS = [Pair(prompt, f"{start} thanks", f"{start} how") for prompt in PROMPTS for start in ("fine", "you are")]
DEMONSTRATIONS = [Demonstration(pair.prompt, pair.chosen) for pair in PAIRS]
CONFIG = RewardModelConfig(
    epochs=2, batch_size=4, max_prompt_tokens=8, max_response_tokens=6, optimiser=OptimiserConfig(lr=0.005)
)


@pytest.fixture
def trained(base: Path, tmp_path: Path) -> StageResult:
    data = {"train": PAIRS, "held_out": PAIRS, "demonstrations": DEMONSTRATIONS}
    return finish(train_reward_model(CONFIG, init_from=base, **data, out=tmp_path / "trained", seed=1))


def adopt(source: Path, out: Path) -> StageResult:
    data = {"train": PAIRS, "held_out": PAIRS, "demonstrations": DEMONSTRATIONS}
    return finish(adopt_reward_model(CONFIG, source=source, **data, out=out))


def without_temperature(folder: Path, copied: Path) -> Path:
    shutil.copytree(folder, copied)
    settings = json.loads((copied / "config.json").read_text())
    del settings[TEMPERATURE]
    (copied / "config.json").write_text(json.dumps(settings))
    return copied


def test_a_calibrated_model_is_taken_as_it_is_and_measured_like_the_trained_one(
    trained: StageResult, tmp_path: Path
) -> None:
    folder = trained.artifacts["reward_model"]
    found = adopt(folder, tmp_path / "adopted")
    assert found.estimates.keys() == trained.estimates.keys()
    for name, estimate in trained.estimates.items():
        assert found.estimates[name] == pytest.approx(estimate, abs=1e-4), name
    assert found.series["delta"] == pytest.approx(trained.series["delta"], abs=1e-4)
    assert found.samples == trained.samples
    assert score(tmp_path / "adopted", DEMONSTRATIONS, CONFIG) == pytest.approx(score(folder, DEMONSTRATIONS, CONFIG))


def test_known_answers_are_handed_on_and_a_model_that_does_not_give_them_is_refused(
    trained: StageResult, tmp_path: Path
) -> None:
    folder = trained.artifacts["reward_model"]
    adopt(folder, tmp_path / "adopted")
    assert (tmp_path / "adopted" / KNOWN).read_bytes() == (folder / KNOWN).read_bytes()
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {TEMPERATURE: 2.0 * settings[TEMPERATURE]}))
    with pytest.raises(SelfTestError, match="'the reward model says what it said when it was saved' failed"):
        adopt(folder, tmp_path / "refused")


def test_a_model_without_a_temperature_gets_that_of_the_half_that_is_not_judged(
    trained: StageResult, tmp_path: Path
) -> None:
    bare = without_temperature(trained.artifacts["reward_model"], tmp_path / "bare")
    found = adopt(bare, tmp_path / "adopted").estimates
    raw = dict(zip(DEMONSTRATIONS, score(bare, DEMONSTRATIONS, CONFIG), strict=True))
    rejected = score(bare, [Demonstration(pair.prompt, pair.rejected) for pair in PAIRS], CONFIG)
    deltas = np.array([raw[item] - other for item, other in zip(DEMONSTRATIONS, rejected, strict=True)])
    fitting = [place for place, pair in enumerate(PAIRS) if PROMPTS.index(pair.prompt) % 2 == 0]
    assert found["temperature"].value == pytest.approx(fit_temperature(deltas[fitting]), rel=1e-4)
    assert found["temperature"].value != pytest.approx(1.0, abs=1e-3)
    calibrated = np.array(score(tmp_path / "adopted", DEMONSTRATIONS, CONFIG)) * found["temperature"].value
    assert calibrated == pytest.approx(list(raw.values()), abs=1e-4)


def test_a_language_model_is_no_reward_model(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ForCausalLM|LMHeadModel.* is no reward model; name a sequence classifier"):
        adopt(base, tmp_path / "adopted")


def test_a_classifier_of_several_labels_is_no_reward_model(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    for folder in (model, tokenizer):
        folder.save_pretrained(tmp_path / "three")
    with pytest.raises(ValueError, match="with 3 labels is no reward model"):
        adopt(tmp_path / "three", tmp_path / "adopted")


def test_a_model_with_too_few_positions_is_refused(trained: StageResult, tmp_path: Path) -> None:
    long = CONFIG.model_copy(update={"max_response_tokens": 2000})
    data = {"train": PAIRS, "held_out": PAIRS, "demonstrations": DEMONSTRATIONS}
    adopting = adopt_reward_model(long, source=trained.artifacts["reward_model"], **data, out=tmp_path / "adopted")
    with pytest.raises(ValueError, match="positions, and max_prompt_tokens 8 and max_response_tokens 2000 need 2008"):
        finish(adopting)


def test_a_model_that_reads_other_tokens_is_taken_with_its_tokenizer(
    trained: StageResult, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    foreign = Path(shutil.copytree(trained.artifacts["reward_model"], tmp_path / "foreign"))
    (foreign / KNOWN).unlink()  # said by another template
    tokenizer.chat_template = "{% for message in messages %}<|user|> {{ message['content'] }} {% endfor %}<|user|>"
    tokenizer.save_pretrained(foreign)
    found = adopt(foreign, tmp_path / "adopted")
    assert found.series["delta"] != pytest.approx(trained.series["delta"], abs=1e-3)
    assert load_tokenizer(str(tmp_path / "adopted")).chat_template == load_tokenizer(str(foreign)).chat_template
    assert score(tmp_path / "adopted", DEMONSTRATIONS, CONFIG) == pytest.approx(score(foreign, DEMONSTRATIONS, CONFIG))


def test_parameters_are_counted_without_loading_them(trained: StageResult, base: Path) -> None:
    def counted(model: PreTrainedModel) -> int:
        return sum(weight.numel() for weight in {id(part): part for part in model.parameters()}.values())

    scorer = trained.artifacts["reward_model"]
    large = counted(AutoModelForSequenceClassification.from_pretrained(scorer))
    small = counted(AutoModelForCausalLM.from_pretrained(base))
    assert (parameters(scorer), parameters(base)) == (large, small)
    assert parameter_ratio(scorer, base) == (large / small, large / small, large / small, 1)
    assert large != small


def test_the_parameters_of_a_larger_model_are_counted_in_proportion(base: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(1000)
    model.save_pretrained(tmp_path / "large")
    grown = parameters(tmp_path / "large") - parameters(base)
    tied = model.config.tie_word_embeddings
    assert grown == 990 * 16 * (1 if tied else 2)
