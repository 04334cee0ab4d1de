"""`stack.py up | down | status`: the stack as processes on one machine, minded by supervisor; `make up` calls it.

The folder that STACK names holds all of it: settings, secrets, databases, artifacts, logs, and `env`, which is there
while the stack is up and tells clients where it is. Settings are given to `up` once, as environment or make variables,
and kept.
"""

import base64
import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import postgres
import processes
from parts import ask, parts_of, refuse_taken_ports
from postgres import Refused
from settings import (
    BIN,
    ROOT,
    client_environment,
    configuration,
    exposed,
    read_json,
    read_secrets,
    read_settings,
    write_private,
)

from flows.attestation.keys import make_key, pipeline_key_file
from flows.config.redaction import redact
from flows.deploy.environment import pass_by_proxies

READY_SECONDS = 300.0
SHUTDOWN_SECONDS = 120.0
POOL = "rlhf"
QUEUES = ("data", "training")


def main() -> None:
    """Do what the command says; exit code 1: not healthy, 2: something has to be mended first."""
    stack = Path(os.environ.get("STACK") or ".stack").absolute()
    commands = {"up": up, "down": down, "status": status}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    pass_by_proxies()
    try:
        sys.exit(commands[sys.argv[1]](stack))
    except Refused as reason:
        print(redact(str(reason), *read_json(stack / "secrets.json").values()), file=sys.stderr)
        sys.exit(2)


def up(stack: Path) -> int:
    """Start what does not run, restart what has other settings than it had, and wait until all is healthy."""
    stack.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(stack):
        before, settings = read_json(stack / "settings.json"), read_settings(stack)
        for warning in exposed(settings):
            print(warning, file=sys.stderr)
        hidden = read_secrets(stack / "secrets.json")
        running = _supervised(stack) is not None
        if not running:
            processes.end(processes.mark(stack))  # its supervisor was killed
        refuse_taken_ports(settings, before if running else {})
        programs = postgres.programs()
        for name in ("artifacts", "log", "prefect"):
            (stack / name).mkdir(mode=0o700, exist_ok=True)
        postgres.initialise(stack / "postgres", programs, hidden["postgres"])
        if not pipeline_key_file(stack).exists():
            make_key(pipeline_key_file(stack))
        write_private(stack / "settings.json", json.dumps(settings, indent=1))
        write_private(stack / "supervisord.conf", configuration(stack, settings, hidden, programs))
        print(f"starting the stack in {stack}", flush=True)
        _restart_what_changed(stack) if running else _start(stack)
        if sick := _wait_until_healthy(stack, settings):
            _tell(stack, settings)
            raise Refused(f"{', '.join(sick)} did not become healthy in {READY_SECONDS:.0f} s; see the logs")
        client = client_environment(stack, settings, hidden)
        _make_pool(client)
        write_private(stack / "env", "".join(f"{name}={value}\n" for name, value in client.items()))
        return _tell(stack, settings)


def down(stack: Path) -> int:
    """End all that the stack has started, running flows too, and nothing else."""
    if not stack.exists():
        print(f"there is no stack in {stack}")
        return 0
    with _alone(stack):
        (stack / "env").unlink(missing_ok=True)
        if _supervised(stack) is not None:
            _supervisor(stack, "supervisorctl", "shutdown")
            _wait_until_gone(stack / "supervisor.pid")
        processes.end(processes.mark(stack))  # flow runs, and what a killed supervisor has left
    print(f"the stack in {stack} is down")
    return 0


def status(stack: Path) -> int:
    """Ask each part for its health; 1 if one is not healthy."""
    if not (stack / "settings.json").exists():
        raise Refused(f"there is no stack in {stack}; `make up` starts one")
    return _tell(stack, read_json(stack / "settings.json"))


@contextlib.contextmanager
def _alone(stack: Path) -> Iterator[None]:
    with (stack / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(stack: Path) -> None:
    """Start supervisor, with nothing in its environment that points the parts at other servers."""
    others = ("PREFECT_", "MLFLOW_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    _supervisor(stack, "supervisord", environment=environment)


def _restart_what_changed(stack: Path) -> None:
    _supervisor(stack, "supervisorctl", "update")
    _supervisor(stack, "supervisorctl", "start", "all")  # what somebody has stopped


def _supervisor(stack: Path, program: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    command = [BIN / program, "-c", stack / "supervisord.conf", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def _supervised(stack: Path) -> dict[str, str] | None:
    """What supervisor says of each part; None if it does not run."""
    if not (stack / "supervisord.conf").exists():
        return None
    command = [BIN / "supervisorctl", "-c", stack / "supervisord.conf", "status"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    told = (line.split(None, 1) for line in lines)
    said = {name.rpartition(":")[2]: text for name, text in told}
    return said if "postgres" in said else None


def _wait_until_gone(pid_file: Path) -> None:
    """Supervisor removes its file when the last part has ended."""
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    while pid_file.exists():
        if time.monotonic() > deadline:
            raise Refused(f"supervisor did not end in {SHUTDOWN_SECONDS:.0f} s; see log/supervisor.log")
        time.sleep(0.2)


def _wait_until_healthy(stack: Path, settings: dict[str, str]) -> list[str]:
    """Names of the parts that are not healthy when the time is over."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        said = _supervised(stack)
        sick = [part.name for part in parts_of(settings) if ask(part, said) != "ok"]
        if not sick or time.monotonic() > deadline:
            return sick
        time.sleep(1)


def _tell(stack: Path, settings: dict[str, str]) -> int:
    """Print health, address and log of each part; 1 if one is not healthy."""
    said = _supervised(stack)
    health = {part: ask(part, said) for part in parts_of(settings)}
    for part, text in health.items():
        scheme = "http" if part.health else "postgresql"
        address = f"{scheme}://127.0.0.1:{part.port}"
        print(f"{part.name:12} {text:8} {address:28} {stack}/log/{part.name}.log")
    if settings["AUTH"] == "on" and (stack / "env").exists():
        print(f"name and password: {stack / 'env'}")
    return int(any(text != "ok" for text in health.values()))


def _make_pool(client: dict[str, str]) -> None:
    """Make the work pool and its queues where they are not there yet."""
    pool = f"/work_pools/{POOL}"
    _make(client, pool, "/work_pools/", {"name": POOL, "type": "process"})
    for queue in QUEUES:
        _make(client, f"{pool}/queues/{queue}", f"{pool}/queues", {"name": queue})


def _make(client: dict[str, str], path: str, collection: str, body: dict[str, str]) -> None:
    if not _call(client, path):
        _call(client, collection, json.dumps(body).encode())


def _call(client: dict[str, str], path: str, body: bytes | None = None) -> bool:
    """Call Prefect's API; False if what is asked for is not there."""
    request = urllib.request.Request(client["PREFECT_API_URL"] + path, body, {"Content-Type": "application/json"})
    if known := client.get("PREFECT_API_AUTH_STRING"):
        request.add_header("Authorization", f"Basic {base64.b64encode(known.encode()).decode()}")
    try:
        urllib.request.urlopen(request, timeout=60).close()
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return False
    return True


if __name__ == "__main__":
    main()
