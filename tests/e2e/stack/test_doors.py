"""Doors of the stack, without starting it: where its parts listen, who may read its files, what its errors say."""

import importlib
import json
import os
import pwd
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

MODULES = ("processes", "postgres", "parts", "settings", "stack")
SECRETS = {name: f"planted-{name}" for name in ("postgres", "mlflow", "prefect", "flask", "webhooks")}


@pytest.fixture
def infra(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The modules of infra/, which import each other by their bare names."""
    monkeypatch.syspath_prepend(str(ROOT / "infra"))
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ({}, []),
        ({"MLFLOW_URL": "http://localhost:{MLFLOW_PORT}", "PREFECT_URL": "http://[::1]:4200"}, []),
        ({"MLFLOW_URL": "https://mlflow.example.org"}, ["https://mlflow.example.org"]),
        (
            {"MLFLOW_URL": "http://10.0.0.5:5000", "PREFECT_URL": "http://ladder:4200"},
            ["http://10.0.0.5:5000", "http://ladder:4200"],
        ),
    ],
)
def test_servers_that_others_reach_without_a_password_are_warned_of(
    infra: dict[str, Any], given: dict[str, str], warned: list[str]
) -> None:
    settings = infra["settings"].DEFAULTS | given
    told = list(infra["settings"].exposed(settings))
    assert [re.findall(r"reaches (\S+) can", line) for line in told] == [[address] for address in warned]
    assert all("`make up AUTH=on`" in line for line in told)
    assert list(infra["settings"].exposed(settings | {"AUTH": "on"})) == []


@pytest.mark.parametrize("auth", ["off", "on"])
def test_every_part_listens_on_this_machine_only_and_no_command_holds_a_secret(
    infra: dict[str, Any], auth: str, tmp_path: Path
) -> None:
    settings = infra["settings"].DEFAULTS | {"AUTH": auth, "MLFLOW_URL": "https://mlflow.example.org"}
    text = infra["settings"].configuration(tmp_path, settings, SECRETS, Path("programs"))
    hosts = re.findall(r'--host (\S+)|listen_addresses=(\S+)|WEBSERVER_HOST="([^"]+)"', text)
    assert len(hosts) == 4 and {host for found in hosts for host in found if host} == {"127.0.0.1"}
    assert "--port ${" not in text and "rlhf receive --port 5050" in text  # whose host is 127.0.0.1 by default
    commands = re.findall(r"^command = (.+)$", text, flags=re.MULTILINE)
    assert len(commands) == 5 and not [command for command in commands if "planted" in command]
    assert "planted-postgres" in text and ("planted-mlflow" in text) == (auth == "on")


def test_files_of_secrets_are_for_their_owner_only(infra: dict[str, Any], tmp_path: Path, umask: int) -> None:
    settings = infra["settings"]
    made = settings.read_secrets(tmp_path / "secrets.json")
    assert settings.read_secrets(tmp_path / "secrets.json") == made and set(made) == set(SECRETS)
    (tmp_path / "env").write_text("of a start that was open to all")
    settings.write_private(tmp_path / "env", "A=b\n")
    settings.configuration(tmp_path, settings.DEFAULTS | {"AUTH": "on"}, SECRETS, Path("programs"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()}
    assert modes == {"secrets.json": 0o600, "env": 0o600, "mlflow-auth.ini": 0o600}


def test_nobody_but_the_database_passes_through_the_stacks_folder(
    infra: dict[str, Any], tmp_path: Path, umask: int
) -> None:
    stack = tmp_path / "stack"
    stack.mkdir(mode=0o700)  # as `up` does
    infra["postgres"].let_in("nobody", stack)
    mode, group = stack.stat().st_mode & 0o777, stack.stat().st_gid
    assert (mode, group) == ((0o710, pwd.getpwnam("nobody").pw_gid) if os.geteuid() == 0 else (0o700, os.getegid()))
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    chosen.chmod(0o755)
    infra["postgres"].let_in("nobody", chosen)
    assert chosen.stat().st_mode & 0o777 == 0o755  # who made it decides


def test_what_the_stack_refuses_is_told_without_its_secrets(
    infra: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = infra["stack"]
    (tmp_path / "secrets.json").write_text(json.dumps(SECRETS))
    monkeypatch.setenv("STACK", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["stack.py", "status"])

    def refuse(folder: Path) -> int:
        raise stack.Refused("postgres failed:\nALTER ROLE rlhf PASSWORD 'planted-postgres'")

    monkeypatch.setattr(stack, "status", refuse)
    with pytest.raises(SystemExit) as ended:
        stack.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "postgres failed:\nALTER ROLE rlhf PASSWORD '***'\n"
