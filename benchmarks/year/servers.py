"""A year on the stack of `make up`: PostgreSQL, both servers, the receiver and two workers, from a copy of the code."""

import contextlib
import copy
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from dotenv import dotenv_values
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks.year.configuration import PROJECT
from benchmarks.year.ground import Climbed, Ending, Ground, Said, cpu_seconds, is_training, kill
from flows.deploy.pages import free_port

ROOT = Path(__file__).parents[2]
CODE = ("flows", "rlhf_core", "data_contracts", "infra", "configs", "pyproject.toml")
"""What the stack runs on, copied so that an incident may change it."""
PORTS = {"POSTGRES_PORT": 5633, "PREFECT_PORT": 4400, "MLFLOW_PORT": 5200, "RECEIVER_PORT": 5250, "WORKER_PORT": 4410}
WORKERS = 2
BIN = Path(sys.executable).parent
POLL_SECONDS = 1.0
GONE_SECONDS = 30.0
"""After which a run whose processes are gone is a crash, whatever Prefect says of it."""
START_SECONDS = 240.0
"""In which a worker takes a run, and a promotion starts one."""
LIMIT_SECONDS = 1800.0


class Servers:
    """The stack in a folder of its own.

    Args:
        folder: of the year; the user of PostgreSQL must be able to enter the folders above it.
    """

    has_stack = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack, self._code = folder / "stack", folder / "code"
        self._run: UUID | None = None

    def begin(self) -> None:
        """Start the stack, and deploy the project."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)
        for name in () if self._code.exists() else CODE:
            source, target = ROOT / name, self._code / name
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        self._up()
        deployed = self.rlhf("deploy", str(self.folder / "ladder.yaml"), "--set", f"deploy.gpus={WORKERS}")
        if deployed.code:
            raise RuntimeError(f"rlhf deploy: {deployed.text}")

    def end(self) -> list[str]:
        """End the stack; the commands of its processes that are left nevertheless."""
        self._call(sys.executable, "infra/stack.py", "down")
        return [_command(process) for process in self._processes()]

    def climb(self, name: str, settings: Mapping[str, object], disturb: Callable[[Ground], None] | None) -> Climbed:
        """Run the ladder's deployment once, as `Ground.climb` says."""
        before, started, spent = time.time(), time.monotonic(), dict[int, float]()
        with self._prefect() as client:
            self._run = run = _start(client, name, settings)
        seen = time.monotonic()
        while (ended := self._ended(run)) is None and time.monotonic() - started < LIMIT_SECONDS:
            alive = self.climbing()
            spent |= {process: used for process in alive if (used := cpu_seconds(process)) is not None}
            if alive:
                seen = time.monotonic()
            elif spent and time.monotonic() - seen > GONE_SECONDS:
                break
            if disturb and is_training(self.folder / "storage", before):
                disturb(self)
                disturb = None
            time.sleep(POLL_SECONDS)
        ending, said = (_ending(ended), _message(ended)) if ended else ("crashed", "its processes are gone")
        return Climbed(ending, said[-3000:], time.monotonic() - started, sum(spent.values()))

    def settle(self, reward_model: str) -> None:
        """Wait for runs of the policy's deployment.

        Raises:
            TimeoutError: if the promotion started none, or one does not end.
        """
        note = self.folder / "settled.json"
        last = json.loads(note.read_text("utf-8")) if note.exists() else {"reward_model": "", "runs": []}
        deadline = time.monotonic() + START_SECONDS
        while True:
            runs = self._runs(f"rlhf-policy/{PROJECT}")
            new = [run for run in runs if str(run.id) not in last["runs"]]
            started = any(run.parameters.get("reward_model") == reward_model for run in new)
            started = started or reward_model == last["reward_model"]
            if started and all(map(_is_final, runs)):
                break
            if time.monotonic() > deadline + LIMIT_SECONDS * started:
                raise TimeoutError(
                    f"{reward_model} is champion: its policy run has not {'ended' if started else 'begun'}"
                )
            time.sleep(POLL_SECONDS)
        note.write_text(json.dumps({"reward_model": reward_model, "runs": [str(run.id) for run in runs]}), "utf-8")

    def rlhf(self, *arguments: str) -> Said:
        """Run a command to its end."""
        return self.at_once([arguments])[0]

    def at_once(self, commands: Sequence[Sequence[str]]) -> list[Said]:
        """Run commands side by side; the CPU time of each is that of all of them."""
        before = _children_seconds()
        running = [
            subprocess.Popen(
                [str(BIN / "rlhf"), *command],
                cwd=self.folder,
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for command in commands
        ]
        texts = [each.communicate()[0] for each in running]
        spent = _children_seconds() - before
        return [Said(each.returncode, text, spent) for each, text in zip(running, texts, strict=True)]

    def climbing(self) -> list[int]:
        """Processes whose environment names the flow run."""
        return [] if self._run is None else self._processes(f"PREFECT__FLOW_RUN_ID={self._run}")

    def supervise(self, action: str, part: str) -> None:
        """Call supervisorctl; the workers are the part `worker:*`."""
        self._call(str(BIN / "supervisorctl"), "-c", str(self._stack / "supervisord.conf"), action, part)

    def reboot(self) -> None:
        """Kill supervisor and all that it started, and start the stack again."""
        supervisor = int((self._stack / "supervisor.pid").read_text())
        kill([supervisor, *self._processes()])
        self._up()

    def unfinished(self) -> list[str]:
        """Names of all runs of the deployments that have not ended."""
        deployments = (f"rlhf-ladder/{PROJECT}", f"rlhf-policy/{PROJECT}")
        return [run.name for name in deployments for run in self._runs(name) if not _is_final(run)]

    def _up(self) -> None:
        first = not (self._stack / "settings.json").exists()
        ports = {name: str(free_port(wanted)) for name, wanted in PORTS.items()} if first else {}
        self._call(sys.executable, "infra/stack.py", "up", WORKERS=str(WORKERS), OMP_NUM_THREADS="1", **ports)
        os.environ |= {name: value for name, value in dotenv_values(self._stack / "env").items() if value}
        os.environ["PREFECT_LOCAL_STORAGE_PATH"] = str(self.folder / "storage" / "results")

    def _call(self, *command: str, **environment: str) -> None:
        subprocess.run(command, cwd=self._code, env=self._environment() | environment, check=True)

    def _environment(self) -> dict[str, str]:
        return os.environ | {"STACK": str(self._stack), "PYTHONPATH": str(self._code), "COLUMNS": "1000"}

    def _processes(self, *marks: str) -> list[int]:
        """Processes of the stack whose environment holds some marks."""
        wanted = {text.encode() for text in (f"SUPERVISOR_SERVER_URL=unix://{self._stack}/supervisor.sock", *marks)}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                    found.append(int(folder.name))
        return found

    @contextlib.contextmanager
    def _prefect(self) -> Iterator[SyncPrefectClient]:
        with (
            temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}),
            get_client(sync_client=True) as client,
        ):
            yield client

    def _ended(self, identity: UUID) -> FlowRun | None:
        """A run that has ended; None where it has not, or Prefect does not answer."""
        with contextlib.suppress(httpx.HTTPError, RuntimeError), self._prefect() as client:
            run = client.read_flow_run(identity)
            return run if _is_final(run) else None
        return None

    def _runs(self, deployment: str) -> list[FlowRun]:
        with self._prefect() as client:
            known = client.read_deployment_by_name(deployment)
            only = FlowRunFilter.model_validate({"deployment_id": {"any_": [known.id]}})
            return client.read_flow_runs(flow_run_filter=only, limit=200)


def _start(client: SyncPrefectClient, name: str, settings: Mapping[str, object]) -> UUID:
    """A run of the ladder's deployment; the one that there is, if it has been started before."""
    deployment = client.read_deployment_by_name(f"rlhf-ladder/{PROJECT}")
    parameters: dict[str, Any] = copy.deepcopy(deployment.parameters)
    for dotted, value in settings.items():
        *parents, leaf = dotted.split(".")
        section = parameters["config"]
        for parent in parents:
            section = section[parent]
        section[leaf] = value
    return client.create_flow_run_from_deployment(deployment.id, parameters=parameters, idempotency_key=name).id


def _is_final(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()


def _message(run: FlowRun) -> str:
    return str(run.state.message or "") if run.state else ""


def _ending(run: FlowRun) -> Ending:
    """How a run ended, by the name of its state and the exception that it tells."""
    if run.state_name in ("Completed", "NothingToRetrain"):
        return "done" if run.state_name == "Completed" else "nothing new"
    said = _message(run)
    kinds: dict[Ending, tuple[str, ...]] = {"gate": ("StoppedByGate",), "refused": ("DataRefused", "InputError")}
    return next((ending for ending, names in kinds.items() if any(name in said for name in names)), "crashed")


def _children_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _command(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    return str(process)
