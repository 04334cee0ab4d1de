"""What the labels of public preference files are worth, as Markdown: `python -m benchmarks.label_worth --data FOLDER`.

The folder is laid out as `configs/real_sample.yaml` expects it, with the test sets of PandaLM and LLMBar beside.
Aggregates only; no row is printed.
"""

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from data_contracts.formats import FORMATS
from data_contracts.formats.convert import convert_rows
from data_contracts.noise import agreement_ceiling
from flows.reading import read_file
from flows.report.labels import page
from rlhf_core.evaluation.annotators import agreement_figures, cohen_kappas, count_votes
from rlhf_core.evaluation.estimates import Estimate
from rlhf_core.evaluation.labels import label_worth
from rlhf_core.records import Pair

VERDICTS = ("tie", "first", "second")


class Labelled(NamedTuple):
    """A pair, what it must stay together with, and the annotators for chosen and rejected."""

    pair: Pair
    group: str
    votes: tuple[int, int] = (1, 0)


def labelled_pairs(path: Path, name: str) -> list[Labelled]:
    """The pairs of a file in a known format; rows that do not fit it, and those with an empty answer, are left out."""
    frame = convert_rows("preferences", FORMATS[name]["preferences"].convert, read_file(path, path.name)).frame
    texts = zip(*(frame[column].astype(str) for column in ("prompt", "chosen", "rejected", "group")), strict=True)
    votes = zip(frame["votes_chosen"].tolist(), frame["votes_rejected"].tolist(), strict=True)
    return [
        Labelled(Pair(prompt, chosen, rejected), group, cast)
        for (prompt, chosen, rejected, group), cast in zip(texts, votes, strict=True)
        if chosen and rejected
    ]


def report(labelled: list[Labelled], noise: dict[str, Estimate] | None = None) -> str:
    """The page on some pairs, with what balancing by length does to them."""
    pairs, groups, votes = zip(*labelled, strict=True)
    worth = label_worth(pairs, groups, votes, how="length")
    return page(worth.model_copy(update={"noise": noise}) if noise else worth)


def named_noise(rows: list[dict[str, Any]], pairs: list[Labelled]) -> dict[str, Estimate]:
    """Agreement of PandaLM's annotators on all pairs, ties included, and the ceiling of the decided ones."""
    votes = {f"annotator {number}": [VERDICTS[row[f"annotator{number}"]] for row in rows] for number in (1, 2, 3)}
    prompts = [_prompt(row) for row in rows]
    ceiling = agreement_ceiling(*zip(*(item.votes for item in pairs), strict=True))
    figures = agreement_figures(count_votes(votes), prompts) | cohen_kappas(votes, prompts)
    return figures | ({"ceiling": Estimate(*ceiling)} if ceiling else {})


def main(data: Annotated[Path, typer.Option(help="Folder with the files.")]) -> None:
    """Print a page for every file."""
    asked = data / "pandalm/testset-v1.json"
    decided = labelled_pairs(asked, "pandalm")
    noise = named_noise(json.loads(asked.read_text(encoding="utf-8")), decided)
    hh_rlhf = labelled_pairs(data / "hh-rlhf/harmless-base-sample.jsonl.gz", "hh-rlhf")
    print("HH-RLHF\n", report(hh_rlhf), sep="\n")
    print("OpenAssistant\n", report(labelled_pairs(data / "oasst/en_100_tree.jsonl", "oasst")), sep="\n")
    print("PandaLM\n", report(decided, noise), sep="\n")
    print("LLMBar\n", report(labelled_pairs(data / "llmbar/Natural.json", "llmbar")), sep="\n")


def _prompt(row: dict[str, Any]) -> str:
    return f"{row['instruction']}\n\n{row['input']}".strip()


if __name__ == "__main__":
    typer.run(main)
