"""The figures of a comparison as a table."""

import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

OTHER_WORK = ("ours, shared trunk", "ours, rollout")
"""Sides that do not do what the limit is computed for."""


def show(result: dict[str, Any]) -> None:
    """Print the figures of one comparison."""
    table = Table(title=f"{result['stage']}, {result['model']} model, {result['data']} lengths, TRL {result['trl']}")
    for heading in ("side", "tokens/s [range]", "ours is faster by", "s/step", "x limit", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    ours = rates(result, "ours")
    for name in result["turns"][0]:
        found = rates(result, name)
        ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, found, strict=True))
        seconds = statistics.median(_seconds(turn[name]) for turn in result["turns"])
        over_limit = statistics.median(
            _seconds(turn[name]) * rate / flops
            for turn, rate, flops in zip(result["turns"], result["matmul_rates"], result["flops_per_turn"], strict=True)
        )
        table.add_row(
            name,
            f"{statistics.median(found):.0f} [{min(found):.0f}, {max(found):.0f}]",
            "" if name.startswith("ours") else f"{ratio:.2f}",
            f"{seconds:.3f}",
            "" if name in OTHER_WORK else f"{over_limit:.2f}",
            f"{max(turn[name]['peak_mib'] for turn in result['turns']):.0f}",
        )
    console = Console()
    console.print(table)
    if result["stage"] == "ppo":
        sampled = rates(result, "ours, rollout")
        drawn = result["batches"]["size"] * result["response_tokens"]
        theirs = [drawn / _seconds(turn["TRL padded"], "rollout_seconds") for turn in result["turns"]]
        ratio = statistics.median(mine / other for mine, other in zip(sampled, theirs, strict=True))
        console.print(f"rollout: TRL {statistics.median(theirs):.0f} tokens/s, ours faster by {ratio:.2f}")
        shared = rates(result, "ours, shared trunk")
        padded = rates(result, "TRL padded")
        ratio = statistics.median(mine / other for mine, other in zip(shared, padded, strict=True))
        console.print(f"with a shared trunk, which is other mathematics than TRL's: ours faster by {ratio:.2f}")
    if result["stage"] == "dpo":
        console.print(_later_epochs(result["turns"]))
    console.print(f"largest relative difference of the losses: {result['loss_gap']:.1e}")


def rates(result: dict[str, Any], name: str) -> list[float]:
    """Tokens a second of each turn of a side."""
    return [_tokens(turn[name]) / _seconds(turn[name]) for turn in result["turns"]]


def _later_epochs(turns: list[dict[str, Any]]) -> str:
    """DPO once the log-probabilities under the reference are known."""

    def speeds(name: str) -> list[float]:
        return [
            _tokens(turn[name]) / (_seconds(turn[name]) - _seconds(turn[name], "reference_seconds")) for turn in turns
        ]

    ours, theirs = speeds("ours"), speeds("TRL precomputed")
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return (
        f"without the reference's pass, as in later epochs: TRL precomputed {statistics.median(theirs):.0f} tokens/s, "
        f"ours {statistics.median(ours):.0f}, faster by {ratio:.2f}"
    )


def _tokens(run: dict[str, Any]) -> float:
    return statistics.mean(step["tokens"] for step in run["steps"])


def _seconds(run: dict[str, Any], kind: str = "seconds") -> float:
    return statistics.mean(step[kind] for step in run["steps"])
