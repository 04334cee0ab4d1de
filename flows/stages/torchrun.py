"""A stage on several ranks by torchrun; its events come back as those of one process."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import torch

from flows.config.compute import ComputeConfig
from flows.config.redaction import redact
from flows.stages.worker import DOING, ERROR, EVENT, JOB, RESULT, Job
from rlhf_core.training.doing import doing
from rlhf_core.training.stage import Event, OutOfTime, Stage, StageResult

STDERR = "stderr.log"

GRACE_SECONDS = 30.0
"""What torchrun gets to end its ranks before it is killed."""


def launch(job: Job, folder: Path, compute: ComputeConfig, *, threads: int | None) -> Stage:
    """Run a stage on all ranks.

    Args:
        job: the stage.
        folder: takes job, result and what the ranks say.
        compute: how many ranks there are and where they meet.
        threads: CPU threads that the ranks of this node share; None for as many as torch would take.

    Yields:
        The events of rank 0.

    Returns:
        Its result.

    Raises:
        OutOfTime: as the ranks did.
        RuntimeError: naming the rank that failed first, with its own error.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / JOB).write_bytes(cloudpickle.dumps((job, folder)))
    share = max((threads or torch.get_num_threads()) // compute.processes, 1)
    with (folder / STDERR).open("w") as stderr, _torchrun(folder, compute, share, stderr.fileno()) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(EVENT):
                yield Event(*json.loads(line.removeprefix(EVENT)))
            elif line.startswith(DOING):
                doing(json.loads(line.removeprefix(DOING)))
        if process.wait() != 0:
            raise RuntimeError(_failure(folder))
    ended: StageResult | OutOfTime = cloudpickle.loads((folder / RESULT).read_bytes())
    if isinstance(ended, OutOfTime):
        raise ended
    return ended


@contextmanager
def _torchrun(folder: Path, compute: ComputeConfig, threads: int, stderr: int) -> Iterator[subprocess.Popen[str]]:
    """Start the ranks of the first node; they end before this does.

    Ranks write events to a pipe, so that they also end where this process is killed and nobody reads them any more.
    """
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={compute.processes}"]
    if compute.address is None:
        command += ["--standalone"]
    else:
        host, _, port = compute.address.rpartition(":")
        command += [f"--nnodes={compute.nodes}", "--node-rank=0", f"--master-addr={host}", f"--master-port={port}"]
    process = subprocess.Popen(
        [*command, "-m", "flows.stages.worker", str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,  # Ctrl-C comes here, and from here to the ranks
    )
    try:
        with process:
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _failure(folder: Path) -> str:
    """Which rank failed first, and why; a rank that was killed cannot say so itself, and what others say follows."""
    output = redact((folder / STDERR).read_text())
    killed = re.search(r"rank\s*: (\d+).*\n(?:.*\n){0,3}?.*(Signal \d+ \((?!SIGTERM).*)", output)
    if killed is not None:
        return f"rank {killed.group(1)} failed: {killed.group(2)}"
    errors = [json.loads(path.read_text()) for path in folder.glob(f"*{ERROR}")]
    if not errors:
        return f"the ranks did not start:\n{output[-4000:]}"
    first = min(errors, key=lambda error: float(error["at"]))
    return f"rank {first['rank']} failed: {first['error']}"
