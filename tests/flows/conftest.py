"""A registry that many tests share, and small models of random weights that can be registered in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.common.forks import READY
from benchmarks.common.ready_databases import copy_migrations
from flows.registry import database
from flows.registry.client import Registry, open_registry
from flows.registry.packaging import Serving, package
from flows.registry.references import ModelRef
from rlhf_core.base.embedded import build_tokenizer
from rlhf_core.base.language_model import build
from rlhf_core.config.base import LanguageModelConfig
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.loading import load_reward_model, save

Register = Callable[..., ModelRef]


@pytest.fixture(scope="session", autouse=True)
def ready_databases() -> Iterator[None]:
    """New databases of MLflow are copies of one, as making its tables takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_migrate", copy_migrations(Path(os.environ[READY])))
        yield


@pytest.fixture(scope="session")
def desk_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("desk")  # one for all: making the tables takes seconds


@pytest.fixture
def desk(desk_home: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry of a project `desk`; tests use models of their own in it."""
    assert storage != desk_home  # the test's own storage is set first, and replaced here
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{desk_home / 'mlflow.db'}")
    return open_registry("desk", desk_home)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A registered name that no other test has."""
    return f"desk-{request.node.name}".translate(str.maketrans("_[]", "---"))[:120]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of two small files, which stands for a model."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights").write_bytes(b"\x00\x01")
    return folder


@pytest.fixture
def register(desk: Registry, files: Path) -> Register:
    """Register a folder, by default the one of `files`, under a run of its own."""

    def make(name: str, folder: Path = files, *, run_id: str | None = None, **tags: str) -> ModelRef:
        run = run_id or desk.start_run("stage")
        named = {key.replace("_", "."): tag for key, tag in tags.items()}
        return desk.register(folder, name, run_id=run, parents={}, tags=named, description="")

    return make


@pytest.fixture(scope="session")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model of random weights with the tokenizer of the embedded world."""
    tokenizer = build_tokenizer()
    model = build(LanguageModelConfig(width=32, layers=2, heads=2), tokenizer, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)  # so that the likeliest token differs from prompt to prompt
    return save(model, tokenizer, tmp_path_factory.mktemp("speaker") / "model")


@pytest.fixture(scope="session")
def scorer(speaker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model on the trunk of the speaker, with a temperature."""
    tokenizer = load_tokenizer(str(speaker))
    torch.manual_seed(2)
    model = load_reward_model(speaker, tokenizer)
    setattr(model.config, TEMPERATURE, 1.7)
    return save(model, tokenizer, tmp_path_factory.mktemp("scorer") / "model")


@pytest.fixture
def packaged(tmp_path: Path) -> Callable[[Path, Serving], Path]:
    """A copy of a model's folder that MLflow serves too."""

    def make(folder: Path, use: Serving) -> Path:
        copied = Path(shutil.copytree(folder, tmp_path / f"{use.task}-{folder.parent.name}"))
        package(copied, use)
        return copied

    return make
