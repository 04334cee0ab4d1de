"""What `rlhf ui` starts and says."""

from pathlib import Path

import pytest

from flows.config.loading import load_config
from flows.deploy.pages import _mlflow_page, _prefect_page, serve_pages
from tests.conftest import TINY


def host(command: tuple[str, ...]) -> str:
    return command[command.index("--host") + 1]


def test_both_servers_listen_on_this_machine_only(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (storage / "mlflow.db").touch()
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    pages = (_mlflow_page(storage, 0), _prefect_page(0))
    assert [host(page.command) for page in pages] == ["127.0.0.1", "127.0.0.1"]
    assert all(page.address.startswith("http://127.0.0.1:") for page in pages)


def test_servers_elsewhere_are_named_without_their_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:planted-word@host/mlflow")
    monkeypatch.setenv("PREFECT_API_URL", "http://me:planted-word@host:4200/api")
    serve_pages(load_config(TINY), mlflow_port=5000, prefect_port=4200)
    said = capsys.readouterr().out
    assert "postgresql://***@host/mlflow" in said and "http://***@host:4200" in said and "planted-word" not in said
