"""SFT and the reward model as whole stages, on models of a few thousand weights, against plain forward passes."""

import json
import math
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerBase

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.reward_model import Balance, RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.pair_weights import balance
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.evaluators.reward_model import evaluate_reward_model, halves, score
from rlhf_core.models.loading import load_policy, load_reward_model
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.sft import train_sft
from rlhf_core.training.stage import Event, Stage, StageResult

PROMPTS = [" ".join(words) for words in product(("how", "are", "you"), repeat=2)] + ["how are you fine thanks"]
ANSWERS = ("fine", "fine thanks", "you are fine thanks", "fine fine fine fine fine fine thanks")
DEMONSTRATIONS = [Demonstration(prompt, answer) for prompt, answer in product(PROMPTS, ANSWERS)]
PAIRS = [
    Pair(prompt, f"{start} thanks", f"{start} how", margin, weight)
    for prompt, (start, margin, weight) in product(
        PROMPTS, (("fine", 0.0, 0.5), ("you are", 0.5, 2.0), ("are you how", 0.0, 1.0))
    )
]
OPTIMISER = OptimiserConfig(lr=0.02, eps=1e-3, schedule="constant")
"""A large eps, so that rounding in a tiny gradient does not become a step."""
SFT = SFTConfig(
    epochs=2,
    batch_size=12,
    optimiser=OPTIMISER,
    sampling=SamplingConfig(max_prompt_tokens=6, max_response_tokens=5),
    evaluation_prompts=10,
)
REWARD_MODEL = RewardModelConfig(
    epochs=4, batch_size=4, max_prompt_tokens=8, max_response_tokens=6, optimiser=OPTIMISER
)


class Outcome(NamedTuple):
    events: list[Event]
    result: StageResult


def finish(stage: Stage) -> Outcome:
    events = []
    while True:
        try:
            events.append(next(stage))
        except StopIteration as end:
            return Outcome(events, end.value)


def sft(base: Path, out: Path, *, config: SFTConfig = SFT, train: list[Demonstration] = DEMONSTRATIONS) -> Outcome:
    return finish(train_sft(config, base=base, train=train, held_out=DEMONSTRATIONS[::5], out=out, seed=1))


def reward_model(
    base: Path, out: Path, *, config: RewardModelConfig = REWARD_MODEL, train: list[Pair] = PAIRS
) -> Outcome:
    stage = train_reward_model(
        config, init_from=base, train=train, held_out=train, demonstrations=DEMONSTRATIONS[::3], out=out, seed=1
    )
    return finish(stage)


def ids_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer.convert_tokens_to_ids(text.split())


def with_max_tokens(optimiser: OptimiserConfig, max_tokens: int) -> dict[str, OptimiserConfig]:
    return {"optimiser": optimiser.model_copy(update={"max_tokens": max_tokens})}


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (one, other))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-4)


# SFT


def token_losses(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, item: Demonstration) -> torch.Tensor:
    """Cross-entropy of each response token, one unpadded sequence at a time."""
    prompt = ids_of(tokenizer, f"<|user|> {item.prompt} <|assistant|>")[-SFT.sampling.max_prompt_tokens :]
    response = ids_of(tokenizer, f"{item.response} <|end|>")[: SFT.sampling.max_response_tokens]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0]
    return F.cross_entropy(logits[len(prompt) - 1 : -1], torch.tensor(response), reduction="none")


@pytest.mark.parametrize("max_tokens", [12, 40, 4096])
def test_the_loss_of_an_sft_step_is_the_mean_over_all_response_tokens(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, max_tokens: int
) -> None:
    config = SFT.model_copy(
        update={"batch_size": 100, "epochs": 1, **with_max_tokens(OPTIMISER, max_tokens)},
    )
    model = AutoModelForCausalLM.from_pretrained(base)
    expected = torch.cat([token_losses(model, tokenizer, item) for item in DEMONSTRATIONS]).mean()
    events, _ = sft(base, tmp_path / "out", config=config)
    assert len(events) == 1
    assert events[0].metrics["loss_nats"] == pytest.approx(float(expected), abs=1e-4)


def test_micro_batches_do_not_change_what_sft_learns(base: Path, tmp_path: Path) -> None:
    for max_tokens in (12, 4096):
        sft(base, tmp_path / str(max_tokens), config=SFT.model_copy(update=with_max_tokens(OPTIMISER, max_tokens)))
    assert_same_weights(tmp_path / "12", tmp_path / "4096")


def test_sft_never_teaches_the_end_to_a_truncated_answer(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    def chance_of_the_end(model: torch.nn.Module) -> float:
        ids = ids_of(tokenizer, "<|user|> how are <|assistant|> fine fine fine fine")  # the fifth token is the last
        with torch.no_grad():
            chances = model(input_ids=torch.tensor([ids])).logits[0].softmax(dim=-1)
        return float(chances[3:, tokenizer.eos_token_id].max())

    too_long = [item for item in DEMONSTRATIONS if len(item.response.split()) >= SFT.sampling.max_response_tokens]
    assert {item.response for item in too_long} == {ANSWERS[3]}
    config = SFT.model_copy(update={"epochs": 40})
    sft(base, tmp_path / "cut", config=config, train=too_long)
    assert chance_of_the_end(load_policy(tmp_path / "cut", tokenizer)) < 0.01
    sft(base, tmp_path / "whole", config=config)
    assert chance_of_the_end(load_policy(tmp_path / "whole", tokenizer)) > 0.1


def test_sft_lowers_the_held_out_loss_and_teaches_to_end(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    short = [item for item in DEMONSTRATIONS if len(item.response.split()) <= 2]
    _, result = sft(base, tmp_path / "out", config=SFT.model_copy(update={"epochs": 10}), train=short)
    figures = result.estimates
    assert figures["held_out_loss"].value < figures["base_held_out_loss"].value
    assert figures["eos_rate"].value > figures["base_eos_rate"].value
    for prefix, path in (("base_", base), ("", result.artifacts["sft"])):
        model = AutoModelForCausalLM.from_pretrained(path)
        expected = [float(token_losses(model, tokenizer, item).mean()) for item in DEMONSTRATIONS[::5]]
        assert figures[f"{prefix}held_out_loss"].value == pytest.approx(sum(expected) / len(expected), abs=1e-4)
    gain = figures["base_held_out_loss"].value - figures["held_out_loss"].value
    assert figures["held_out_loss_gain"].value == pytest.approx(gain)


def test_a_seed_of_sft_gives_the_same_events(base: Path, tmp_path: Path) -> None:
    first, again = (sft(base, tmp_path / name) for name in ("first", "again"))
    assert first.events == again.events
    assert first.result.estimates == again.result.estimates


# Reward model


def plain_score(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, prompt: str, response: str) -> float:
    """Logit of one unpadded sequence by the model's own forward."""
    ids = ids_of(tokenizer, f"<|user|> {prompt} <|assistant|>")[-8:] + ids_of(tokenizer, f"{response} <|end|>")[:6]
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([ids])).logits[0, 0])


def mean_margin(out: Path) -> float:
    chosen = score(out, [Demonstration(pair.prompt, pair.chosen) for pair in PAIRS], REWARD_MODEL)
    rejected = score(out, [Demonstration(pair.prompt, pair.rejected) for pair in PAIRS], REWARD_MODEL)
    return sum(chosen) / len(chosen) - sum(rejected) / len(rejected)


@pytest.mark.parametrize("max_tokens", [12, 100, 4096])
def test_the_loss_of_a_reward_step_is_the_weighted_sum_over_the_count_of_all_pairs(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, max_tokens: int
) -> None:
    torch.manual_seed(1)
    model = load_reward_model(base, tokenizer)
    losses = []
    for prompt, chosen, rejected, margin, weight, *_ in PAIRS:
        gap = plain_score(model, tokenizer, prompt, chosen) - plain_score(model, tokenizer, prompt, rejected)
        losses.append(weight * math.log1p(math.exp(-(gap - margin))))
    config = REWARD_MODEL.model_copy(
        update={"epochs": 1, "batch_size": 100, **with_max_tokens(OPTIMISER, max_tokens)},
    )
    events, _ = reward_model(base, tmp_path / "out", config=config)
    assert len(events) == 1
    assert events[0].metrics["loss_nats"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)


def test_a_pair_that_is_alone_in_its_batch_keeps_its_weight(base: Path, tmp_path: Path) -> None:
    config = REWARD_MODEL.model_copy(update={"epochs": 1, "batch_size": 1})
    losses = []
    for weight in (1.0, 3.0):
        pairs = [pair._replace(weight=weight) for pair in PAIRS[::3]]  # one for each prompt
        events, _ = reward_model(base, tmp_path / str(weight), config=config, train=pairs)
        losses.append(events[0].metrics["loss_nats"])
    assert losses[1] == pytest.approx(3 * losses[0])


@pytest.mark.parametrize("how", ["length", "length-drop"])
def test_balanced_pairs_are_what_is_learned_from_and_nothing_else(base: Path, tmp_path: Path, how: Balance) -> None:
    """Long answers are chosen but for every third prompt; what is held out and the floors stay as they are."""
    long = [Pair(prompt, "fine thanks fine you", "fine how") for prompt in PROMPTS]
    pairs = [
        pair._replace(chosen=pair.rejected, rejected=pair.chosen) if index % 3 == 0 else pair
        for index, pair in enumerate(long)
    ]
    whole = REWARD_MODEL.model_copy(update={"epochs": 1, "batch_size": 100})
    balanced = whole.model_copy(update={"balance": how})
    _, plain = reward_model(base, tmp_path / "plain", config=whole, train=pairs)
    found_events, found = reward_model(base, tmp_path / "balanced", config=balanced, train=pairs)
    by_hand = balance(pairs, how)
    _, expected = finish(
        train_reward_model(
            whole,
            init_from=base,
            train=by_hand,
            held_out=pairs,
            demonstrations=DEMONSTRATIONS[::3],
            out=tmp_path / "by_hand",
            seed=1,
        )
    )
    assert len(found_events) == 1
    assert found.series["delta"] == pytest.approx(expected.series["delta"])
    assert found.series["delta"] != pytest.approx(plain.series["delta"], abs=1e-3)
    for floor in ("floor_longest", "floor_shortest", "floor_bag_of_words"):
        assert found.estimates[floor] == plain.estimates[floor]


def test_micro_batches_do_not_change_what_the_reward_model_learns(base: Path, tmp_path: Path) -> None:
    items = [Demonstration(pair.prompt, pair.chosen) for pair in PAIRS]
    learned = []
    for max_tokens in (12, 4096):
        config = REWARD_MODEL.model_copy(update={"epochs": 2, **with_max_tokens(OPTIMISER, max_tokens)})
        events, result = reward_model(base, tmp_path / str(max_tokens), config=config)
        scores = torch.tensor(score(result.artifacts["reward_model"], items, config))
        learned.append((events[0].metrics["loss_nats"], scores * result.estimates["temperature"].value))
    assert learned[0][0] == pytest.approx(learned[1][0], abs=1e-5)
    torch.testing.assert_close(learned[0][1], learned[1][1], rtol=0, atol=1e-3)


def test_demonstrations_score_0_on_average(base: Path, tmp_path: Path) -> None:
    _, result = reward_model(base, tmp_path / "out")
    scores = score(tmp_path / "out", DEMONSTRATIONS[::3], REWARD_MODEL)
    assert abs(result.estimates["demonstration_score"].value) < 1e-4
    assert abs(sum(scores) / len(scores)) < 1e-4
    assert max(scores) - min(scores) > 0.1


def test_plain_transformers_gives_the_same_scores(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    _, result = reward_model(base, tmp_path / "out")
    temperature = json.loads((tmp_path / "out" / "config.json").read_text())["reward_temperature"]
    assert temperature == result.estimates["temperature"].value
    assert 0.05 <= temperature <= 20.0
    assert temperature != 1.0
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert model.config.num_labels == 1
    calibrated = score(tmp_path / "out", DEMONSTRATIONS, REWARD_MODEL)
    plain = [plain_score(model, tokenizer, *item) / temperature for item in DEMONSTRATIONS]
    assert plain == pytest.approx(calibrated, abs=1e-4, rel=1e-5)


def test_plain_transformers_scores_a_padded_batch_alike(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    reward_model(base, tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    texts = [f"<|user|> how are <|assistant|> {answer} <|end|>" for answer in ANSWERS[:3]]
    with torch.no_grad():
        batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    found = logits / model.config.reward_temperature
    assert found.tolist() == pytest.approx(
        score(tmp_path / "out", [Demonstration("how are", answer) for answer in ANSWERS[:3]], REWARD_MODEL), abs=1e-4
    )


def test_the_reward_model_learns_what_was_chosen_and_flipped_labels_teach_the_opposite(
    base: Path, tmp_path: Path
) -> None:
    flipped = [pair._replace(chosen=pair.rejected, rejected=pair.chosen) for pair in PAIRS]
    _, result = reward_model(base, tmp_path / "right")
    reward_model(base, tmp_path / "flipped", train=flipped)
    assert mean_margin(tmp_path / "right") > 0.5
    assert mean_margin(tmp_path / "flipped") < -0.5
    deltas = result.series["delta_uncalibrated"]
    assert result.series["delta"] == pytest.approx([delta / result.estimates["temperature"].value for delta in deltas])
    assert result.estimates["agreement"].value == sum(delta > 0 for delta in deltas) / len(deltas)


def test_held_out_pairs_that_are_the_same_once_cut_are_no_evidence(base: Path, tmp_path: Path) -> None:
    """With three words kept, those that begin with these are judged by nobody, in training and afterwards."""
    short = REWARD_MODEL.model_copy(update={"max_response_tokens": 3})
    data = {"train": PAIRS, "held_out": PAIRS, "demonstrations": DEMONSTRATIONS}
    result = finish(train_reward_model(short, init_from=base, **data, out=tmp_path / "out", seed=1)).result
    judged = [pair for pair in halves(PAIRS)[1] if pair.chosen.split()[:3] != pair.rejected.split()[:3]]
    assert 0 < len(judged) < len(halves(PAIRS)[1])
    assert result.estimates["agreement"].n == len({pair.prompt for pair in judged})
    assert len(result.series["delta"]) == len(judged)
    again = evaluate_reward_model(short, reward_model=tmp_path / "out", **data)
    assert again.estimates["agreement"] == result.estimates["agreement"]
    same = [Demonstration("how", f"you are how {word}") for word in ("fine", "are", "you", "thanks")]
    assert len(set(score(tmp_path / "out", [*DEMONSTRATIONS, *same], short)[-4:])) == 1
    one = REWARD_MODEL.model_copy(update={"max_response_tokens": 1})
    with pytest.raises(ValueError, match="the same once they are cut to max_response_tokens 1"):
        list(train_reward_model(one, init_from=base, **data, out=tmp_path / "no", seed=1))


def test_a_seed_of_the_reward_model_gives_the_same_events(base: Path, tmp_path: Path) -> None:
    first, again = (reward_model(base, tmp_path / name) for name in ("first", "again"))
    assert first.events == again.events
    assert first.result.series == again.result.series
