"""Secrets in texts, and in the addresses of servers that the environment names."""

import os

import pytest

from flows.config.credentials import part_credentials
from flows.config.errors import InputError
from flows.config.redaction import redact, redact_address


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of these variables, whatever the machine has; what is set here is forgotten afterwards."""
    for name in ("TRACKING_URI", "REGISTRY_URI", "TRACKING_USERNAME", "TRACKING_PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_{name}", "")
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:pass-word@host:5000/x (timed out)", "at http://***@host:5000/x (timed out)"),
        ("postgresql+psycopg2://me:p@ss@host/db", "postgresql+psycopg2://***@host/db"),
        ("https://gh-token@host/a.git and s3://key:hush@bucket/b", "https://***@host/a.git and s3://***@bucket/b"),
        (
            "postgresql://host/db?user=me&password=hush&sslmode=off",
            "postgresql://host/db?user=me&password=***&sslmode=off",
        ),
        (
            "https://cdn/x?X-Amz-Credential=a&X-Amz-Signature=b",
            "https://cdn/x?X-Amz-Credential=***&X-Amz-Signature=***",
        ),
        ("models:/desk@champion, https://host/owner/name@main", "models:/desk@champion, https://host/owner/name@main"),
        ("ann@desk asks: what is a token? key=value", "ann@desk asks: what is a token? key=value"),
    ],
)
def test_addresses_are_shown_without_what_lets_one_in(text: str, shown: str) -> None:
    assert redact_address(text) == redact(text) == shown


def test_the_password_of_a_database_is_not_shown() -> None:
    assert redact_address("postgresql://me:hush@host/db") == "postgresql://***@host/db"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("HF_TOKEN", "hf_plantedtoken", "hf_plantedtoken"),
        ("PREFECT_API_KEY", "pnu_planted", "pnu_planted"),
        ("PREFECT_API_AUTH_STRING", "admin:planted-word", "planted-word"),
        ("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", "planted-key=", "planted-key="),
        ("MLFLOW_TRACKING_PASSWORD", "planted-word", "planted-word"),
        ("HTTPS_PROXY", "http://me:planted%40word@proxy:3128", "planted@word"),
        ("MLFLOW_TRACKING_URI", "postgresql://me:planted/w@rd@host/db", "planted/w@rd"),
        ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://me:planted-word@host/db", "planted-word"),
    ],
)
def test_what_the_environment_holds_is_struck_out_wherever_it_stands(
    name: str, value: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    for text in (f"refused: {value}", f"password '{secret}' is wrong"):
        assert "***" in redact(text) and secret not in redact(text)
        assert secret not in str(InputError(text)) and secret not in repr(InputError(text))


@pytest.mark.parametrize(
    ("name", "value"),
    [("TOKENIZERS_PARALLELISM", "word of this"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "true"), ("STORAGE", "a/b@c:d")],
)
def test_what_is_no_secret_stays(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert redact(f"is {value} here") == f"is {value} here"


def test_an_account_moves_from_an_address_to_the_variables_of_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:p%40ss@host:5000/x?y=1")
    monkeypatch.setenv("PREFECT_API_URL", "http://ann:pre:fect@[::1]:4200/api")
    for _ in range(2):
        part_credentials()
        assert os.environ["MLFLOW_TRACKING_URI"] == "https://host:5000/x?y=1"
        assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("me", "p@ss")
        assert os.environ["PREFECT_API_URL"] == "http://[::1]:4200/api"
        assert os.environ["PREFECT_API_AUTH_STRING"] == "ann:pre:fect"


@pytest.mark.parametrize(
    "address", ["sqlite:////a/me:b@c/mlflow.db", "postgresql://me:hush@host/db", "http://host:5000", "http://[::1", ""]
)
def test_other_addresses_stay(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    part_credentials()
    assert os.environ["MLFLOW_TRACKING_URI"] == address and os.environ["MLFLOW_TRACKING_PASSWORD"] == ""


def test_two_accounts_for_the_one_that_mlflow_knows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:first-word@host")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://me:other-word@there")
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI hold two names or passwords"):
        part_credentials()
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://me:first-word@there")
    part_credentials()
    assert os.environ["MLFLOW_REGISTRY_URI"] == "http://there"
