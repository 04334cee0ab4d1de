"""Every test has its own storage, phones nobody and computes on one thread."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PREFECT_HOME = pytest.StashKey[str]()

settings.register_profile(
    "ladder", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ladder")


def pytest_configure(config: pytest.Config) -> None:
    """Set what libraries read when they are imported, which collection already does."""
    config.stash[PREFECT_HOME] = tempfile.mkdtemp(prefix="prefect-")
    os.environ.pop("PREFECT_API_URL", None)
    os.environ.update(
        DO_NOT_TRACK="true",
        GX_ANALYTICS_ENABLED="false",
        HF_HUB_OFFLINE="1",
        MLFLOW_DISABLE_TELEMETRY="true",
        MPLBACKEND="Agg",
        OMP_NUM_THREADS="1",
        PREFECT_HOME=config.stash[PREFECT_HOME],
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="180",
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the Prefect home of this run."""
    shutil.rmtree(config.stash[PREFECT_HOME], ignore_errors=True)


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own storage folder; MLflow keeps its database there."""
    folder = tmp_path / "rlhf"
    folder.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    return folder
