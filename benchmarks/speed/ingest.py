"""How the cost of ingestion grows with the number of pairs, beside a plain pandas and Pandera script.

`python -m benchmarks.speed.ingest` writes made-up pairs and measures every size in a process of its own.
"""

import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

RESULTS = Path(__file__).parents[1] / "results" / "ingest.json"
SIZES = [10_000, 100_000, 1_000_000]
REAL_LENGTH_SIZE = 200_000
WORDS = tuple(f"{a}{b}" for a in ("wa", "tri", "plo", "ne", "gu", "sal") for b in ("ter", "nd", "per", "le", "m", "sh"))

app = typer.Typer(add_completion=False)


@app.command()
def run(
    results: Path = RESULTS,
    sizes: Annotated[list[int] | None, typer.Option(help="Counts of pairs of about 1 kB.")] = None,
    real: Annotated[int, typer.Option(help="Count of pairs as long as those of HH-RLHF.")] = REAL_LENGTH_SIZE,
) -> None:
    """Measure all sizes, ours and the plain script in turns, and keep the figures."""
    from benchmarks.common.machine import machine  # noqa: PLC0415 imports torch, which no point needs

    points = []
    for lengths, pairs in [*(("1 kB", size) for size in sizes or SIZES), ("HH-RLHF", real)]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pairs.jsonl"
            write_pairs(path, pairs, lengths)
            for side in ("ours", "plain"):
                command = [sys.executable, "-m", "benchmarks.speed.ingest", "point", side, str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                figures = json.loads(done.stdout.splitlines()[-1])
                points.append(
                    {"side": side, "lengths": lengths, "pairs": pairs, "bytes": path.stat().st_size, **figures}
                )
                typer.echo(f"{side} {pairs} {lengths}: {figures['total_seconds']:.1f} s, {figures['peak_mib']:.0f} MiB")
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps({"machine": machine(), "points": points}, indent=1) + "\n")


@app.command()
def point(side: str, path: Path) -> None:
    """Ingest one file and print time and memory as JSON."""
    from flows.data.step_timer import Clock  # noqa: PLC0415 what a point imports is part of its memory

    clock = Clock()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        {"ours": ours, "plain": plain}[side](path, Path(folder), clock)
    total = time.perf_counter() - started
    print(
        json.dumps(
            {
                "total_seconds": total,
                "peak_mib": max(clock.peak_mib.values()),
                "seconds": dict(clock.seconds),
                "peak_mib_after": clock.peak_mib,
            }
        )
    )


def ours(path: Path, folder: Path, clock: Any) -> None:
    """Both passes, suites, audit and snapshot, as `rlhf ingest` takes them."""
    from data_contracts.suites.checks import Suites  # noqa: PLC0415 as above
    from flows.config.data import (  # noqa: PLC0415
        ContractConfig,
        FileData,
        FileSource,
        Shares,
    )
    from flows.data.audits.labels import measure_labels  # noqa: PLC0415
    from flows.data.sources import open_sources  # noqa: PLC0415
    from flows.data.tables import make_tables  # noqa: PLC0415

    reads = open_sources(FileData(preferences=(FileSource(path=str(path)),)), seed=0)
    contract = ContractConfig()
    made = make_tables(reads, Shares(), contract, folder=folder / "work", clock=clock, near=contract.near_held_out)
    (table,) = made.values()
    assert not table.problems() and table.counts.quarantined == 0
    with clock.step("suites"):
        assert not Suites(folder / "docs").check("preferences", table.numbers).broken
    with clock.step("what labels are worth"):
        assert measure_labels(table).floors
    with clock.step("verify and publish"):
        table.snapshot.publish("preferences", folder)


def plain(path: Path, folder: Path, clock: Any) -> None:
    """The same checks, splits and digest by pandas and Pandera on the whole table."""
    import pandas as pd  # noqa: PLC0415 as above
    import pandera.pandas as pa  # noqa: PLC0415

    with clock.step("read"):
        frame = pd.read_json(path, lines=True, dtype=False)
    with clock.step("validate"):
        text = pa.Column(
            str, [pa.Check(lambda cells: cells.str.strip() != ""), pa.Check(lambda c: c.str.len() <= 10**6)]
        )
        names = ("prompt", "chosen", "rejected")
        differ = pa.Check(lambda table: table["chosen"] != table["rejected"])
        pa.DataFrameSchema(dict.fromkeys(names, text), checks=differ, unique=list(names)).validate(frame, lazy=True)
        swapped = frame.rename(columns={"chosen": "rejected", "rejected": "chosen"})
        assert frame.merge(swapped, on=list(names)).empty
    with clock.step("split"):
        places = frame["prompt"].map(lambda prompt: hashlib.sha256(prompt.encode()).digest()[0] / 256)
        frame["split"] = pd.cut(places, [-1, 0.15, 0.35, 1], labels=["test", "judge", "train"]).astype(str)
        held_out = frame.loc[frame["split"] == "test", "prompt"].unique()
        assert not frame.loc[frame["split"] != "test", "prompt"].isin(held_out).any()
    with clock.step("write"):
        rows = zip(*(frame[name] for name in frame), strict=True)
        digests = sorted(hashlib.sha256(json.dumps(row).encode()).digest() for row in rows)
        frame.to_parquet(folder / f"{hashlib.sha256(b''.join(digests)).hexdigest()}.parquet", index=False)


def write_pairs(path: Path, pairs: int, lengths: str) -> None:
    """Write made-up pairs as JSON Lines."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number, (prompt, chosen, rejected) in enumerate(word_counts(rng, pairs, lengths)):
            row = {
                "prompt": f"{number} {' '.join(rng.choices(WORDS, k=prompt))}",
                "chosen": " ".join(rng.choices(WORDS, k=chosen)),
                "rejected": " ".join(rng.choices(WORDS, k=rejected)),
            }
            file.write(json.dumps(row) + "\n")


def word_counts(rng: random.Random, pairs: int, lengths: str) -> Iterator[tuple[int, int, int]]:
    """Words of prompt, chosen and rejected: about 1 kB, or log-normal with the median and 95 % quantile of HH-RLHF."""
    for _ in range(pairs):
        if lengths == "1 kB":
            yield 50, rng.randint(55, 75), rng.randint(55, 75)
        else:
            yield tuple(max(2, round(rng.lognormvariate(mu, 0.82))) for mu in (4.4, 3.3, 3.5))  # type: ignore[misc]


if __name__ == "__main__":
    app()
