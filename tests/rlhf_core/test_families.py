"""Families of models, a few hundred random weights each, through every stage; stock `transformers` is the judge.

No base here has a padding token, each gets a row for one; each has two ends of a response, as chat models have.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto import tokenization_auto

from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig, SharedTrunkConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.stop_tokens import stop_ids
from rlhf_core.data.tokenizer import Tree, encode, load_tokenizer
from rlhf_core.dpo import train_dpo
from rlhf_core.evaluators.reward_model import score
from rlhf_core.generation.continuous_batching import draw_continuously
from rlhf_core.generation.decoding import DrawRequest
from rlhf_core.generation.sampling import sample
from rlhf_core.models import attention
from rlhf_core.models.attention import ragged_states
from rlhf_core.models.classifiers import CODE
from rlhf_core.models.forward import response_logprobs, response_logprobs_and_values, response_scores, response_values
from rlhf_core.models.heads import add_value_head, as_classifier, temperature
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.precision import device
from rlhf_core.models.ways import row_states
from rlhf_core.ppo.train import train_policy
from rlhf_core.reward_model.train import train_reward_model
from rlhf_core.sft import train_sft
from rlhf_core.training.stage import Event, Stage, StageResult

WORDS = ("<|unk|>", "<|end|>", "<|turn|>", "<|user|>", "<|assistant|>", "how", "are", "you", "fine", "thanks")
END, TURN, PAD = 1, 2, len(WORDS)
TEMPLATE = (
    "{% for turn in messages %}<|{{ turn['role'] }}|> {{ turn['content'] }} <|turn|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WINDOW = 3
SMALL = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
NARROW = SMALL | {"intermediate_size": 24, "initializer_range": 0.4}
GROUPED = NARROW | {"num_key_value_heads": 2, "head_dim": 4}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
OPT = SMALL | {"ffn_dim": 24, "init_std": 0.4, "max_position_embeddings": 64}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "vocab_size": len(WORDS),
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "initializer_range": 0.4,
    },
    "gpt_neox": NARROW,
    "opt": OPT | {"word_embed_proj_dim": 16},
    "opt of 350M": OPT | {"word_embed_proj_dim": 8, "do_layer_norm_before": False},
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": WINDOW},
    "qwen2": GROUPED | {"tie_word_embeddings": True, "use_sliding_window": True, **SLIDING},
    "qwen3": GROUPED,
    "gemma": GROUPED,
    "gemma2": GROUPED
    | SLIDING
    | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 4},
    "gemma3_text": GROUPED | SLIDING | {"query_pre_attn_scalar": 4},
    "phi": NARROW,
    "phi3": GROUPED | {"sliding_window": WINDOW},
    "olmoe": GROUPED | {"num_experts": 4, "num_experts_per_tok": 2},
    "qwen3_5_text": GROUPED
    | {"layer_types": ["linear_attention", "full_attention"]}
    | dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2)
    | dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 4),
}
KIND = {"opt of 350M": "opt"}
TIED = {"gpt2", "opt", "opt of 350M", "qwen2", "gemma", "gemma2", "gemma3_text"}
FAST = {"gemma2", "opt of 350M"}
"""Between them they have what is special: caps, windows, tied embeddings, learned positions, a trunk of two widths."""
EVERY = pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in FAMILIES], indirect=True
)
TREES = [
    Tree([3, 5, 6, 7, 2, 4], [[8, 9, 8, 1]]),
    Tree([3, 5, 2, 4], [[8], [9, 9, 5, 6, 7, 2], [6, 2]]),
    Tree([3], [[7, 4, 1]]),
]
WHOLE = [(tree.prompt, response) for tree in TREES for response in tree.responses]
PROMPTS = ["how are you", "fine", "you are fine thanks", "thanks", "how", "are you fine", "you", "thanks how are you"]
DEMONSTRATIONS = [Demonstration(prompt, answer) for prompt in PROMPTS for answer in ("fine thanks", "you are fine")]
PAIRS = [Pair(prompt, "fine thanks", answer) for prompt in PROMPTS for answer in ("how", "how are")]
ADAM = OptimiserConfig(lr=0.01, eps=1e-5, schedule="constant")
SAMPLING = SamplingConfig(temperature=0.8, max_prompt_tokens=8, max_response_tokens=6)


class Family(NamedTuple):
    """A base of some family in a folder, with the tokenizer as stages load it."""

    name: str
    base: Path
    tokenizer: PreTrainedTokenizerBase

    @property
    def policy(self) -> PreTrainedModel:
        return load_policy(self.base, self.tokenizer)


def chat_tokenizer() -> PreTrainedTokenizerBase:
    """One token for each word, two ends, no padding."""
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<|unk|>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="<|unk|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|turn|>", "<|user|>", "<|assistant|>"],
        chat_template=TEMPLATE,
    )


def make(name: str, folder: Path, **changes: object) -> Path:
    """A base with random weights."""
    torch.manual_seed(0)
    settings = {"pad_token_id": None, "bos_token_id": END, "eos_token_id": END} | FAMILIES[name] | changes
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(KIND.get(name, name), **settings))
    model.generation_config = GenerationConfig(eos_token_id=[END, TURN], do_sample=True, temperature=0.6, top_p=0.9)
    model.save_pretrained(folder)
    chat_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def words_for_every_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """`transformers` reads any tokenizer beside a Qwen 2 as byte-pair encoding; this one is of words."""
    monkeypatch.setattr(tokenization_auto, "MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS", set())


@pytest.fixture
def family(request: pytest.FixtureRequest, tmp_path: Path) -> Family:
    base = make(request.param, tmp_path / "base")
    return Family(request.param, base, load_tokenizer(str(base)))


def stock_policy(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


def stock_reward_model(folder: Path) -> PreTrainedModel:
    return AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", trust_remote_code=(folder / CODE).exists()
    ).eval()


def padded(sequences: list[list[int]], side: str) -> dict[str, Tensor]:
    """What stock models take, with positions that count real tokens."""
    width = max(map(len, sequences))
    gaps = [[PAD] * (width - len(ids)) for ids in sequences]
    rows = [gap + ids if side == "left" else ids + gap for ids, gap in zip(sequences, gaps, strict=True)]
    ids = torch.tensor(rows)
    mask = (ids != PAD).long()
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}


def read(model: PreTrainedModel, sequences: list[list[int]], how: str) -> list[Tensor]:
    """Final states of each sequence under a stock model, which reads them alone or padded on a side."""
    if how == "alone":
        return [model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in sequences]
    batch = padded(sequences, how)
    states = model.base_model(**batch).last_hidden_state
    return [state[mask.bool()] for state, mask in zip(states, batch["attention_mask"], strict=True)]


def logprobs_by_stock(model: PreTrainedModel, prompt: list[int], response: list[int], heat: float) -> Tensor:
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return (logits / heat).log_softmax(dim=-1).gather(1, torch.tensor(response)[:, None])[:, 0]


def close(found: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(found.detach().cpu(), expected.detach(), rtol=0, atol=atol)


@EVERY
@torch.no_grad()
def test_log_probabilities_are_those_of_stock_logits(family: Family, tmp_path: Path) -> None:
    policy = family.policy
    stock = stock_policy(save(policy, family.tokenizer, tmp_path / "policy"))
    row = lay(TREES, device())
    logprobs, entropies = response_logprobs(policy, row, sampling_temperature=0.7)
    close(logprobs, torch.cat([logprobs_by_stock(stock, *pair, 0.7) for pair in WHOLE]))
    starts = [len(prompt) - 1 for prompt, _ in WHOLE]
    for side in ("left", "right"):
        batch = padded([prompt + response for prompt, response in WHOLE], side)
        logits = [row[mask.bool()] for row, mask in zip(stock(**batch).logits, batch["attention_mask"], strict=True)]
        said = torch.cat([row[start:-1] for row, start in zip(logits, starts, strict=True)]) / 0.7
        distributions = torch.distributions.Categorical(logits=said)
        close(logprobs, distributions.log_prob(row.targets.cpu()))
        close(entropies, distributions.entropy())
    assert logprobs.std() > 0.3  # or the comparison would show little


@EVERY
@torch.no_grad()
def test_scores_and_values_are_those_of_the_stock_classifier(family: Family, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = load_reward_model(family.base, family.tokenizer)
    stock = stock_reward_model(save(model, family.tokenizer, tmp_path / "reward"))
    sequences = [prompt + response for prompt, response in WHOLE]
    scores, values = response_scores(model, lay(TREES, device())), response_values(model, lay(TREES, device()))
    close(scores, torch.cat([stock(input_ids=torch.tensor([ids])).logits for ids in sequences]))
    for side in ("left", "right"):
        close(scores, stock(**padded(sequences, side)).logits)
    for how in ("alone", "left", "right"):
        states = read(stock, sequences, how)
        before = [state[len(prompt) - 1 : -1] for state, (prompt, _) in zip(states, WHOLE, strict=True)]
        close(values, stock.score(torch.cat(before))[:, 0])
    assert scores.std() > 0.05


@EVERY
@torch.no_grad()
def test_a_value_head_on_the_policy_is_saved_as_a_stock_classifier(family: Family, tmp_path: Path) -> None:
    policy = family.policy
    add_value_head(policy)
    torch.nn.init.normal_(policy.score.weight, generator=torch.Generator().manual_seed(1))
    logprobs, _, values = response_logprobs_and_values(policy, lay(TREES, device()))
    close(logprobs, response_logprobs(policy, lay(TREES, device()))[0].cpu())
    stock = stock_reward_model(save(policy, family.tokenizer, tmp_path / "value", form=as_classifier))
    last = [prompt + response[:-1] for prompt, response in WHOLE]
    found = values.cpu().split([len(response) for _, response in WHOLE])
    close(torch.stack([value[-1:] for value in found]), stock(**padded(last, "right")).logits)


@EVERY
@torch.no_grad()
def test_greedy_answers_are_those_of_generate(family: Family, tmp_path: Path) -> None:
    policy = family.policy
    stock = stock_policy(save(policy, family.tokenizer, tmp_path / "policy"))
    greedy = SamplingConfig(temperature=0.0, max_prompt_tokens=8, max_response_tokens=8)
    drawn = sample(policy, family.tokenizer, PROMPTS[:4], greedy, generator=torch.Generator().manual_seed(0))
    for one in drawn:
        prompt = torch.tensor([one.prompt_ids])
        made = stock.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8)
        assert one.response_ids == made[0, len(one.prompt_ids) :].tolist()
        assert one.finished is (one.response_ids[-1] in (END, TURN))


@EVERY
@torch.no_grad()
def test_sampled_tokens_have_the_log_probabilities_of_stock_logits(family: Family, tmp_path: Path) -> None:
    policy = family.policy
    stock = stock_policy(save(policy, family.tokenizer, tmp_path / "policy"))
    drawn = sample(policy, family.tokenizer, PROMPTS, SAMPLING, generator=torch.Generator().manual_seed(0))
    for one in drawn:
        close(torch.tensor(one.logprobs), logprobs_by_stock(stock, one.prompt_ids, one.response_ids, 0.8))


@EVERY
@torch.no_grad()
def test_dropout_of_a_base_is_off_even_in_training(family: Family, tmp_path: Path) -> None:
    shares = ("attention_dropout", "dropout", "layerdrop", "resid_pdrop", "embd_pdrop", "attn_pdrop", "hidden_dropout")
    policy = load_policy(make(family.name, tmp_path / "noisy", **dict.fromkeys(shares, 0.5)), family.tokenizer)
    quiet = row_states(policy, lay(TREES, device()))
    torch.testing.assert_close(row_states(policy.train(), lay(TREES, device())), quiet, rtol=0, atol=0)


@EVERY
def test_half_precision_says_about_the_same_and_trains(family: Family) -> None:
    policy = family.policy
    exact = response_logprobs(policy, lay(TREES, device()))[0].detach()
    with torch.autocast(device().type, dtype=torch.bfloat16):
        logprobs, _ = response_logprobs(policy, lay(TREES, device()))
        drawn = sample(policy, family.tokenizer, PROMPTS, SAMPLING, generator=torch.Generator().manual_seed(0))
    logprobs.sum().backward()
    assert 0 < float((logprobs.detach() - exact).abs().max()) < 0.3
    assert all(bool(weight.grad.isfinite().all()) for weight in policy.parameters() if weight.grad is not None)
    with torch.no_grad(), torch.autocast(device().type, dtype=torch.bfloat16):
        row = lay([Tree(one.prompt_ids, [one.response_ids]) for one in drawn], device())
        forced, _ = response_logprobs(policy, row, sampling_temperature=0.8)
    close(forced, torch.tensor([nats for one in drawn for nats in one.logprobs]), atol=0.3)


# Stages


def finish(stage: Stage) -> tuple[list[Event], StageResult]:
    events = []
    while True:
        try:
            events.append(next(stage))
        except StopIteration as end:
            return events, end.value


def assert_ties_hold(family: Family, folder: Path) -> None:
    """Embeddings and head of what was saved are one where they were one, and say the same in stock and ours."""
    stock = stock_policy(folder)
    embeddings, head = stock.get_input_embeddings().weight, stock.get_output_embeddings().weight
    assert (embeddings is head) is (family.name in TIED)
    assert len(head) == PAD + 1
    ours = load_policy(folder, family.tokenizer)
    with torch.no_grad():
        expected = torch.cat([logprobs_by_stock(stock, *pair, 1.0) for pair in WHOLE])
        close(response_logprobs(ours, lay(TREES, device()))[0], expected)


def loss_by_stock(family: Family) -> float:
    """Cross-entropy of all tokens of the demonstrated responses, one unpadded sequence at a time."""
    stock = stock_policy(family.base)
    stock.resize_token_embeddings(PAD + 1)
    losses = []
    for prompt, answer in DEMONSTRATIONS:
        ids = [WORDS.index(word) for word in f"<|user|> {prompt} <|turn|> <|assistant|>".split()][-8:]
        response = [WORDS.index(word) for word in f"{answer} <|turn|>".split()]
        losses.append(-logprobs_by_stock(stock, ids, response, 1.0))
    return float(torch.cat(losses).mean())


@EVERY
@torch.no_grad()
def test_all_stages_in_turn(family: Family, tmp_path: Path) -> None:
    with torch.enable_grad():
        sft = climb_sft(family, tmp_path)
        reward_model = climb_reward_model(family, sft, tmp_path)
        climb_ppo(family, sft, reward_model, tmp_path)
        climb_dpo(family, sft, tmp_path)


def climb_sft(family: Family, folder: Path) -> Path:
    config = SFTConfig(epochs=4, batch_size=99, optimiser=ADAM, sampling=SAMPLING, evaluation_prompts=4)
    items = {"train": DEMONSTRATIONS, "held_out": DEMONSTRATIONS[:6]}
    with torch.no_grad():
        expected = loss_by_stock(family)
    events, result = finish(train_sft(config, base=family.base, **items, out=folder / "sft", seed=1))
    assert events[0].metrics["loss_nats"] == pytest.approx(expected, abs=1e-3)
    assert events[-1].metrics["loss_nats"] < events[0].metrics["loss_nats"]
    assert_ties_hold(family, result.artifacts["sft"])
    settings = GenerationConfig.from_pretrained(folder / "sft")
    assert settings.eos_token_id == [TURN, END]  # what is taught comes first
    assert not settings.do_sample and settings.temperature in (None, 1.0)
    return folder / "sft"


def climb_reward_model(family: Family, sft: Path, folder: Path) -> Path:
    config = RewardModelConfig(epochs=2, batch_size=4, max_prompt_tokens=8, max_response_tokens=6, optimiser=ADAM)
    data = {"train": PAIRS, "held_out": PAIRS[:8], "demonstrations": DEMONSTRATIONS}
    events, result = finish(train_reward_model(config, init_from=sft, **data, out=folder / "reward", seed=1))
    assert events[-1].metrics["loss_nats"] < events[0].metrics["loss_nats"]
    path = result.artifacts["reward_model"]
    stock = stock_reward_model(path)
    trees = encode(family.tokenizer, DEMONSTRATIONS, Lengths(8, 6))
    assert all(tree.responses[0][-1] == TURN for tree in trees)
    with torch.no_grad():
        logits = stock(**padded([tree.prompt + tree.responses[0] for tree in trees], "right")).logits[:, 0]
    assert score(path, DEMONSTRATIONS, config) == pytest.approx((logits / temperature(stock)).tolist(), abs=1e-4)
    return path


def climb_ppo(family: Family, sft: Path, reward_model: Path, folder: Path) -> None:
    config = PPOConfig(
        updates=1,
        rollout_size=8,
        minibatch_size=4,
        epochs=1,
        evaluate_every=1,
        evaluation_prompts=2,
        optimiser=ADAM,
        value=SharedTrunkConfig() if family.name in FAST else SeparateValueConfig(optimiser=ADAM),
        sampling=SAMPLING,
    )
    where = {"sft": sft, "reward_model": reward_model, "judge": reward_model, "out": folder / "ppo"}
    stage = train_policy(config, **where, prompts=PROMPTS, held_out_prompts=PROMPTS[:4], seed=1)
    events, _ = finish(stage)  # self-tests of step 0 hold the first forward against what was sampled
    assert events[-1].step == 1
    assert all(math.isfinite(value) for value in events[-1].metrics.values() if not math.isnan(value))
    assert_ties_hold(family, folder / "ppo" / "policy")
    assert stock_reward_model(folder / "ppo" / "value").config.num_labels == 1


def climb_dpo(family: Family, sft: Path, folder: Path) -> None:
    config = DPOConfig(epochs=2, batch_size=99, optimiser=ADAM, sampling=SAMPLING, evaluation_prompts=2)
    stage = train_dpo(config, sft=sft, train=PAIRS, held_out=PAIRS[:6], out=folder / "dpo", seed=1)
    events, result = finish(stage)
    assert events[0].metrics["loss_nats"] == pytest.approx(math.log(2), abs=1e-4)
    assert events[1].metrics["loss_nats"] < math.log(2)
    assert_ties_hold(family, result.artifacts["policy"])


# What is particular


@pytest.fixture
def gemma(tmp_path: Path) -> Family:
    base = make("gemma2", tmp_path / "base")
    return Family("gemma2", base, load_tokenizer(str(base)))


@torch.no_grad()
def test_caps_and_windows_matter_here(gemma: Family, tmp_path: Path) -> None:
    """Or what is said above of Gemma 2 would hold without them."""
    row = lay(TREES, device())
    capped = response_logprobs(gemma.policy, row)[0]
    for change in ({"attn_logit_softcapping": None}, {"final_logit_softcapping": None}, {"sliding_window": 64}):
        other = load_policy(make("gemma2", tmp_path / "other", **change), gemma.tokenizer)
        assert float((response_logprobs(other, row)[0] - capped).abs().max()) > 0.01


@torch.no_grad()
def test_capped_scores_never_go_to_the_kernel_that_has_no_cap(gemma: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = gemma.policy
    expected = ragged_states(policy, lay(TREES, device()))
    monkeypatch.setattr(attention, "fits", lambda query: True)
    close(ragged_states(policy, lay(TREES, device())), expected.cpu(), atol=1e-6)


def test_continuous_batching_refuses_capped_scores(gemma: Family) -> None:
    request = DrawRequest([[3]], torch.zeros((1, 2)), stops=[END], temperature=1.0, max_tokens=64)
    with pytest.raises(
        ValueError, match=r"no capped attention scores, which Gemma2ForCausalLM asks for: set it to eager"
    ):
        draw_continuously(gemma.policy, request)


def test_a_model_of_images_is_refused(tmp_path: Path) -> None:
    text = GROUPED | {"sliding_window": WINDOW, "eos_token_id": END}
    sizes = dict.fromkeys(("num_hidden_layers", "num_attention_heads"), 1)
    vision = {"hidden_size": 8, "intermediate_size": 8, "image_size": 8, "patch_size": 4, **sizes}
    marks = {"image_token_index": 9, "boi_token_index": 7, "eoi_token_index": 8, "mm_tokens_per_image": 4}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, **marks)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    chat_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="gemma3 reads more than text"):
        load_policy(tmp_path, load_tokenizer(str(tmp_path)))


def test_both_ends_cut_and_both_count_as_finished(gemma: Family) -> None:
    policy, prompts = gemma.policy, PROMPTS * 10
    assert stop_ids(policy) == [TURN, END]
    drawn = sample(policy, gemma.tokenizer, prompts, SAMPLING, generator=torch.Generator().manual_seed(0))
    assert {one.response_ids[-1] for one in drawn if one.finished} == {END, TURN}
    assert {one.finished for one in drawn} == {True, False}
    for one in drawn:
        assert one.finished is (one.response_ids[-1] in (END, TURN))
        assert not {END, TURN} & set(one.response_ids[:-1])


def test_the_end_learns_where_the_base_pads_with_it(tmp_path: Path) -> None:
    base = make("llama", tmp_path, pad_token_id=END)
    model = load_reward_model(base, load_tokenizer(str(base)))
    response_scores(model, lay([Tree([3, 5], [[END]])], device())).sum().backward()
    assert float(model.get_input_embeddings().weight.grad[END].abs().max()) > 0


LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.0],
    "long_factor": [2.0, 4.0],
    "original_max_position_embeddings": 12,
}


def test_positions_that_depend_on_what_else_is_read_are_refused(tmp_path: Path) -> None:
    base = make(
        "phi3",
        tmp_path,
        rope_parameters=LONG_ROPE,
        max_position_embeddings=64,
        original_max_position_embeddings=12,
    )
    tokenizer = load_tokenizer(str(base))
    policy = load_policy(base, tokenizer)
    row_states(policy, lay([Tree([3] * 6, [[5] * 6, [6] * 6]), Tree([4], [])], device()))
    with pytest.raises(ValueError, match=r"has 13 tokens, and beyond 12 what this phi3 says depends"):
        row_states(policy, lay([Tree([3] * 6, [[5] * 7]), Tree([4], [])], device()))
    with pytest.raises(ValueError, match=r"lower max_prompt_tokens and max_response_tokens to 12 together"):
        sample(policy, tokenizer, PROMPTS, SAMPLING, generator=torch.Generator().manual_seed(0))
