"""Compute settings: ranks, time-outs, checkpoints. No result depends on them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.units import Machines, Price, Processes, Seconds

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

    def time_out(self, stage: str) -> float | None:
        """Seconds that a stage may take; None for any."""
        return next((seconds for name, seconds in self.time_outs.items() if name == stage), None)

    @property
    def ranks(self) -> int:
        """All ranks of a stage."""
        return self.processes * self.nodes
