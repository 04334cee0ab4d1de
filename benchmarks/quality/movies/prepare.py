"""From the raw files to what `configs/movies.yaml` reads: pairs with votes, and sentences to go on with."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.quality.movies import sentences, snippets

PAIRS = "pairs.jsonl"
SENTENCES = "sentences.jsonl"


class MissingData(ValueError):
    """A raw file that is not where it should be."""


def prepare(data: Path, out: Path) -> dict[str, int]:
    """Write both tables; the same files give the same bytes.

    Args:
        data: folder with the raw files.
        out: folder that receives the tables, made if absent.

    Returns:
        Rows by file.

    Raises:
        MissingData: naming the file and where it comes from.
    """
    for kind in (snippets, sentences):
        if not (path := kind.find(data)).is_file():
            raise MissingData(f"{path} is not there; take it from {kind.SOURCE}, and name its folder by RLHF_DATA")
    rated = snippets.read_snippets(data)
    forms = sentences.written_forms([snippet.text for snippet in rated])
    tables = {
        PAIRS: snippets.preferences(rated),
        SENTENCES: sentences.demonstrations(sentences.read_reviews(data), forms),
    }
    out.mkdir(parents=True, exist_ok=True)
    return {name: _write(out / name, rows) for name, rows in tables.items()}


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return len(lines)
