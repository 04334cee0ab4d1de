"""Tiny models, tokens and processes for comparisons with other libraries, which are no dependencies of the product."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

HERE = Path(__file__).parent
TOLERANCE = 1e-5
CURRENT, LAST_WITH_PPO = "1.16.0", "1.12.0"
WORDS = ["<|pad|>", "<|unk|>", "<|end|>", "<|user|>", "<|assistant|>", *(f"w{index}" for index in range(27))]
PAD, END, FIRST_WORD = 0, 2, 5
PAIRS = 8
RESPONSE_TOKENS = 6
ENDS = [2, 5, 0, 3, 5, 1, 4, 5]
"""Where the end stands in each ragged response; the one that is unfinished has none."""
UNFINISHED = 4
SHAPES: dict[str, tuple[PretrainedConfig, type, type]] = {
    "llama": (
        LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=64,
            initializer_range=0.2,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=END,
        ),
        LlamaForCausalLM,
        LlamaForSequenceClassification,
    ),
    "gpt2": (
        GPT2Config(
            vocab_size=len(WORDS),
            n_positions=64,
            n_embd=16,
            n_layer=2,
            n_head=2,
            initializer_range=0.2,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=END,
        ),
        GPT2LMHeadModel,
        GPT2ForSequenceClassification,
    ),
}
MEASURED = pytest.StashKey[dict[str, float]]()


class Peer(NamedTuple):
    """What another library said, and what it was asked about.

    Attributes:
        folder: holds `policy`, `reference`, `reward_model` and `value_model`.
        ids: prompt, chosen and rejected response of each pair, as token ids.
        said: figures and tensors by name.
    """

    folder: Path
    ids: list[dict[str, list[int]]]
    said: dict[str, Any]


def pytest_configure(config: pytest.Config) -> None:
    """Start the table of differences."""
    config.stash[MEASURED] = {}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the largest difference of each quantity, which is the table of docs/evidence/agreement.md."""
    if measured := config.stash[MEASURED]:
        terminalreporter.section("largest differences")
        for name, difference in sorted(measured.items()):
            terminalreporter.write_line(f"| {name} | {difference:.1e} |")


@pytest.fixture
def same(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Compare a quantity of ours with a peer's to 1e-5, relative above 1, and remember how far they are apart."""

    def compare(name: str, ours: object, theirs: object, *, tolerance: float = TOLERANCE) -> None:
        first, second = (torch.as_tensor(values, dtype=torch.float64) for values in (ours, theirs))
        assert first.shape == second.shape
        gap = float(((first - second).abs() / second.abs().clamp(min=1.0)).max())
        known = request.config.stash[MEASURED]
        known[name] = max(gap, known.get(name, 0.0))
        assert gap <= tolerance, f"{name}: {gap:.2e} apart"

    return compare


@pytest.fixture(scope="session", params=list(SHAPES))
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four models of one shape and different weights, their tokenizer, and `ids.json`."""
    folder = tmp_path_factory.mktemp(request.param)
    config, language_model, classifier = SHAPES[request.param]
    torch.manual_seed(0)
    for name in ("policy", "reference"):
        language_model(config).save_pretrained(folder / name)
    config.num_labels = 1
    for name in ("reward_model", "value_model"):
        model = classifier(config)
        torch.nn.init.normal_(model.score.weight, std=0.5)
        model.save_pretrained(folder / name)
    for name in ("policy", "reference", "reward_model", "value_model"):
        word_tokenizer().save_pretrained(folder / name)
    pairs = _pairs()
    (folder / "ids.json").write_text(json.dumps(pairs))
    (folder / "responses.json").write_text(json.dumps(_responses(pairs)))
    return folder


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each word."""
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<|unk|>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        padding_side="left",
    )


def _pairs() -> list[dict[str, list[int]]]:
    """Pairs of random words that end."""
    rng = random.Random(0)

    def words(least: int, most: int) -> list[int]:
        return rng.choices(range(FIRST_WORD, len(WORDS)), k=rng.randint(least, most))

    return [
        {
            "prompt": [3, *words(2, 9), 4],
            "chosen": [*words(1, 7), END],
            "rejected": [*words(1, 7), END],
        }
        for _ in range(PAIRS)
    ]


def _responses(pairs: list[dict[str, list[int]]]) -> dict[str, list[list[int]]]:
    """A response to each prompt, all as long as TRL samples: with the end in the last place, or anywhere."""
    rng = random.Random(1)
    words = [rng.choices(range(FIRST_WORD, len(WORDS)), k=RESPONSE_TOKENS) for _ in pairs]
    full = [[*row[:-1], END] for row in words]
    ragged = [[*row[:end], END, *row[end + 1 :]] for row, end in zip(words, ENDS, strict=True)]
    ragged[UNFINISHED] = words[UNFINISHED]
    return {"full": full, "ragged": ragged}


@pytest.fixture(scope="session")
def trl() -> Path:
    """The folder with a folder for each release of TRL."""
    return _folder("RLHF_TRL", "releases of TRL", "make test-trl")


@pytest.fixture(scope="session")
def rewardbench() -> Path:
    """The folder with RewardBench and what it needs."""
    return _folder("RLHF_REWARDBENCH", "RewardBench", "make test-rewardbench")


@pytest.fixture(scope="session")
def losses(trl: Path, work: Path) -> Peer:
    """What SFT, reward model and DPO of the current TRL say of the pairs."""
    return run("trl_losses.py", [trl / CURRENT, trl / "deps"], work)


@pytest.fixture(scope="session")
def ppo(trl: Path, work: Path) -> Peer:
    """What one update of the last PPO of TRL does with the responses, all of full length and ragged."""
    return run("trl_ppo.py", [trl / LAST_WITH_PPO, trl / "deps"], work)


@pytest.fixture(scope="session")
def ask() -> Callable[..., Peer]:
    """Run a script where a peer can be imported."""
    return run


def run(script: str, path: list[Path], work: Path, *arguments: str) -> Peer:
    """Run a script of this folder in a process of its own, where the peer can be imported, and read its answer."""
    done = subprocess.run(
        [sys.executable, HERE / script, work, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "HF_HUB_OFFLINE": "1", "HF_HOME": str(work)},
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = torch.load(work / f"{Path(script).stem}.pt")
    return Peer(work, json.loads((work / "ids.json").read_text()), said)


def _folder(variable: str, what: str, target: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} names no folder with {what}, which is no dependency: `{target}` makes one and tests")
    return Path(folder).resolve()
