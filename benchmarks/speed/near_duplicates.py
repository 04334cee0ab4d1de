"""What finds nearly held-out prompts, how fast and how many of them: our exact search beside MinHash LSH of datasketch.

`python -m benchmarks.speed.near_duplicates run --data FOLDER` takes real prompts, of the folder `hh-rlhf` of public
data, with a third of their words replaced; it needs `pip install datasketch==2.0.0`, which is no dependency.
"""

import gzip
import json
import math
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from flows.data.near_duplicates import NOMINATING, HeldOutPrompts, Nearest, _word_pairs
from flows.storage.text_hashes import loose_text

RESULTS = Path(__file__).parents[1] / "results" / "near_duplicates.json"
SIZES = [10_000, 100_000, 1_000_000]
SIMILARITIES = (0.5, 0.6, 0.7, 0.8, 0.9)
HELD_OUT = 0.15
RECALL = 0.99
NO_PAIRS = np.empty(0, dtype=np.uint32)
SIDES = ("ours", "datasketch", "datasketch, rare pairs")

app = typer.Typer(add_completion=False)


class MinHashCandidates:
    """Held-out prompts by MinHash LSH on their pairs of words, in bands that should find 99 % at the similarity.

    They would have to be compared after that, which is not done here.
    """

    def __init__(self, texts: Sequence[str], least: float, *, rare: bool) -> None:
        self.bands, self.rows = bands(least)
        pairs, counts = np.unique(np.concatenate([*word_pairs(texts)]), return_counts=True)
        self._common = pairs[counts > NOMINATING] if rare else pairs[:0]
        self._index = MinHashLSH(num_perm=self.bands * self.rows, params=(self.bands, self.rows))
        for number, signature in enumerate(self._signatures(texts)):
            self._index.insert(number, signature, check_duplication=False)

    def nearest(self, texts: Sequence[str], least: float) -> Nearest:
        """Of candidates the first, as similar as can be; `least` is that of the index."""
        found = [min(self._index.query(signature), default=-1) for signature in self._signatures(texts)]
        return Nearest((np.array(found) >= 0).astype(float), np.array(found))

    def _signatures(self, texts: Sequence[str]) -> Iterator[MinHash]:
        return MinHash.generator(word_pairs(texts, self._common), num_perm=self.bands * self.rows, hashfunc=int)


def bands(least: float) -> tuple[int, int]:
    """Bands, and values of each: the longest bands whose chance to find a pair of that similarity is enough."""
    for rows in range(8, 0, -1):
        count = math.ceil(math.log(1 - RECALL) / math.log1p(-(least**rows)))
        if 2 <= count <= 128 // rows:
            return count, rows
    raise ValueError(f"128 permutations are too few for {least}")


def word_pairs(texts: Sequence[str], common: NDArray[np.uint32] = NO_PAIRS) -> Iterator[NDArray[np.uint32]]:
    """Hashes of the pairs of each text, without common ones."""
    for start in range(0, len(texts), 10_000):
        some = texts[start : start + 10_000]
        pairs, rows = _word_pairs(some)
        order = np.argsort(rows, kind="stable")
        hashes, rows = (pairs >> np.uint64(32)).astype(np.uint32)[order], rows[order]
        kept = ~np.isin(hashes, common)
        yield from np.split(hashes[kept], np.searchsorted(rows[kept], np.arange(1, len(some))))


def searched(side: str, texts: Sequence[str], least: float) -> Any:
    """An index of held-out texts."""
    if side == "ours":
        return HeldOutPrompts(texts)
    return MinHashCandidates(texts, least, rare="rare" in side)


def unique_words(similarity: float, prompts: int, side: int) -> list[str]:
    """Prompts of words of their own, whose pairs with those of the other side have exactly that similarity."""
    # the first word and its neighbours are shared, and the rest, `changed` pairs on either side, is not
    shared, changed = {0.5: (10, 5), 0.6: (15, 5), 0.7: (14, 3), 0.8: (24, 3), 0.9: (36, 2)}[similarity]
    return [
        " ".join([*(f"w{i}-{j}" for j in range(shared)), *(f"x{i}-{side}-{j}" for j in range(changed - 1))])
        for i in range(prompts)
    ]


def in_templates(similarity: float, prompts: int, side: int) -> list[str]:
    """Prompts that begin with one of two templates, the other one on the other side, and are that similar at least."""
    # beside `own - 1` shared pairs, each side has 3 after the template and at the end, and 20 that weigh log 2 or so
    template = 20 * math.log((prompts + 1) / (prompts / 2)) / math.log(prompts + 1)
    own = math.ceil(similarity / (1 - similarity) * 2 * (3 + template)) + 1
    templates = [" ".join(f"{name}{j}" for j in range(20)) for name in "ab"]
    return [
        " ".join([templates[(i + side) % 2], *(f"w{i}-{j}" for j in range(own)), f"x{i}-{side}"])
        for i in range(prompts)
    ]


KINDS: dict[str, Callable[[float, int, int], list[str]]] = {"words": unique_words, "templates": in_templates}


def recall(side: str, kind: str, similarity: float, prompts: int = 5_000) -> float:
    """The share of prompts of a similarity that are found where it is the least that counts."""
    least = round(similarity - 1e-6, 6)
    index = searched(side, KINDS[kind](similarity, prompts, 0), least)
    return float(np.mean(index.nearest(KINDS[kind](similarity, prompts, 1), least).similarities > 0))


def real_prompts(data: Path, count: int) -> list[str]:
    """What people say in HH-RLHF, a third of the words replaced by others of it, in one that is drawn."""
    rng = random.Random(0)
    said: set[str] = set()
    for path in sorted((data / "hh-rlhf").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                said.update(re.findall(r"\n\nHuman: (.*?)(?=\n\nAssistant:|$)", json.loads(line)["chosen"], re.S))
    texts = [text.split() for text in sorted(said) if text.strip()]
    words = [word for text in texts for word in text]
    prompts: dict[str, None] = {}
    while len(prompts) < count:
        text = list(rng.choice(texts))
        for _ in range(rng.choice([1, *[max(1, len(text) // 3)] * 19])):
            text[rng.randrange(len(text))] = rng.choice(words)
        prompts[loose_text(" ".join(text))] = None
    return list(prompts)


@app.command()
def run(
    data: Annotated[Path, typer.Option(help="Folder of public data.")],
    results: Path = RESULTS,
    sizes: Annotated[list[int] | None, typer.Option(help="Counts of prompts.")] = None,
) -> None:
    """Measure recall, then seconds and memory, each size in a process of its own, and keep the figures."""
    from benchmarks.common.machine import machine  # noqa: PLC0415 imports torch, which no point needs

    found = [
        {"side": side, "kind": kind, "similarity": least, "recall": recall(side, kind, least)}
        for kind in KINDS
        for least in SIMILARITIES
        for side in SIDES
    ]
    points = []
    for size in sizes or SIZES:
        for side in SIDES:
            command = [sys.executable, "-m", "benchmarks.speed.near_duplicates", "point", side, str(data), str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            points.append({"side": side, "prompts": size, **json.loads(done.stdout)})
            typer.echo(json.dumps(points[-1]))
    results.write_text(json.dumps({"machine": machine(), "recall": found, "points": points}, indent=1) + "\n")


@app.command()
def point(side: str, data: Path, prompts: int, least: float = 0.7) -> None:
    """Hold 15 % of the prompts out, look the others up, and print processor seconds and memory as JSON."""
    texts = real_prompts(data, prompts)
    cut = round(prompts * HELD_OUT)
    process = psutil.Process()
    before, start = process.memory_info().rss, time.process_time()
    index = searched(side, texts[:cut], least)
    built, after = time.process_time(), process.memory_info().rss
    found = int(np.count_nonzero(index.nearest(texts[cut:], least).similarities))
    seconds = {"index_seconds": built - start, "lookup_seconds": time.process_time() - built}
    print(json.dumps({**seconds, "index_mib": (after - before) / 2**20, "found": found}))


if __name__ == "__main__":
    app()
