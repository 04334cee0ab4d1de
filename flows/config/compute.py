"""Compute settings: ranks, time-outs, checkpoints. No result depends on them."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.units import Cost, Hours, Machines, Price, Processes, Seconds

TrainedStage = Literal["base", "sft", "reward-model", "judge", "policy"]


class ComputeConfig(Frozen):
    """Ranks of SFT, reward models and PPO; the base is made by one process."""

    processes: Processes = Field(1, ge=1, le=1024)
    """Ranks on each node: one for each GPU. On processors they share the threads."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """`ddp` keeps weights, gradients and moments whole on every rank, `fsdp` (FSDP2) shards them."""
    nodes: Machines = Field(1, ge=1, le=10_000)
    """Machines; all see the storage, and on all but the first `torchrun` starts `-m flows.stages.worker`."""
    address: str | None = Field(None, pattern=r"^[\w.-]+:\d+$")
    """host:port of the first node, where the ranks meet; needed with several nodes."""
    price_per_hour: Price | None = Field(None, ge=0)
    """What an hour of all machines together costs, in any currency; None leaves the cost of a stage unknown."""
    max_hours: Hours | None = Field(None, gt=0)
    """Time after which a climb, or a round of it, keeps the state of its stage and stops; run it again to go on."""
    max_cost: Cost | None = Field(None, gt=0)
    """What a climb, or a round of it, may cost at `price_per_hour` before it stops as it does after `max_hours`."""
    checkpoint_seconds: Seconds | None = Field(300.0, ge=0)
    """Time between two states that a stage keeps, longer where writing one takes long; None keeps none."""
    time_outs: dict[TrainedStage, Annotated[Seconds, Field(gt=0)]] = Field(default_factory=dict)
    """Time after which a stage is stopped and its run fails, by stage; the next run goes on from its last state."""

    @model_validator(mode="after")
    def _nodes_know_where_to_meet(self) -> "ComputeConfig":
        if self.nodes > 1 and self.address is None:
            raise ValueError(f"{self.nodes} nodes need an address to meet at; set address to host:port of the first")
        if self.address is not None and not 0 < int(self.address.rpartition(":")[2]) < 2**16:
            raise ValueError(f"address {self.address} has no port from 1 to 65535; write host:port of the first node")
        return self

    @model_validator(mode="after")
    def _budget_can_be_kept(self) -> "ComputeConfig":
        if self.max_cost is not None and not self.price_per_hour:
            raise ValueError("max_cost needs the price of an hour; set price_per_hour")
        if self.budget_seconds < math.inf and self.checkpoint_seconds is None:
            raise ValueError("a climb that stops after max_hours or max_cost keeps its state; set checkpoint_seconds")
        return self

    @property
    def budget_seconds(self) -> float:
        """What `max_hours` and `max_cost` leave a climb; infinite without both."""
        hours = [] if self.max_hours is None else [self.max_hours]
        if self.max_cost is not None and self.price_per_hour:
            hours.append(self.max_cost / self.price_per_hour)
        return 3600 * min(hours, default=math.inf)

    def time_out(self, stage: str) -> float | None:
        """Seconds that a stage may take; None for any."""
        return next((seconds for name, seconds in self.time_outs.items() if name == stage), None)

    @property
    def ranks(self) -> int:
        """All ranks of a stage."""
        return self.processes * self.nodes
