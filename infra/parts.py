"""The parts of the stack: where they are, and what they say of their health."""

import socket
import subprocess
import urllib.request
from typing import NamedTuple

import postgres
from postgres import Refused


class Part(NamedTuple):
    """A part of the stack: its name for supervisor, its port, and the path where it tells its health."""

    name: str
    port: int
    health: str = ""


def parts_of(settings: dict[str, str]) -> list[Part]:
    """All parts, in the order in which they come up."""
    first = int(settings["WORKER_PORT"])
    return [
        Part("postgres", int(settings["POSTGRES_PORT"])),
        Part("prefect", int(settings["PREFECT_PORT"]), "/api/ready"),
        Part("mlflow", int(settings["MLFLOW_PORT"]), "/health"),
        Part("receiver", int(settings["RECEIVER_PORT"]), "/health"),
        *(Part(f"worker-{port}", port, "/health") for port in range(first, first + int(settings["WORKERS"]))),
    ]


def refuse_taken_ports(settings: dict[str, str], before: dict[str, str]) -> None:
    """Refuse ports that somebody else has; those that the running stack had before are its own."""
    ours = {part.port for part in parts_of(before)} if before else set()
    for part in parts_of(settings):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                if part.port not in ours:
                    probe.bind(("127.0.0.1", part.port))
            except OSError as error:
                name = f"{part.name.partition('-')[0].upper()}_PORT"
                raise Refused(f"port {part.port} is taken ({error}): `make up {name}=...` names another one") from None


def ask(part: Part, said: dict[str, str] | None) -> str:
    """`ok`, or what is the matter with a part."""
    state = (said or {}).get(part.name, "not supervised")
    if not state.startswith("RUNNING"):
        return state
    if not part.health:
        asked_of = ("-h", "127.0.0.1", "-p", str(part.port), "-U", postgres.ROLE, "-d", "prefect")
        command = [postgres.programs() / "pg_isready", *asked_of]
        done = subprocess.run(command, capture_output=True, text=True)
        return "ok" if done.returncode == 0 else done.stdout.strip()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{part.port}{part.health}", timeout=10):
            return "ok"
    except OSError as error:
        return str(error)
