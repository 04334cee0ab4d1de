"""Two and four processes do what one does: the same losses, weights and decisions; a state moves between them."""

import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.control import AdaptiveKLConfig
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig, SharedTrunkConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.distributed import rounds, shares
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.optimiser import Optimiser
from tests.conftest import ROOT
from tests.forked import forks

RUN_RANKS = "import runpy; runpy.run_path('tests/rlhf_core/ranks.py', run_name='__main__')"
PROMPTS = [" ".join(words) for words in product(("how", "are", "you"), repeat=2)] + ["how are you fine thanks"]
ANSWERS = ("fine", "fine thanks", "you are fine thanks", "fine fine fine fine thanks")
DEMONSTRATIONS = [Demonstration(prompt, answer) for prompt, answer in product(PROMPTS, ANSWERS)]
PAIRS = [
    Pair(prompt, f"{start} thanks", f"{start} how", weight=weight)
    for prompt, (start, weight) in product(PROMPTS, (("fine", 0.5), ("you", 1.5)))
]
OPTIMISER = OptimiserConfig(lr=0.01, eps=1e-3, schedule="linear", max_tokens=24)
RECOMPUTED = OPTIMISER.model_copy(update={"gradient_checkpointing": True})
SAMPLING = SamplingConfig(max_prompt_tokens=8, max_response_tokens=6)
SFT = SFTConfig(epochs=2, batch_size=8, optimiser=OPTIMISER, sampling=SAMPLING, evaluation_prompts=6)
REWARD_MODEL = RewardModelConfig(
    epochs=5, batch_size=5, max_prompt_tokens=8, max_response_tokens=6, optimiser=OPTIMISER
)
REWARD_HEADS = RewardModelConfig(
    heads=3,
    aggregate="uncertainty",
    debias="length",
    label_smoothing=0.1,
    centring_coef=0.01,
    epochs=5,
    batch_size=8,
    max_prompt_tokens=8,
    max_response_tokens=6,
    optimiser=OPTIMISER,
)
DPO = DPOConfig(epochs=5, batch_size=5, optimiser=OPTIMISER, sampling=SAMPLING, evaluation_prompts=6, best_of_n=3)
PPO = PPOConfig(
    updates=3,
    rollout_size=7,
    minibatch_size=4,
    kl_budget_nats=None,
    evaluate_every=2,
    optimiser=OPTIMISER,
    value=SeparateValueConfig(optimiser=OPTIMISER),
    sampling=SAMPLING,
)
SHARED = PPO.model_copy(
    update={
        "value": SharedTrunkConfig(coef=0.5),
        "kl_control": AdaptiveKLConfig(target_nats=0.05, horizon=8),
        "kl_in": "loss",
        "ptx_coef": 0.5,
    }
)
LORA = AdapterConfig(rank=2)
STAGES = {
    "sft": SFT,
    "reward_model": REWARD_MODEL,
    "reward_heads": REWARD_HEADS,
    "dpo": DPO,
    "ppo": PPO,
    "ppo_shared": SHARED,
    "reward_adapter": REWARD_MODEL.model_copy(update={"adapter": LORA, "optimiser": RECOMPUTED}),
    "ppo_adapter": PPO.model_copy(update={"adapter": LORA, "optimiser": RECOMPUTED}),
}
EVENTS = {stage: 4 if stage.startswith("ppo") else 10 for stage in STAGES}
CUTS = {stage: (2, 1) if stage.startswith("ppo") else (4, 3) for stage in STAGES}
"""Events on 2 ranks, then on 1; the rest is done on 4."""
BASES = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=10, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5)
    ),
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=10,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=0.5,
        )
    ),
}
CASES = [
    ("gpt2", "sft"),
    ("llama", "reward_model"),
    ("gpt2", "reward_heads"),
    ("llama", "dpo"),
    ("gpt2", "ppo"),
    ("llama", "ppo"),
    ("gpt2", "ppo_shared"),
    ("llama", "reward_adapter"),
    ("gpt2", "ppo_adapter"),
]
"""Every stage on one of the bases, with tied embeddings and learned positions or neither; all take minutes."""


def sharded(stage: str) -> bool:
    """Whether FSDP2 can shard the models; those of PPO that share a trunk it cannot."""
    return stage != "ppo_adapter"


def layouts(stage: str) -> tuple[tuple[int, bool], ...]:
    """Ranks, and whether FSDP2 shards the models on them; DDP has copies. The stage that is cut has two more."""
    return (2, False), (4, sharded(stage))


Job = tuple[Any, ...]


class Said(NamedTuple):
    """What a stage yielded and made."""

    events: list[tuple[int, dict[str, float]]]
    series: dict[str, list[float]]
    estimates: dict[str, float]
    weights: dict[str, torch.Tensor]


def read(out: Path) -> Said:
    files = sorted(out.rglob("model.safetensors"))
    weights = {f"{file.parent.name}/{name}": value for file in files for name, value in load_file(file).items()}
    said = json.loads(out.with_suffix(".json").read_text())
    return Said(**said, weights={name.removeprefix(f"{out.name}/"): value for name, value in weights.items()})


def launch(jobs: list[Job], folder: Path, ranks: int) -> None:
    """Do jobs on ranks with the environment that torchrun gives them, as forks, which need not import torch again."""
    path = folder / f"jobs-{ranks}.pkl"
    path.write_bytes(pickle.dumps(jobs))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    group = {**meeting, "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)} if ranks > 1 else {}
    with (folder / f"said-{ranks}").open("w+") as said, Path(os.devnull).open() as nothing:
        started = []
        for rank in range(ranks):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
            streams, environment = (nothing, said, said), {**os.environ, **group, **own}
            started.append(forks().start([path], streams=streams, environment=environment, cwd=ROOT, code=RUN_RANKS))
        codes = [fork.wait(900) for fork in started]
        said.seek(0)
        assert not any(codes), said.read()


def assert_same(found: Said, expected: Said) -> None:
    assert [step for step, _ in found.events] == [step for step, _ in expected.events]
    for (_, mine), (_, theirs) in zip(found.events, expected.events, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5, rel=1e-5)
    assert set(found.series) == set(expected.series)
    for name, values in found.series.items():
        assert values == pytest.approx(expected.series[name], abs=1e-4, rel=1e-4)
    assert found.estimates == pytest.approx(expected.estimates, abs=1e-4, rel=1e-4)
    assert expected.weights
    torch.testing.assert_close(found.weights, expected.weights, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def climbs(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Callable[[], PreTrainedTokenizerBase]) -> Path:
    """Every case on 1, 2 and 4 ranks, by DDP or FSDP2, and once cut off twice and gone on with."""
    folder = tmp_path_factory.mktemp("ranks")
    jobs: dict[int, list[Job]] = {1: [], 2: [], 4: []}
    third: list[Job] = []
    tokenizer = make_tokenizer()
    for name, build in BASES.items():
        torch.manual_seed(0)
        start = folder / name
        build().save_pretrained(start)
        tokenizer.save_pretrained(start)
        heads = [save(load_reward_model(start, tokenizer), tokenizer, folder / f"{name}-{head}") for head in "ab"]
        measured = {
            "sft": start,
            "reward_model": heads[0],
            "judge": heads[1],
            "held_out_prompts": [f"{prompt} thanks" for prompt in PROMPTS],
        }
        inputs: dict[str, dict[str, Any]] = {
            "sft": {"base": start, "train": DEMONSTRATIONS, "held_out": DEMONSTRATIONS[::5]},
            "reward_model": {
                "init_from": start,
                "train": PAIRS,
                "held_out": PAIRS,
                "demonstrations": DEMONSTRATIONS[::3],
            },
            "dpo": {**measured, "train": PAIRS, "held_out": PAIRS[::5]},
            "ppo": {**measured, "prompts": PROMPTS},
        }
        inputs["ppo_shared"] = inputs["ppo"] | {"demonstrations": DEMONSTRATIONS}
        inputs["reward_heads"] = inputs["reward_adapter"] = inputs["reward_model"]
        inputs["ppo_adapter"] = inputs["ppo"]
        for stage in (stage for base, stage in CASES if base == name):
            config = STAGES[stage]
            case = folder / f"{name}-{stage}"
            case.mkdir()
            given_to = (stage, config, inputs[stage])
            jobs[1].append((*given_to, case / "1"))
            for ranks, fsdp in layouts(stage):
                jobs[ranks].append((*given_to, case / f"{ranks}-{fsdp}", fsdp))
            first, second = CUTS[stage]
            cut = (*given_to, case / "resumed")
            jobs[2].append((*cut, sharded(stage), case / "states", first))
            third.append((*cut, False, case / "states", second))
            jobs[4].append((*cut, False, case / "states"))
    launch(jobs[2], folder, 2)
    launch(jobs[1] + third, folder, 1)
    launch(jobs[4], folder, 4)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("base", "stage"), CASES)
def test_two_and_four_ranks_do_what_one_does(climbs: Path, base: str, stage: str) -> None:
    case = climbs / f"{base}-{stage}"
    alone = read(case / "1")
    assert len(alone.events) == EVENTS[stage]
    for ranks, fsdp in layouts(stage):
        assert_same(read(case / f"{ranks}-{fsdp}"), alone)


@pytest.mark.slow
@pytest.mark.parametrize(("base", "stage"), CASES)
def test_a_stage_cut_off_on_two_ranks_and_on_one_ends_on_four_as_if_nothing_had_been(
    climbs: Path, base: str, stage: str
) -> None:
    case = climbs / f"{base}-{stage}"
    alone, resumed = read(case / "1"), read(case / "resumed")
    done = sum(CUTS[stage])
    assert len(resumed.events) == EVENTS[stage] - done
    assert_same(resumed, alone._replace(events=alone.events[done:]))
    if stage.startswith("ppo"):
        answers = [(case / run / "answers.jsonl").read_text().splitlines() for run in ("1", "resumed")]
        first, second = ([json.loads(line)["response"] for line in lines] for lines in answers)
        assert first == second


# States


def stepped(base: Path, tokenizer: PreTrainedTokenizerBase, steps: int) -> tuple[torch.nn.Module, Optimiser]:
    model = load_policy(base, tokenizer)
    optimiser = Optimiser(model, OPTIMISER, 10)
    for _ in range(steps):
        optimiser.accumulate([1], lambda model, _: (model(torch.tensor([[1, 2]])).logits.square().mean(), {}))
        optimiser.step()
    return model, optimiser


def damaged(state: Path, how: str) -> None:
    data = next((state / "state").glob("*.distcp"))
    content = bytearray(data.read_bytes())
    match how:
        case "cut":
            data.write_bytes(content[: len(content) // 2])
        case "gone":
            data.unlink()
        case "a bit of the weights":
            content[len(content) // 2] ^= 1
            data.write_bytes(content)
        case "a bit of what is where":
            index = state / "state" / ".metadata"
            index.write_bytes(index.read_bytes().replace(b"model", b"nodel", 1))
        case "a number in the notes":
            (state / "notes.json").write_text((state / "notes.json").read_text().replace("3", "4"))
        case "unsealed":
            (state / "seal.json").unlink()
        case "a file more":
            (state / "state" / "__1_0.distcp").write_bytes(content)


DAMAGES = (
    "cut",
    "gone",
    "a bit of the weights",
    "a bit of what is where",
    "a number in the notes",
    "unsealed",
    "a file more",
)


def test_a_damaged_state_is_named_and_the_one_before_it_used(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    states = tmp_path / "states"
    for steps in (1, 2, 3):
        _, optimiser = stepped(base, tokenizer, steps)
        Checkpoints(states).keep({"model": optimiser}, {"step": steps})
    assert sorted(path.name for path in states.iterdir()) == ["step-000000002", "step-000000003"]
    shutil.copytree(states / "step-000000003", states / "writing")  # as if it had been cut off there
    expected, theirs = stepped(base, tokenizer, 2)
    for damage in DAMAGES:
        case = shutil.copytree(states, tmp_path / damage)
        damaged(case / "step-000000003", damage)
        model, optimiser = stepped(base, tokenizer, 0)
        with pytest.warns(UserWarning, match="step-000000003 is not used, as .* is (missing|damaged|missing or dam)"):
            assert Checkpoints(case).restore({"model": optimiser}) == {"step": 2}
        assert not (case / "step-000000003").exists()
        torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=0)
        assert optimiser.lr == theirs.lr


def test_without_a_sound_state_a_stage_begins_anew(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    _, optimiser = stepped(base, tokenizer, 0)
    checkpoints = Checkpoints(tmp_path / "states", every_seconds=3600)
    assert checkpoints.restore({"model": optimiser}) == {}
    checkpoints.keep({"model": optimiser}, {"step": 1})  # not due for an hour
    assert checkpoints.notes == {}


# Shares


@given(st.lists(st.integers(1, 50)), st.integers(1, 8))
def test_every_item_is_dealt_once_and_evenly(sizes: list[int], ranks: int) -> None:
    dealt = shares(sizes, ranks)
    assert sorted(position for share in dealt for position in share) == list(range(len(sizes)))
    loads = [sum(sizes[position] for position in share) for share in dealt]
    assert max(loads) - min(loads) <= max(sizes, default=0)


def test_one_rank_keeps_the_order_of_the_items() -> None:
    assert rounds([3, 9, 1, 4], 8) == [[0], [1], [2, 3]]
