"""What the labels of public preference files are worth, as Markdown: `python -m benchmarks.label_worth --data FOLDER`.

The folder is laid out as `configs/real_sample.yaml` expects it, with the test sets of PandaLM and LLMBar beside.
Aggregates only; no row is printed.
"""

import argparse
import gzip
import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.noise import agreement_ceiling
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


def hh_rlhf(path: Path) -> list[Labelled]:
    """Pairs of HH-RLHF whose transcripts differ in the last answer only, by opening turn."""
    found = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            (prompt, _, chosen), (other, _, rejected) = (
                row[name].rpartition("\n\nAssistant:") for name in ("chosen", "rejected")
            )
            opening = prompt.partition("\n\nAssistant:")[0]
            if prompt == other and chosen.strip() and rejected.strip():
                found.append(Labelled(Pair(prompt, chosen.strip(), rejected.strip()), opening))
    return found


def oasst(path: Path) -> list[Labelled]:
    """Pairs of ranked human answers of Open-Assistant, by tree."""
    found = []
    for tree in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        for prompt, replies in _questions(tree["prompt"], ""):
            ranked = sorted(replies, key=lambda reply: reply["rank"])
            for better, worse in combinations(ranked, 2):
                pair = Pair(prompt, better["text"].strip(), worse["text"].strip())
                found.append(Labelled(pair, tree["message_tree_id"]))
    return found


def llmbar(path: Path) -> list[Labelled]:
    """Pairs of LLMBar, by prompt."""
    found = []
    for row in json.loads(path.read_text(encoding="utf-8")):
        outputs = (row["output_1"], row["output_2"])[:: 1 if row["label"] == 1 else -1]
        found.append(Labelled(Pair(row["input"], *outputs), row["input"]))
    return found


def pandalm(rows: list[dict[str, Any]]) -> list[Labelled]:
    """Pairs of PandaLM that a majority decided, by prompt; empty answers are left out."""
    found = []
    for row in rows:
        said = [row[f"annotator{number}"] for number in (1, 2, 3)]
        ordered = sorted(((said.count(number), str(row[f"response{number}"])) for number in (1, 2)), reverse=True)
        (most, chosen), (least, rejected) = ordered
        if most > least and chosen.strip() and rejected.strip():
            prompt = _prompt(row)
            found.append(Labelled(Pair(prompt, chosen, rejected), prompt, (most, least)))
    return found


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


def main() -> None:
    """Print a page for every file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files")
    data: Path = parser.parse_args().data
    rows = json.loads((data / "pandalm/testset-v1.json").read_text(encoding="utf-8"))
    decided = pandalm(rows)
    print("HH-RLHF\n", report(hh_rlhf(data / "hh-rlhf/harmless-base-sample.jsonl.gz")), sep="\n")
    print("OpenAssistant\n", report(oasst(data / "oasst/en_100_tree.jsonl")), sep="\n")
    print("PandaLM\n", report(decided, named_noise(rows, decided)), sep="\n")
    print("LLMBar\n", report(llmbar(data / "llmbar/Natural.json")), sep="\n")


def _prompt(row: dict[str, Any]) -> str:
    return f"{row['instruction']}\n\n{row['input']}".strip()


def _questions(message: dict[str, Any], before: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Conversations that end with a question, and its ranked human answers."""
    conversation = f"{before}\n\n{message['role']}: {message['text']}"
    if message["role"] == "prompter":
        yield (
            conversation,
            [
                reply
                for reply in message["replies"]
                if reply.get("rank") is not None and not reply.get("synthetic") and reply["text"].strip()
            ],
        )
    for reply in message["replies"]:
        yield from _questions(reply, conversation)


if __name__ == "__main__":
    main()
