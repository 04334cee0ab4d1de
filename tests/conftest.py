"""Every test has its own storage, phones nobody and computes on one thread; climbs that many tests look at."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from benchmarks.common.forks import READY
from tests.forked import ROOT, Finished, end_forks, fork_with, run_rlhf

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PREFECT_HOME = pytest.StashKey[str]()
SERVED = ("tests/e2e/promotion/", "tests/e2e/stack/")
"""Folders of tests that share servers, which take longer to start than most of these tests."""

TINY = ROOT / "configs" / "tiny.yaml"
CHOSEN_BY_STORAGE = ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_LOCAL_STORAGE_PATH", "MLFLOW_TRACKING_URI")

os.environ["HF_HUB_OFFLINE"] = "1"  # before another conftest imports what reads it

settings.register_profile(
    "ladder", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ladder")


def pytest_configure(config: pytest.Config) -> None:
    """Set what libraries read when they are imported, which collection already does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore it
    config.stash[PREFECT_HOME] = tempfile.mkdtemp(prefix="prefect-")
    os.environ.setdefault(READY, tempfile.mkdtemp(dir=config.stash[PREFECT_HOME]))  # one for all that run tests
    os.environ.pop("PREFECT_API_URL", None)
    os.environ.update(
        DO_NOT_TRACK="true",
        GX_ANALYTICS_ENABLED="false",
        HF_HUB_CACHE=str(Path(config.stash[PREFECT_HOME], "hub")),
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        MPLBACKEND="Agg",
        OMP_NUM_THREADS="1",
        PREFECT_HOME=config.stash[PREFECT_HOME],
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="180",
        STACK=config.stash[PREFECT_HOME],  # no test finds the stack of whoever runs it
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that all processes end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("browser")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let `rlhf` be forked from a process with the environment as it is before the first test."""
    fork_with(os.environ)


class ByFile(LoadFileScheduling):
    """Tests of a file, and of a folder whose tests share servers, go to one process."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return next((folder for folder in SERVED if path.startswith(folder)), path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Share tests out so, with `--numprocesses`."""
    return ByFile(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what forks `rlhf`, and remove the Prefect home of this run."""
    end_forks()
    shutil.rmtree(config.stash[PREFECT_HOME], ignore_errors=True)


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The test's own storage folder; MLflow keeps its database there, and no test after it sees what this one set."""
    folder, before = tmp_path / "rlhf", dict(os.environ)
    folder.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    yield folder
    if mlflow := sys.modules.get("mlflow"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///next.db")
        assert mlflow.get_tracking_uri() == "sqlite:///next.db", "the test told MLflow's library its database"
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def rlhf() -> Callable[..., Finished]:
    """Type an `rlhf` command as a person would."""

    def command(*arguments: str | Path, stdin: str = "") -> Finished:
        environment = {name: value for name, value in os.environ.items() if name not in CHOSEN_BY_STORAGE}
        environment["COLUMNS"] = "200"  # no line of the summary is folded
        return run_rlhf(*arguments, environment=environment, stdin=stdin)

    return command


@pytest.fixture(scope="session")
def climb(rlhf: Callable[..., Finished]) -> Callable[..., Finished]:
    """Climb in a storage folder."""

    def run(storage: Path, *overrides: str, config: Path = TINY) -> Finished:
        settings = [part for override in (f"storage={storage}", *overrides) for part in ("--set", override)]
        return rlhf("run", config, *settings)

    return run


@pytest.fixture
def hub_models() -> Iterator[Path]:
    """The cache of the hub, for models that stand for published ones; emptied after the test."""
    folder = Path(os.environ["HF_HUB_CACHE"])
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Storage of the shared climb; tests that change anything take `copied_home`."""
    return tmp_path_factory.mktemp("climb") / "storage"


@pytest.fixture(scope="session")
def climbed(climb: Callable[..., Finished], home: Path) -> Finished:
    """The shared climb."""
    done = climb(home)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def copied_home(climbed: Finished, home: Path, tmp_path: Path) -> Path:
    """A copy of what the shared climb stored; files of its models stay where they are."""
    return Path(shutil.copytree(home, tmp_path / "copy"))


@pytest.fixture(scope="session")
def client_of() -> "Callable[[Path], MlflowClient]":
    """MLflow's client for a storage folder."""
    from mlflow import MlflowClient  # reads what `pytest_configure` sets

    return lambda storage: MlflowClient(tracking_uri=f"sqlite:///{storage / 'mlflow.db'}")


@pytest.fixture(scope="session")
def runs_of(client_of: "Callable[[Path], MlflowClient]") -> "Callable[[Path, str], list[Run]]":
    """Runs of a name in a storage folder, the oldest first, with their inputs and outputs."""

    def find(storage: Path, name: str) -> "list[Run]":
        client = client_of(storage)
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        query = f"attributes.run_name = '{name}'"
        found = client.search_runs([experiment.experiment_id], query, order_by=["attributes.start_time ASC"])
        return [client.get_run(run.info.run_id) for run in found]  # the search leaves models out

    return find


@pytest.fixture
def own_format(tmp_path: Path) -> Iterator[Path]:
    """A file that registers a format of a user's own, `winners`, which is forgotten afterwards."""
    from data_contracts.formats.registry import FORMATS

    path = tmp_path / "own.py"
    path.write_text(
        "from data_contracts.formats import adapter, has\n"
        '@adapter("winners", "preferences", fits=has("winner"))\n'
        "def pairs(row):\n"
        '    yield {"prompt": row["question"], "chosen": row["winner"], "rejected": row["loser"]}\n'
    )
    yield path
    FORMATS.pop("winners", None)
