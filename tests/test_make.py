"""What `make` does about the security of the project: rules, a scan for secrets, an audit, a list of all parts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

AUDIT = """#!/bin/sh
printf "%s" '{said}'
echo "{complaint}" >&2
exit {code}
"""
RECORD = """#!/bin/sh
echo "$0 $@" > "$(dirname "$0")/../typed"
"""


def ruff(code: str, name: str) -> str:
    command = [
        Path(sys.executable).with_name("ruff"),
        "check",
        "--output-format=concise",
        "--stdin-filename",
        name,
        "-",
    ]
    return subprocess.run(command, input=code, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ('import subprocess\n\nsubprocess.run("ls " + __name__, shell=True)\n', "S602"),
        ("import pickle\n\npickle.loads(b'')\n", "S301"),
        ("import yaml\n\nyaml.load('', Loader=yaml.Loader)\n", "S506"),
        ('HOST = "0.0.0.0"\n', "S104"),
        ("import hashlib\n\nhashlib.md5(b'')\n", "S324"),
        ("print(eval('1'))\n", "S307"),
    ],
)
def test_the_rules_of_security_hold_in_the_pipeline(code: str, rule: str) -> None:
    assert rule in ruff(f'"""Said."""\n\n{code}', "flows/registry/fresh.py")


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with this Makefile and an environment whose checks of style pass."""
    folder, tools = tmp_path / "project", tmp_path / "project" / ".venv" / "bin"
    for name in ("ruff", "mypy", "lint-imports"):
        executable(tools / name, "#!/bin/sh\n")
    for name in ("python", "detect-secrets-hook"):
        (tools / name).symlink_to(Path(sys.executable).with_name(name))
    for name in ("Makefile", "requirements.lock", "pyproject.toml", ".gitignore", ".ci/audit_deps.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text((ROOT / name).read_text())
    for stamp in (".installed", "release/.installed"):
        (tools.parent / stamp).parent.mkdir(exist_ok=True)
        (tools.parent / stamp).touch()
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    return folder


def make(project: Path, target: str) -> subprocess.CompletedProcess[str]:
    named = {name: value for name, value in os.environ.items() if name not in ("VENV", "MAKEFLAGS", "MAKELEVEL")}
    subprocess.run(["git", "add", "--all"], cwd=project, check=True)
    return subprocess.run(["make", target], cwd=project, env=named, capture_output=True, text=True, timeout=120)


def test_a_secret_in_a_tracked_file_fails_the_check(project: Path) -> None:
    code, test, page = (project / name for name in ("flows/a.py", "tests/test_a.py", "docs/a.md"))
    for path in (code, test, page):
        path.parent.mkdir()
        path.write_text("name = 'a word'\n")
    assert make(project, "check").returncode == 0
    secret = "name = 'AKIA" + "QYLPMN5HHHFPZAM2'\n"
    test.write_text(secret)
    done = make(project, "check")
    assert done.returncode != 0 and "tests/test_a.py:1" in done.stdout and "AWS Access Key" in done.stdout
    for path in (code, page):
        path.write_text(secret)
    done = make(project, "check")
    assert done.returncode != 0 and {"flows/a.py:1", "docs/a.md:1"} <= set(done.stdout.split())


def answer(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages})


SOUND = {"name": "torch", "version": "2.13.0", "vulns": []}
FLAWED = {"name": "yarl", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "zipp", "skip_reason": "Dependency not found on PyPI and could not be audited: zipp (4.1.2)"}


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        (answer(SOUND), 0, "1 packages audited, 0 known vulnerabilities"),
        (answer(SOUND, FLAWED), 1, "yarl 1.0: PYSEC-1, mended in 1.1"),
        (answer(SOUND, UNKNOWN), 1, "zipp: was not looked up"),
        (
            answer(UNKNOWN),
            2,
            "nothing was audited, as the service of advisories cannot be reached: Dependency not found",
        ),
        ("", 2, "nothing was audited, as the service of advisories cannot be reached: no connection"),
    ],
    ids=["sound", "flawed", "in part", "another service", "no service"],
)
def test_an_audit_says_what_was_found_and_when_nothing_is_known(project: Path, said: str, code: int, told: str) -> None:
    stub = AUDIT.format(said=said, complaint="no connection" if not said else "", code=int(not said))
    executable(project / ".venv" / "release" / "bin" / "pip-audit", stub)
    done = make(project, "audit-deps")
    assert told in done.stdout
    assert done.returncode == (2 if code else 0) and f"Error {code}" * bool(code) in done.stderr


def test_the_list_of_all_parts_is_written_beside_the_project_and_not_tracked(project: Path) -> None:
    executable(project / ".venv" / "release" / "bin" / "cyclonedx-py", RECORD)
    assert make(project, "sbom").returncode == 0
    _, *typed = (project / ".venv" / "release" / "typed").read_text().split()
    assert typed[0] == "environment" and typed[-2:] == ["sbom.cdx.json", ".venv/bin/python"]
    assert subprocess.run(["git", "check-ignore", "--quiet", "sbom.cdx.json"], cwd=project).returncode == 0
