"""DPO as a whole stage and its losses, against two padded passes and a plain loop over untouched models."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.pair_trees import PairTree
from rlhf_core.data.records import Pair
from rlhf_core.data.tokenizer import Tree
from rlhf_core.dpo import Anchored, anchor, pair_losses, train_dpo, train_policy
from rlhf_core.evaluators.policy import PolicyEvaluator, evaluate_policy
from rlhf_core.models.attention import use_ragged_attention
from rlhf_core.models.loading import digest, load_policy, load_reward_model, save
from rlhf_core.training.stage import Event, Stage, StageResult

PROMPTS = [" ".join(words) for words in product(("how", "are", "you"), repeat=2)]
PAIRS = [
    Pair(prompt, f"{start} thanks", f"{start} how", margin)
    for start, margin in (("fine", 0.0), ("you are", 0.25), ("are you how", 0.0))
    for prompt in PROMPTS
]
HELD_OUT = [f"{prompt} {end}" for prompt in PROMPTS for end in ("fine", "thanks")]
PLAIN = [pair._replace(margin=0.0) for pair in PAIRS]
DPO = DPOConfig(
    epochs=4,
    batch_size=3,
    beta=0.3,
    optimiser=OptimiserConfig(lr=0.01, eps=1e-3, schedule="constant"),
    sampling=SamplingConfig(max_prompt_tokens=8, max_response_tokens=5),
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


def dpo(
    base: Path,
    out: Path,
    *,
    train: list[Pair] = PAIRS,
    held_out: list[Pair] = PAIRS,
    cache: Path | None = None,
    seed: int = 1,
    **changes: object,
) -> Outcome:
    return finish(stage(base, out, train=train, held_out=held_out, cache=cache, seed=seed, **changes))


def stage(
    base: Path, out: Path, *, train: list[Pair], held_out: list[Pair], cache: Path | None, seed: int, **changes: object
) -> Stage:
    config = DPO.model_copy(update=changes)
    return train_dpo(config, sft=base, train=train, held_out=held_out, out=out, seed=seed, cache=cache)


def max_tokens(count: int) -> OptimiserConfig:
    return DPO.optimiser.model_copy(update={"max_tokens": count})


# Losses of shared prompts

ITEMS = [
    PairTree(Tree([3, 5, 6, 7], [[4, 8, 9, 2, 10, 11], [4, 2], [9, 9, 7]]), [0, 2], [1, 1], [0.0, 0.3], [1.0, 1.0]),
    PairTree(Tree([7], [[3], [6, 5, 2, 2]]), [1], [0], [0.0], [1.0]),
    PairTree(Tree([3, 7, 4, 6, 8], [[6, 5], [2, 2, 2]]), [0], [1], [0.0], [1.0]),
]
SMALL = {"vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = SMALL | {"intermediate_size": 24, "num_key_value_heads": 2, "initializer_range": 0.4}
ARCHITECTURES = {
    "gpt2": {"vocab_size": 12, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32, "initializer_range": 0.4},
    "gpt_neox": SMALL | {"intermediate_size": 24, "initializer_range": 0.4},
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": 3, "head_dim": 4},
    "qwen2": GROUPED,
}


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **ARCHITECTURES[name], pad_token_id=0, bos_token_id=1, eos_token_id=2)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def padded_logprobs(model: torch.nn.Module, sequences: list[tuple[list[int], list[int]]]) -> Tensor:
    """Log-probability of each response after its own copy of the prompt, in one right-padded pass."""
    whole = pad_sequence([torch.tensor(prompt + response) for prompt, response in sequences], batch_first=True)
    mask = pad_sequence([torch.ones(len(prompt + response)) for prompt, response in sequences], batch_first=True)
    logits = model(input_ids=whole, attention_mask=mask.long()).logits
    logprobs = torch.log_softmax(logits[:, :-1], dim=-1).gather(2, whole[:, 1:, None]).squeeze(2)
    found = []
    for row, (prompt, response) in zip(logprobs, sequences, strict=True):
        found.append(row[len(prompt) - 1 : len(prompt) + len(response) - 1].sum())
    return torch.stack(found)


def both_sides(item: PairTree) -> Iterator[tuple[tuple[list[int], list[int]], tuple[list[int], list[int]]]]:
    for chosen, rejected in zip(item.chosen, item.rejected, strict=True):
        yield (item.tree.prompt, item.tree.responses[chosen]), (item.tree.prompt, item.tree.responses[rejected])


def plain_losses(config: DPOConfig, logprobs: list[Tensor], margins: Tensor, tokens: list[Tensor]) -> Tensor:
    """Losses from log-probabilities (chosen, rejected, and both under the reference) as the papers have them."""
    chosen, rejected, ref_chosen, ref_rejected = logprobs
    if config.loss == "ipo":
        gap = (chosen - ref_chosen) / tokens[0] - (rejected - ref_rejected) / tokens[1]
        return (gap - 1 / (2 * config.beta)) ** 2
    gap = config.beta * ((chosen - rejected) - (ref_chosen - ref_rejected)) - margins
    return -(
        torch.sigmoid(gap).log() * (1 - config.label_smoothing) + torch.sigmoid(-gap).log() * config.label_smoothing
    )


def reference_of(items: list[PairTree]) -> list[Anchored]:
    generator = torch.Generator().manual_seed(3)
    return [
        Anchored(item, -5.0 + torch.randn(len(item.tree.responses), generator=generator, dtype=torch.float32))
        for item in items
    ]


def check_against_two_passes(name: str, config: DPOConfig) -> None:
    model = build(name)
    anchored = reference_of(ITEMS)
    chosen, rejected = zip(*(sides for item in ITEMS for sides in both_sides(item)), strict=True)
    reference = [
        torch.cat([item.ref_logprobs[getattr(item.comparison, side)] for item in anchored])
        for side in ("chosen", "rejected")
    ]
    logprobs = [padded_logprobs(model, list(chosen)), padded_logprobs(model, list(rejected)), *reference]
    margins = torch.tensor([margin for item in ITEMS for margin in item.margins])
    tokens = [torch.tensor([len(response) for _, response in side]) for side in (chosen, rejected)]
    expected = plain_losses(config, logprobs, margins, tokens)
    expected_gradients = gradients(model, expected)
    use_ragged_attention(model)
    found, _ = pair_losses(config, model, anchored)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found.detach().std() > 0.01  # or the comparison would show nothing
    found_gradients = gradients(model, found)
    assert found_gradients.keys() == expected_gradients.keys()
    for parameter, gradient in expected_gradients.items():
        torch.testing.assert_close(found_gradients[parameter], gradient, rtol=1e-5, atol=1e-5)


def gradients(model: PreTrainedModel, losses: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    losses.mean().backward()
    return {name: item.grad.clone() for name, item in model.named_parameters() if item.grad is not None}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shared_prompts_lose_what_two_padded_passes_lose(name: str) -> None:
    check_against_two_passes(name, DPO)


def test_losses_with_smoothing_and_margins_equal_two_padded_passes() -> None:
    check_against_two_passes("gpt2", DPO.model_copy(update={"label_smoothing": 0.2}))


def test_ipo_losses_equal_two_padded_passes() -> None:
    check_against_two_passes("gpt2", DPO.model_copy(update={"loss": "ipo"}))


# The stage


def ids_of(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> Iterator[tuple[list[int], list[int]]]:
    prompt = tokenizer.convert_tokens_to_ids(f"<|user|> {pair.prompt} <|assistant|>".split())
    for response in (pair.chosen, pair.rejected):
        yield prompt, tokenizer.convert_tokens_to_ids(f"{response} <|end|>".split())


class PlainLoop:
    """DPO without any of the product: two padded passes of the policy and two of a second model."""

    def __init__(self, config: DPOConfig, base: Path, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> None:
        self.policy, self.reference = (AutoModelForCausalLM.from_pretrained(base).eval() for _ in range(2))
        chosen, rejected = zip(*(ids_of(tokenizer, pair) for pair in pairs), strict=True)
        self.sides = [list(chosen), list(rejected)]
        self.tokens = [torch.tensor([len(response) for _, response in side]) for side in self.sides]
        self.margins = torch.tensor([pair.margin for pair in pairs])
        self.config = config
        chosen_optimiser = config.optimiser
        self.optimiser = torch.optim.AdamW(
            self.policy.parameters(),
            lr=chosen_optimiser.lr,
            betas=chosen_optimiser.betas,
            eps=chosen_optimiser.eps,
            weight_decay=chosen_optimiser.weight_decay,
        )

    def losses(self) -> Tensor:
        with torch.no_grad():
            reference = [padded_logprobs(self.reference, side) for side in self.sides]
        logprobs = [padded_logprobs(self.policy, side) for side in self.sides] + reference
        return plain_losses(self.config, logprobs, self.margins, self.tokens)

    def step(self) -> float:
        loss = self.losses().mean()
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.optimiser.max_grad_norm)
        self.optimiser.step()
        return float(loss.detach())


@pytest.mark.parametrize("tokens_at_once", [15, 4096])
@pytest.mark.parametrize(
    ("changes", "pairs"),
    [({}, PAIRS), ({"label_smoothing": 0.1}, PLAIN), ({"loss": "ipo", "beta": 1.0}, PLAIN)],
    ids=["dpo", "conservative", "ipo"],
)
def test_every_step_loses_what_a_plain_loop_loses(
    base: Path,
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    tokens_at_once: int,
    changes: dict[str, object],
    pairs: list[Pair],
) -> None:
    changes = changes | {"batch_size": 100, "epochs": 4, "optimiser": max_tokens(tokens_at_once)}
    plain = PlainLoop(DPO.model_copy(update=changes), base, tokenizer, pairs)
    expected = [plain.step() for _ in range(4)]
    events, result = dpo(base, tmp_path / "out", train=pairs, held_out=pairs, **changes)
    assert [event.metrics["loss_nats"] for event in events] == pytest.approx(expected, abs=1e-5)
    assert expected[-1] < expected[0] - 0.01
    assert result.estimates["held_out_loss"].value == pytest.approx(float(plain.losses().detach().mean()), abs=1e-5)


def test_the_first_step_costs_ln_2(base: Path, tmp_path: Path) -> None:
    first = dpo(base, tmp_path / "out", train=PLAIN, epochs=1).events[0].metrics
    assert first["loss_nats"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["margin"] == pytest.approx(0.0, abs=1e-5)
    assert first["lr"] == 0.01


def test_weights_multiply_the_losses_of_training_and_of_nothing_else(base: Path, tmp_path: Path) -> None:
    still = {"epochs": 1, "batch_size": 100, "optimiser": DPO.optimiser.model_copy(update={"lr": 1e-9})}
    weighted = [pair._replace(weight=weight) for pair, weight in zip(PLAIN, 9 * (0.5, 3.0, 1.0), strict=True)]
    events, result = dpo(base, tmp_path / "out", train=weighted, held_out=weighted, **still)
    assert events[0].metrics["loss_nats"] == pytest.approx(1.5 * math.log(2), abs=1e-5)
    assert events[0].metrics["agreement"] == 0.5
    assert result.estimates["held_out_loss"].value == pytest.approx(math.log(2), abs=1e-3)


def test_training_raises_the_held_out_margin_and_flipped_pairs_lower_it(base: Path, tmp_path: Path) -> None:
    seen, unseen = ([pair for pair in PLAIN if (pair.prompt in PROMPTS[::3]) is held] for held in (False, True))
    flipped = [pair._replace(chosen=pair.rejected, rejected=pair.chosen) for pair in seen]
    events, result = dpo(base, tmp_path / "right", train=seen, held_out=unseen)
    assert result.estimates["margin"].lower > 0.1
    assert result.estimates["agreement"].value > 0.9
    assert result.estimates["held_out_loss"].upper < math.log(2)
    assert events[-1].metrics["margin"] > 0.1
    assert events[-1].metrics["agreement"] > 0.9
    wrong = dpo(base, tmp_path / "flipped", train=flipped, held_out=unseen).result.estimates
    assert wrong["margin"].upper < -0.1
    assert wrong["agreement"].value < 0.1


def test_plain_transformers_sees_the_implicit_rewards_in_what_was_saved(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    _, result = dpo(base, tmp_path / "out")
    by_prompt = sorted(PAIRS, key=lambda pair: PROMPTS.index(pair.prompt))
    chosen, rejected = zip(*(ids_of(tokenizer, pair) for pair in by_prompt), strict=True)
    with torch.no_grad():
        policy, reference = (
            padded_logprobs(model, list(chosen)) - padded_logprobs(model, list(rejected))
            for model in (AutoModelForCausalLM.from_pretrained(path) for path in (result.artifacts["policy"], base))
        )
    expected = DPO.beta * (policy - reference)
    assert result.series["margin"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert result.estimates["margin"].value == pytest.approx(float(expected.mean()), abs=1e-4)
    assert result.estimates["agreement"].value == pytest.approx(float((expected > 0).float().mean()))
    assert result.estimates["agreement"].n == len({pair.prompt for pair in PAIRS})


@pytest.fixture
def models(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> dict[str, Path]:
    """The base as SFT model, and two reward models with heads of their own."""
    torch.manual_seed(1)
    heads = [save(load_reward_model(base, tokenizer), tokenizer, tmp_path / name) for name in ("reward", "judge")]
    return {"sft": base, "reward_model": heads[0], "judge": heads[1]}


def policy(models: dict[str, Path], out: Path, *, cache: Path | None = None, **changes: object) -> Outcome:
    config = DPO.model_copy(update=changes)
    inputs = {"train": PAIRS, "held_out": PAIRS, "held_out_prompts": HELD_OUT, "seed": 1}
    return finish(train_policy(config, **models, **inputs, out=out, cache=cache))  # type: ignore[arg-type]


def test_the_policy_is_measured_by_its_answers_to_the_judged_prompts(
    models: dict[str, Path], base: Path, tmp_path: Path
) -> None:
    events, moved = policy(models, tmp_path / "moved")
    assert events == dpo(base, tmp_path / "alone").events
    still = policy(models, tmp_path / "still", optimiser=DPO.optimiser.model_copy(update={"lr": 1e-9})).result
    assert still.estimates["kl_to_sft_nats_k3"].value == pytest.approx(0.0, abs=1e-3)
    assert still.estimates["judge_reward_gain"].value == pytest.approx(0.0, abs=1e-3)
    assert moved.estimates["kl_to_sft_nats_k3"].lower > 0.01
    assert moved.estimates["kl_to_sft_nats"].n == moved.estimates["judge_win_rate"].n == len(HELD_OUT[1::2])
    assert [sample["prompt"] for sample in moved.samples] == HELD_OUT[1::2][:8]
    assert moved.artifacts == {"policy": tmp_path / "moved" / "policy"}
    assert moved.estimates["agreement"].n == len({pair.prompt for pair in PAIRS})
    assert "best_of_n" not in moved.estimates


def test_a_saved_policy_is_measured_again_the_same_and_the_sft_model_is_asked_once(
    models: dict[str, Path], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    result = policy(models, tmp_path / "out", cache=cache, best_of_n=3).result
    assert result.estimates["best_of_n"].value in (1, 2, 3)
    assert len([path for path in cache.rglob("*.npy") if path.parent.name != digest(models["sft"])]) == 3
    inputs = models | {"policy": result.artifacts["policy"]}
    config = DPO.model_copy(update={"best_of_n": 3})
    again = evaluate_policy(config, **inputs, held_out_prompts=HELD_OUT, seed=1, cache=cache).estimates
    assert again == {name: result.estimates[name] for name in again} and "judge_gain_over_best_of_n" in again
    assert evaluate_policy(config, **inputs, held_out_prompts=HELD_OUT, seed=1).estimates == again


def test_draws_of_the_sft_model_differ(models: dict[str, Path]) -> None:
    examiner = PolicyEvaluator(DPO, **models, seed=1)
    texts = [examiner.baseline(HELD_OUT, draw=draw).texts for draw in (0, 1, 2, 1)]
    assert texts[1] == texts[3]
    assert len({tuple(found) for found in texts}) == 3


def test_a_seed_of_dpo_gives_the_same_events(base: Path, tmp_path: Path) -> None:
    first, again = (dpo(base, tmp_path / name) for name in ("first", "again"))
    assert first.events == again.events
    assert first.result.estimates == again.result.estimates


def test_ipo_refuses_what_it_does_not_know(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="label_smoothing is for loss sigmoid"):
        DPOConfig(loss="ipo", label_smoothing=0.1)
    with pytest.raises(ValueError, match="IPO knows no margin"):
        dpo(base, tmp_path / "out", loss="ipo")


@pytest.mark.parametrize("empty", ["train", "held_out"])
def test_no_pairs_are_refused_before_training(base: Path, tmp_path: Path, empty: str) -> None:
    with pytest.raises(ValueError, match="DPO needs pairs on both sides"):
        dpo(base, tmp_path / "out", **{empty: []})


# What is kept


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every forward pass of a whole language model or of its trunk that takes no gradient, by class."""
    calls: list[str] = []

    def note(module: torch.nn.Module, *_: object) -> None:
        if isinstance(module, PreTrainedModel) and not torch.is_grad_enabled():
            calls.append(type(module).__name__)

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        yield calls
    finally:
        handle.remove()


def passes_before_training(base: Path, cache: Path, tokenizer: PreTrainedTokenizerBase, **changes: object) -> int:
    """Forward passes until the first step is done, beyond those that loading takes."""
    options: dict[str, object] = {"train": PAIRS, "held_out": PAIRS[::4], "seed": 1}
    with counted() as loading:
        load_policy(base, tokenizer)
    with counted() as calls:
        next(stage(base, cache.parent / "out", cache=cache, **options | changes))  # type: ignore[arg-type]
    assert loading
    return len(calls) - len(loading)


def test_a_second_training_takes_no_pass_of_the_reference(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    assert passes_before_training(base, cache, tokenizer) == 2  # training and held-out pairs
    assert passes_before_training(base, cache, tokenizer) == 0
    assert passes_before_training(base, cache, tokenizer, seed=2, beta=0.05, epochs=1) == 0
    assert passes_before_training(base, cache, tokenizer, held_out=PAIRS[::2]) == 1
    changed = [PAIRS[0]._replace(rejected="how how"), *PAIRS[1:]]
    assert passes_before_training(base, cache, tokenizer, train=changed) == 1
    cooler = DPO.sampling.model_copy(update={"temperature": 0.7})
    assert passes_before_training(base, cache, tokenizer, sampling=cooler) == 2


def kept_after_two(first: DPOConfig, second: DPOConfig, comparisons: list[PairTree]) -> list[list[float]]:
    """Log-probabilities of ITEMS under one configuration, then of other comparisons under another, in one folder."""
    model = build("llama")
    use_ragged_attention(model)
    with tempfile.TemporaryDirectory() as folder:
        runs = [anchor(config, model, items, Path(folder)) for config, items in ((first, ITEMS), (second, comparisons))]
    return [torch.cat([item.ref_logprobs for item in run]).tolist() for run in runs]


def test_what_is_kept_holds_for_one_temperature_only() -> None:
    cooler = DPO.model_copy(update={"sampling": DPO.sampling.model_copy(update={"temperature": 0.7})})
    warm, cool = kept_after_two(DPO, cooler, ITEMS)
    assert max(abs(one - other) for one, other in zip(warm, cool, strict=True)) > 0.1


def test_what_is_kept_holds_for_its_responses_only() -> None:
    tree = ITEMS[0].tree
    swapped = Tree(tree.prompt, [tree.responses[1], tree.responses[0], tree.responses[2]])
    first, other = kept_after_two(DPO, DPO, [ITEMS[0]._replace(tree=swapped), *ITEMS[1:]])
    assert other == pytest.approx([first[1], first[0], *first[2:]], abs=1e-5)


def test_another_model_is_asked_itself(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    cache, other = tmp_path / "cache", tmp_path / "other"
    passes_before_training(base, cache, tokenizer)
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.get_input_embeddings().weight[5] += 0.1
    model.save_pretrained(other)
    tokenizer.save_pretrained(other)
    assert passes_before_training(other, cache, tokenizer) == 2


def test_what_was_kept_changes_nothing(base: Path, tmp_path: Path) -> None:
    plain = dpo(base, tmp_path / "plain")
    for name in ("first", "second"):
        kept = dpo(base, tmp_path / name, cache=tmp_path / "cache")
        assert kept.events == plain.events
        assert kept.result.estimates == plain.result.estimates


def test_a_damaged_file_changes_nothing_but_warns(base: Path, tmp_path: Path) -> None:
    first = dpo(base, tmp_path / "first", cache=tmp_path / "cache")
    (path,) = (tmp_path / "cache").rglob("*.npy")  # training and held-out pairs are the same here
    assert len(np.load(path)) == 2 * len(PAIRS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="is damaged"):
        again = dpo(base, tmp_path / "again", cache=tmp_path / "cache")
    assert again.events == first.events
