"""One rank of a stage, started by torchrun: by `flows.stages.torchrun` on the first node, by a person on others."""

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cloudpickle

from flows.config.redaction import redact
from flows.stages.journal import journaled
from rlhf_core.distributed import from_first, joined, rank
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.doing import heard_by
from rlhf_core.training.stage import OutOfTime, Stage, StageResult

EVENT = "rlhf-event "

DOING = "rlhf-doing "
"""Begins a line on what is done beside the steps."""

JOB = "job.pkl"

RESULT = "result.pkl"

ERROR = ".error.json"
"""After the number of a rank: torchrun's own error files have times in whole seconds, and it may read half of one."""


class Job(NamedTuple):
    """A stage as it travels to its ranks.

    Attributes:
        start: begins the training; called with the folder to write to and the states.
        out: the folder to write to.
        states: where the stage keeps its states, None for nowhere.
        every_seconds: how often.
        until: when it keeps its last state, as of `Checkpoints`.
        fsdp: whether FSDP2 shards the models.
    """

    start: Callable[[Path, Checkpoints], Stage]
    out: Path
    states: Path | None
    every_seconds: float
    until: float = math.inf
    fsdp: bool = False

    def begin(self) -> Stage:
        """The stage, in this process."""
        stage = self.start(self.out, Checkpoints(self.states, every_seconds=self.every_seconds, until=self.until))
        return journaled(stage, self.states)


def main() -> None:
    """Run the stage whose folder is the first node's argument; rank 0 says its events and leaves its result there."""
    with joined():
        work = (Path(sys.argv[1]) / JOB).read_bytes() if rank() == 0 else b""
        job, folder = cloudpickle.loads(from_first(work))
        try:
            with heard_by(lambda what: print(DOING + json.dumps(what), flush=True)):
                ended = _run(job)
            if rank() == 0:
                (folder / RESULT).write_bytes(cloudpickle.dumps(ended))
        except BaseException:
            error = {"rank": rank(), "at": time.time(), "error": redact(traceback.format_exc())}
            (folder / f"{rank()}{ERROR}").write_text(json.dumps(error))
            raise


def _run(job: Job) -> StageResult | OutOfTime:
    """The stage on this rank; what it came to, or that its time was over before."""
    os.environ["ACCELERATE_USE_FSDP"] = str(job.fsdp)
    stage = job.begin()
    while True:
        try:
            event = next(stage)
        except StopIteration as end:
            result: StageResult = end.value
            return result
        except OutOfTime as over:
            return over
        if rank() == 0:
            print(EVENT + json.dumps(event), flush=True)


if __name__ == "__main__":
    main()
