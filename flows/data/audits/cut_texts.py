"""What the configured lengths cut of the data as they are read, before anything is ingested or trained."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from transformers import PreTrainedTokenizerBase

from data_contracts.records import Kind
from flows.config.data import EmbeddedData, HubData
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.sources import open_sources
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.lengths import Lengths
from rlhf_core.data.tokenizer import encode_prompts, encode_responses

ROWS = 10_000
"""Rows of a table that are looked at, the first ones."""

WORLD_ROWS = 200
"""Prompts of each table of an embedded world that are made to be looked at."""

WHOLE = 10**9
"""Tokens that no text has."""

RESPONSES: dict[Kind, tuple[str, ...]] = {
    "demonstrations": ("response",),
    "preferences": ("chosen", "rejected"),
    "prompts": (),
}


class TableReading(NamedTuple):
    """A section of a configuration that reads a table.

    Attributes:
        model: field of the model whose tokens it reads.
        section: names its lengths.
        table: that is read.
        lengths: where its texts are cut.
    """

    model: str
    section: str
    table: Kind
    lengths: Lengths


class CutTexts(NamedTuple):
    """How many texts of a table a length cuts, or how many pairs it makes the same.

    Attributes:
        field: names the length.
        limit: tokens that are kept.
        texts: which ones.
        cut: how many are longer, or pairs that are the same.
        total: how many there are.
        longest: tokens of the longest, its end included; None of pairs.
    """

    field: str
    limit: int
    texts: str
    cut: int
    total: int
    longest: int | None = None


def readings(config: LadderConfig) -> Iterator[TableReading]:
    """What reads which table, by tokens of which model, and where it cuts."""
    spoken, policy = config.sft.sampling.lengths, config.policy.sampling.lengths
    yield TableReading("base", "sft.sampling", "demonstrations", spoken)
    for section, settings in {"reward_model": config.reward_model, "judge": config.judge}.items():
        model = "base" if settings.source is None else f"{section}.from"
        yield TableReading(model, section, "preferences", settings.lengths)
    if isinstance(config.policy, DPOConfig):
        yield TableReading("base", "policy.sampling", "preferences", policy)
    yield TableReading("base", "policy.sampling", "prompts", policy)


def first_rows(config: LadderConfig) -> dict[Kind, pd.DataFrame]:
    """The first rows of each table as they are read, whose texts are texts; none of data on the hub.

    Raises:
        InputError: if a file cannot be read, its format is not known, or no row is what its format says.
    """
    data = config.data
    if isinstance(data, HubData):
        return {}
    if isinstance(data, EmbeddedData):
        sizes = ("demonstrations", "preference_prompts", "prompts")
        data = data.model_copy(update={size: min(getattr(data, size), WORLD_ROWS) for size in sizes})
    tables = {}
    for table, reads in open_sources(data, seed=config.seed).items():
        parts: list[pd.DataFrame] = []
        misfit = None
        for read in reads:
            misfit = next(iter(read.batch.misfits), misfit)
            parts.append(read.batch.frame[["prompt", *RESPONSES[table]]])
            if sum(map(len, parts)) >= ROWS:
                break
        rows = pd.concat(parts)[:ROWS] if parts else pd.DataFrame()
        if misfit is not None and rows.empty:
            raise InputError(
                f"field 'data.{table}': no row is what its format says; {misfit.place}: {misfit.reason}: "
                f"{misfit.mend}; `rlhf data inspect` shows what can be read"
            )
        tables[table] = rows[rows.map(lambda cell: isinstance(cell, str)).all(axis=1)]
    return tables


def cut_texts(
    tokenizer: PreTrainedTokenizerBase, tables: Mapping[Kind, pd.DataFrame], readings: Sequence[TableReading]
) -> list[CutTexts]:
    """Count the texts that lengths cut, and the pairs of which then nothing differs.

    Args:
        tokenizer: of the model, from `load_tokenizer`.
        tables: from `first_rows`.
        readings: by this model's tokens.

    Raises:
        InputError: if a text cannot be written in these tokens.
    """
    ids: dict[Kind, dict[str, list[list[int]]]] = {}
    counts: list[CutTexts] = []
    for reading in readings:
        if reading.table not in tables or tables[reading.table].empty:
            continue
        if reading.table not in ids:
            ids[reading.table] = _encoded(tokenizer, reading.table, tables[reading.table])
        prompts, *responses = ids[reading.table].values()
        most, longest = reading.lengths
        counts.append(_count(f"{reading.section}.max_prompt_tokens", most, f"prompts of data.{reading.table}", prompts))
        if responses:
            field, texts = f"{reading.section}.max_response_tokens", [text for column in responses for text in column]
            counts.append(_count(field, longest, f"responses of data.{reading.table}", texts))
        if reading.table == "preferences":
            same = sum(first[:longest] == second[:longest] for first, second in zip(*responses, strict=True))
            counts.append(CutTexts(field, longest, "pairs", same, len(prompts)))
    return counts


def _encoded(tokenizer: PreTrainedTokenizerBase, table: Kind, rows: pd.DataFrame) -> dict[str, list[list[int]]]:
    """Ids of each column of texts, whole."""
    try:
        prompts = encode_prompts(tokenizer, rows["prompt"].tolist(), max_prompt_tokens=WHOLE)
        responses = {name: encode_responses(tokenizer, rows[name].tolist(), WHOLE) for name in RESPONSES[table]}
    except ValueError as error:
        raise InputError(f"field 'data.{table}': {error}") from None
    return {"prompt": prompts, **responses}


def _count(field: str, limit: int, texts: str, ids: Sequence[list[int]]) -> CutTexts:
    lengths = [len(text) for text in ids]
    return CutTexts(field, limit, texts, sum(length > limit for length in lengths), len(lengths), max(lengths))
