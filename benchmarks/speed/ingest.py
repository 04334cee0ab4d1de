"""How the cost of ingestion grows with the number of pairs, beside plain pandas and Pandera, and plain polars.

`python -m benchmarks.speed.ingest run` writes made-up pairs and measures every size in processes of its own, in turns:
processor seconds, which other work on the machine hardly changes, and the largest memory.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

RESULTS = Path(__file__).parents[1] / "results" / "ingest.json"
SIZES = [10_000, 100_000, 1_000_000]
REAL_LENGTH_SIZE = 200_000
WORDS = tuple(f"{a}{b}" for a in ("wa", "tri", "plo", "ne", "gu", "sal") for b in ("ter", "nd", "per", "le", "m", "sh"))
SIDES = ("ours", "pandas", "polars")
"""Polars is no dependency of the project; without it its side is left out."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}

app = typer.Typer(add_completion=False)


@app.command()
def run(
    results: Path = RESULTS,
    sizes: Annotated[list[int] | None, typer.Option(help="Counts of pairs of about 1 kB, such as 10000000.")] = None,
    real: Annotated[
        int, typer.Option(help="Count of pairs as long as those of HH-RLHF; 0 for none.")
    ] = REAL_LENGTH_SIZE,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side takes its turn.")] = 1,
    note: Annotated[str, typer.Option(help="What else ran on the machine, kept with the figures.")] = "",
) -> None:
    """Measure all sizes, the sides in turns, and keep the figures."""
    from benchmarks.common.machine import machine  # noqa: PLC0415 imports torch, which no point needs

    sides = SIDES if find_spec("polars") else SIDES[:2]
    points: list[dict[str, Any]] = []
    for lengths, pairs in [*(("1 kB", size) for size in sizes or SIZES), *([("HH-RLHF", real)] if real else [])]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pairs.jsonl"
            write_pairs(path, pairs, lengths)
            for turn in range(rounds):
                for side in sides:
                    command = [sys.executable, "-m", "benchmarks.speed.ingest", "point", side, str(path)]
                    done = subprocess.run(
                        command, capture_output=True, text=True, check=True, env=os.environ | ONE_THREAD
                    )
                    figures = json.loads(done.stdout.splitlines()[-1])
                    size = {"lengths": lengths, "pairs": pairs, "bytes": path.stat().st_size}
                    points.append({"side": side, "round": turn, **size, **figures})
                    typer.echo(
                        f"{side} {pairs} {lengths}: {figures['cpu_seconds']:.1f} CPU-s, {figures['peak_mib']:.0f} MiB"
                    )
    results.parent.mkdir(exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    said = {"commit": commit.stdout.strip(), "note": note}
    results.write_text(json.dumps({"machine": machine() | said, "points": points}, indent=1) + "\n")


@app.command()
def point(side: str, path: Path) -> None:
    """Ingest one file and print processor seconds, imports among them, and memory as JSON."""
    from flows.data.step_timer import Clock  # noqa: PLC0415 what a point imports is part of its memory

    clock = Clock(time.process_time)
    with clock.step("all"), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        {"ours": ours, "pandas": pandas_script, "polars": polars_script}[side](path, Path(folder), clock)
    clock.seconds.pop("all")
    print(
        json.dumps(
            {
                "cpu_seconds": time.process_time(),
                "peak_mib": max(clock.peak_mib.values()),
                "seconds": dict(clock.seconds),
                "peak_mib_after": clock.peak_mib,
            }
        )
    )


def ours(path: Path, folder: Path, clock: Any) -> None:
    """Both passes, suites, audit and snapshot, as `rlhf ingest` takes them."""
    started = time.process_time()
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

    clock.seconds["imports"] = time.process_time() - started
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


def pandas_script(path: Path, folder: Path, clock: Any) -> None:
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


def polars_script(path: Path, folder: Path, clock: Any) -> None:
    """The same by polars: the same rules, positions by the same hash, and a digest of the same rows."""
    import polars as pl  # noqa: PLC0415 as above

    names = ("prompt", "chosen", "rejected")
    with clock.step("read"):
        frame = pl.read_ndjson(path, schema=dict.fromkeys(names, pl.String))
    with clock.step("validate"):
        for name in names:
            cells = frame[name]
            assert not cells.null_count() and (cells.str.strip_chars() != "").all()
            assert (cells.str.len_chars() <= 10**6).all()
        assert (frame["chosen"] != frame["rejected"]).all() and not frame.is_duplicated().any()
        swapped = frame.rename({"chosen": "rejected", "rejected": "chosen"})
        assert frame.join(swapped, on=list(names), how="semi").is_empty()
    with clock.step("split"):
        places = [hashlib.sha256(prompt.encode()).digest()[0] / 256 for prompt in frame["prompt"]]
        place = pl.Series("place", places)
        frame = frame.with_columns(
            split=pl.when(place <= 0.15)
            .then(pl.lit("test"))
            .when(place <= 0.35)
            .then(pl.lit("judge"))
            .otherwise(pl.lit("train"))
        )
        held_out = frame.filter(pl.col("split") == "test")["prompt"].unique()
        assert not frame.filter(pl.col("split") != "test")["prompt"].is_in(held_out.implode()).any()
    with clock.step("write"):
        digests = sorted(hashlib.sha256(json.dumps(row).encode()).digest() for row in frame.iter_rows())
        frame.write_parquet(folder / f"{hashlib.sha256(b''.join(digests)).hexdigest()}.parquet", compression="snappy")


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
