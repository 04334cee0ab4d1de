"""The tables of the embedded world as ingestion would divide them, kept on disk by what they were drawn from."""

import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from flows.config.data import Shares
from flows.data.splits import split_by_group
from flows.storage.locks import exclusive
from rlhf_core.data.array_cache import content_key
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.embedded_world.data import WorldConfig, generate
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_noise import agreement_ceiling

Row = TypeVar("Row")


class Data(NamedTuple):
    """The three tables by split.

    Attributes:
        demonstrations: `train` and `test`.
        pairs: `train`, `judge` and `test`.
        prompts: `train` and `test`.
        ceiling: agreement that a perfect judge would reach, by the repeated votes; None where none are repeated.
    """

    demonstrations: Mapping[str, list[Demonstration]]
    pairs: Mapping[str, list[Pair]]
    prompts: Mapping[str, list[str]]
    ceiling: Estimate | None


def draw(world: WorldConfig, shares: Shares, seed: int) -> Data:
    """Draw the tables and divide them by prompt, as ingestion does; a prompt held out of one is held out of all.

    Args:
        world: sizes and annotators.
        shares: how tables are divided.
        seed: seed of the draw.
    """
    drawn = generate(world, seed=seed)
    ceiling = agreement_ceiling(
        *([row[name] for row in drawn.preferences] for name in ("votes_chosen", "votes_rejected")),
        groups=[row["group"] for row in drawn.preferences],
    )
    return Data(
        demonstrations=_divide(drawn.demonstrations, shares, lambda row: Demonstration(row["prompt"], row["response"])),
        pairs=_divide(
            drawn.preferences, shares, lambda row: Pair(row["prompt"], row["chosen"], row["rejected"]), judge=True
        ),
        prompts=_divide(drawn.prompts, shares, lambda row: str(row["prompt"])),
        ceiling=Estimate(*ceiling) if ceiling else None,
    )


def digests(data: Data) -> dict[str, str]:
    """A digest of every part of the tables, such as `pairs.train`, by which stages know what they read."""
    parts = {
        f"{table}.{split}": rows
        for table in ("demonstrations", "pairs", "prompts")
        for split, rows in getattr(data, table).items()
    }
    return {name: content_key(rows) for name, rows in {**parts, "ceiling": data.ceiling}.items()}


def kept(path: Path, make: Callable[[], Data]) -> Data:
    """Tables that were made before under this path, or made now; the file appears whole or not at all."""
    with exclusive(path.with_suffix(".lock")):
        if path.exists():
            found: Data = pickle.loads(path.read_bytes())
            return found
        made = make()
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps(made))
        part.replace(path)
    return made


def _divide(
    rows: list[dict[str, Any]], shares: Shares, record: Callable[[dict[str, Any]], Row], *, judge: bool = False
) -> dict[str, list[Row]]:
    """Rows as records by split, in their order."""
    splits: Iterable[object] = split_by_group([row["group"] for row in rows], shares, judge=judge)
    divided: dict[str, list[Row]] = {name: [] for name in ("train", *(["judge"] if judge else []), "test")}
    for row, split in zip(rows, splits, strict=True):
        divided[str(split)].append(record(row))
    return divided
