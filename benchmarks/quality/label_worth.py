"""What the labels of public preference files are worth, as Markdown.

`python -m benchmarks.quality.label_worth --data FOLDER` prints it. The folder is laid out as
`configs/real_sample.yaml` expects it, with the test sets of PandaLM and LLMBar beside.
Aggregates only; no row is printed.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import typer

from data_contracts.formats.convert import convert_rows
from data_contracts.formats.registry import FORMATS
from flows.data.audits.label_report import page
from flows.data.files import read_file
from flows.data.votes import Votes
from rlhf_core.data.records import Pair
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_quality import after_balance, counted_agreement, label_worth


class Labelled(NamedTuple):
    """A pair, what it must stay together with, and the annotators for chosen and rejected."""

    pair: Pair
    group: str
    votes: tuple[int, int] = (1, 0)


class Known(NamedTuple):
    """The pairs of a file, and what the votes of its rows say of its annotators."""

    pairs: list[Labelled]
    noise: dict[str, Estimate]


def read_labels(path: Path, name: str) -> Known:
    """What a file in a known format holds; rows that do not fit it, and those with an empty answer, are left out."""
    batch = convert_rows("preferences", FORMATS[name]["preferences"].convert, read_file(path, path.name))
    frame = batch.frame
    texts = zip(*(frame[column].astype(str) for column in ("prompt", "chosen", "rejected", "group")), strict=True)
    votes = zip(frame["votes_chosen"].tolist(), frame["votes_rejected"].tolist(), strict=True)
    pairs = [
        Labelled(Pair(prompt, chosen, rejected), group, cast)
        for (prompt, chosen, rejected, group), cast in zip(texts, votes, strict=True)
        if chosen and rejected
    ]
    with TemporaryDirectory() as folder:
        raw_votes = Votes(Path(folder) / "votes.csv")
        raw_votes.add(batch.votes)
        return Known(pairs, raw_votes.noise([sum(cast) for _, _, cast in pairs]))


def report(known: Known) -> str:
    """The page on a file, with what balancing by length does to its pairs."""
    pairs, groups, votes = zip(*known.pairs, strict=True)
    worth = label_worth(pairs, groups, known.noise or counted_agreement(pairs, groups, votes))
    return page(worth.model_copy(update={"balanced": after_balance(pairs, groups, "length")}))


def main(data: Annotated[Path, typer.Option(help="Folder with the files.")]) -> None:
    """Print a page for every file."""
    for title, path, name in (
        ("HH-RLHF", "hh-rlhf/harmless-base-sample.jsonl.gz", "hh-rlhf"),
        ("OpenAssistant", "oasst/en_100_tree.jsonl", "oasst"),
        ("PandaLM", "pandalm/testset-v1.json", "pandalm"),
        ("LLMBar", "llmbar/Natural.json", "llmbar"),
    ):
        print(f"{title}\n", report(read_labels(data / path, name)), sep="\n")


if __name__ == "__main__":
    typer.run(main)
