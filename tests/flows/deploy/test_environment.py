"""The environment of a command: proxies are passed by on this machine, and an empty variable is an absent one."""

import os
import urllib.request
from pathlib import Path

import pytest

from flows.config.errors import InputError
from flows.deploy.environment import name_servers, quiet

PROXY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, whatever the machine has."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("NO_PROXY", "no_proxy"):  # so that what is set here is forgotten afterwards
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("listed", ["", "corp.example, .internal"])
def test_this_machine_is_reached_directly_and_others_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, listed: str
) -> None:
    monkeypatch.setenv(name, PROXY)
    if listed:
        monkeypatch.setenv("NO_PROXY", listed)
    name_servers(tmp_path)
    for host in ("127.0.0.1:4200", "localhost", "corp.example" if listed else "127.0.0.1"):
        assert urllib.request.proxy_bypass_environment(host)
    assert not urllib.request.proxy_bypass_environment("mlflow.example")
    assert os.environ[name] == PROXY


def test_without_a_proxy_nothing_is_set(tmp_path: Path) -> None:
    name_servers(tmp_path)
    assert not {"NO_PROXY", "no_proxy"} & os.environ.keys()


def test_a_proxy_that_no_client_here_can_speak_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://me:geheim@127.0.0.1:9")
    monkeypatch.setattr("flows.deploy.environment.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"ALL_PROXY socks5://127\.0\.0\.1:9: a SOCKS proxy needs a package"):
        name_servers(tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("HTTP_PROXY", "foo://me:geheim@bad", "HTTP_PROXY begins with 'foo', and must with one of http, https, socks5"),
        ("SOURCE_DATE_EPOCH", "abc", "SOURCE_DATE_EPOCH abc: is no whole number; set one, or unset it"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "1\n2", r"MLFLOW_HTTP_REQUEST_TIMEOUT '1\n2': is no whole number"),
    ],
)
def test_a_variable_that_libraries_break_on_is_told(
    variable: str, value: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError) as refused:
        name_servers(tmp_path)
    assert str(refused.value).startswith(told) and "heim" not in str(refused.value)
    monkeypatch.setenv(variable, {"HTTP_PROXY": "proxy:3128"}.get(variable, "300"))
    name_servers(tmp_path)


def test_an_empty_variable_is_an_absent_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    name_servers(tmp_path)
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_a_user_without_a_home_has_one_for_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setenv("HOME", "/somewhere")
    quiet()
    assert os.environ["HOME"] == "/somewhere"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("flows.deploy.environment.gettempdir", lambda: str(tmp_path))
    quiet()
    assert Path.home() == tmp_path
