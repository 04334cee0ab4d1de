"""Variables that name servers and hold no address: told at once, without the password in them."""

from pathlib import Path

import pytest

from flows.config.addresses import check_addresses, shown
from flows.config.errors import InputError

WRONG = [
    ("MLFLOW_TRACKING_URI", "localhost:5000", "does not say http:// or https://"),
    ("MLFLOW_TRACKING_URI", "127.0.0.1:5000", "does not say http:// or https://"),
    ("MLFLOW_TRACKING_URI", "htp://me:geheim@x", "begins with 'htp', and must with one of http, https, sqlite"),
    ("MLFLOW_TRACKING_URI", "http://[::1", "has no host, or no port"),
    ("MLFLOW_TRACKING_URI", "http://me:geheim@:5000", "has no host, or no port"),
    ("MLFLOW_TRACKING_URI", "http://x:99999", "has no host, or no port"),
    ("MLFLOW_TRACKING_URI", "http://me:ge/heim@x:port", "has no host, or no port"),
    ("MLFLOW_TRACKING_URI", "http://x\ny", "holds white space or control letters"),
    ("MLFLOW_TRACKING_URI", "http://my host:5000", "holds white space or control letters"),
    ("MLFLOW_TRACKING_URI", "sqlite:///", "names no file; write sqlite:///PATH"),
    ("MLFLOW_TRACKING_URI", f"sqlite:///{Path(__file__).parent}", "names no file; write sqlite:///PATH"),
    ("MLFLOW_TRACKING_URI", f"sqlite:///{__file__}/deeper/a.db", "is no folder; name another"),
    ("MLFLOW_TRACKING_URI", f"sqlite:////{'x' * 300}/a.db", "names no file (File name too long); write sqlite:///PATH"),
    ("MLFLOW_REGISTRY_URI", "sqlite:a.db", "names no file; write sqlite:///PATH"),
    ("PREFECT_API_URL", "127.0.0.1:4200/api", "does not say http:// or https://"),
    ("PREFECT_API_URL", "sqlite:///a.db", "begins with 'sqlite', and must with one of http, https"),
    ("PREFECT_API_URL", "https://me:geheim@x:0/api", "has no host, or no port"),
]


@pytest.mark.parametrize(("variable", "address", "told"), WRONG)
def test_what_is_no_address_is_told(variable: str, address: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, address)
    with pytest.raises(InputError) as refused:
        check_addresses()
    said = str(refused.value)
    assert said.startswith(f"{variable} ") and told in said and ("; write " in said or "; name " in said)
    assert said.isprintable() and "heim" not in said


@pytest.mark.parametrize(
    "address",
    [
        "http://me:geheim@x:5000/path",
        "https://x",
        "sqlite:///mlflow.db",
        "sqlite:///my project/mlflow.db",
        "postgresql+psycopg2://me:x@h/d",
    ],
)
def test_an_address_is_taken(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    check_addresses()


def test_a_password_is_not_shown_whatever_it_holds() -> None:
    assert shown("http://me:a@b/c@host:5000/api") == "http://host:5000/api"
