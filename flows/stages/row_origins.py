"""Where the rows of evidence come from and how long they are, so that figures can be computed by slices of them."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from data_contracts.records import TEXTS, Kind
from rlhf_core.data.tokenizer import encode_prompts, encode_responses, load_tokenizer
from rlhf_core.metrics.policy_evidence import ANSWERS
from rlhf_core.metrics.reward_model_evidence import DEMONSTRATIONS, PAIRS
from rlhf_core.metrics.stress import STRESS

TABLES: Mapping[str, tuple[Kind, ...]] = {
    PAIRS: ("preferences",),
    STRESS: ("preferences",),
    DEMONSTRATIONS: ("demonstrations",),
    ANSWERS: ("prompts", "demonstrations"),
}
"""Which tables of data the rows of evidence are of, by its name; the first of them that there is."""

ORIGINS = ("source", "group")
"""Columns of every table of data that say where a row comes from, and what must stay on one side of every split."""

VOTES = ("votes_chosen", "votes_rejected", "votes_tied")
"""Columns of pairs."""

RESPONSES = ("response", "chosen", "rejected", "base", "sft", "challenger", "champion", "honest", "attack")
"""Columns of responses."""

TOKENS = "tokens"
"""Column of the tokens of a response, and end of the names of those of other texts."""


class KeptTable(Protocol):
    """Whatever says which table a snapshot is of and where it lies."""

    @property
    def name(self) -> str:
        """Kind of the table."""

    @property
    def path(self) -> Path | str:
        """Where the snapshot lies."""


def with_origins(evidence: Mapping[str, pa.Table], snapshots: Iterable[KeptTable], model: Path) -> dict[str, pa.Table]:
    """Evidence with the source and group of each row, where the data have them, and with lengths.

    Args:
        evidence: tables of rows by name.
        snapshots: tables that the rows were held out from.
        model: folder of the model that was measured, whose tokenizer counts.

    Returns:
        The tables with `source` and `group` of the record, and the votes on a pair; with `prompt_tokens`, and the
        tokens of each response with its end, uncut: `tokens` of a `response`, `<column>_tokens` of others.
    """
    by_kind = {snapshot.name: Path(snapshot.path) for snapshot in reversed([*snapshots])}
    tokenizer = load_tokenizer(str(model)) if evidence else None
    described = {}
    for name, table in evidence.items():
        kind = next((kind for kind in TABLES.get(name, ()) if kind in by_kind), None)
        located = table if kind is None else _located(table, kind, by_kind[kind])
        described[name] = located if tokenizer is None else _measured(located, tokenizer)
    return described


def _located(table: pa.Table, kind: Kind, snapshot: Path) -> pa.Table:
    """Rows with what the snapshot says of the record with the same texts, the first of several; null without one."""
    keys = [column for column in TEXTS[kind] if column in table.column_names]
    wanted = (*ORIGINS, *(VOTES if "chosen" in keys else ()))
    columns = [column for column in wanted if column in pq.read_schema(snapshot).names]
    rows = pq.read_table(snapshot, columns=[*keys, *columns], filters=pc.field("prompt").isin(table["prompt"]))
    texts = list(zip(*(rows[key].to_pylist() for key in keys), strict=True))
    places = {text: place for place, text in reversed([*enumerate(texts)])}
    asked = zip(*(table[key].to_pylist() for key in keys), strict=True)
    found = pa.array([places.get(text) for text in asked], pa.int64())
    for column in columns:
        if column not in table.column_names:
            table = table.append_column(column, rows[column].take(found))
    return table


def _measured(table: pa.Table, tokenizer: PreTrainedTokenizerBase) -> pa.Table:
    """Rows with the lengths of their texts."""
    for column in ("prompt", *RESPONSES):
        name = TOKENS if column == "response" else f"{column}_{TOKENS}"
        if column in table.column_names and name not in table.column_names:
            table = table.append_column(name, _lengths(table[column].to_pylist(), column, tokenizer))
    return table


def _lengths(texts: list[str], column: str, tokenizer: PreTrainedTokenizerBase) -> pa.Array:
    unique = list(dict.fromkeys(texts))
    if column == "prompt":
        encoded = encode_prompts(tokenizer, unique, max_prompt_tokens=sys.maxsize)
    else:
        encoded = encode_responses(tokenizer, unique, sys.maxsize)
    counts = dict(zip(unique, map(len, encoded), strict=True))
    return pa.array(np.array([counts[text] for text in texts], dtype=np.int64))
