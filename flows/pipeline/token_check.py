"""What each model will read and write in tokens, told before any training: ends, template, lengths, what these cut."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from transformers import PreTrainedTokenizerBase

from data_contracts.records import Kind
from flows.config.data import HubData
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.audits.cut_texts import CutTexts, TableReading, cut_texts, first_rows, readings
from flows.pipeline.preflight import in_registry
from flows.pipeline.published_tokens import Published, published_models
from rlhf_core.data.stop_tokens import rows_needed
from rlhf_core.data.tokenizer import allow_special_tokens, encode_prompts, settle_tokenizer, special_tokens

QUESTION = "How are you?"
"""What is asked where the prompts of the data are not here."""


class Token(NamedTuple):
    """A token and its id."""

    text: str
    id: int


class ModelTokens(NamedTuple):
    """What a model reads and writes in tokens.

    Attributes:
        field: names the model.
        name: of the model.
        has_template: whether it brings a chat template.
        stops: what ends a response; the first is what is taught.
        own_end: end-of-sequence token of its tokenizer as it was published.
        padding: that is used.
        own_padding: of its tokenizer as it was published.
        beginning: beginning-of-sequence token, None where there is none.
        tokens: rows that its tokens need.
        rows: that it was published with.
        is_tied: whether its embeddings are its head.
        positions: of the model, None where it does not say.
        is_of_data: whether the prompt is one of the data.
        prompt: as it is read.
        ids: of the prompt.
        readings: what reads which table by its tokens.
        cuts: what the lengths of these do to the data.
        special: first rows of each table that write its special tokens, those that write none left out.
        allows: whether they are read as tokens there.
    """

    field: str
    name: str
    has_template: bool
    stops: list[Token]
    own_end: str
    padding: Token
    own_padding: str | None
    beginning: Token | None
    tokens: int
    rows: int
    is_tied: bool
    positions: int | None
    is_of_data: bool
    prompt: str
    ids: list[int]
    readings: list[TableReading]
    cuts: list[CutTexts]
    special: dict[Kind, int]
    allows: bool


class TokenReport(NamedTuple):
    """What can be said of the models of a configuration.

    Attributes:
        models: those whose tokenizers are here.
        rows: that were looked at of each table.
        notes: what cannot be said, and why.
    """

    models: list[ModelTokens]
    rows: dict[Kind, int]
    notes: list[str]


def check_tokens(config: LadderConfig, *, offline: bool) -> TokenReport:
    """Read the tokenizers of all models and the first rows of all tables; nothing is made.

    Args:
        config: valid, with files and models that are there.
        offline: take from the hub only what the cache of this machine has.

    Raises:
        InputError: naming the field, if a tokenizer cannot be used, or not for the data, or these cannot be read.
    """
    models, notes = [], [f"{field} {name}: as it was registered" for field, name in in_registry(config)]
    published = list(published_models(config, offline=offline))
    tables = first_rows(config) if any(isinstance(model, Published) for model in published) else {}
    if isinstance(config.data, HubData):
        notes.append("data on the hub are not read here: how many texts are cut is told after ingestion, before SFT")
    for model in published:
        if isinstance(model, str):
            notes.append(model)
        else:
            models.append(_tokens_of(model, config, tables))
    return TokenReport(models, {table: len(rows) for table, rows in tables.items()}, notes)


def _tokens_of(published: Published, config: LadderConfig, tables: Mapping[Kind, pd.DataFrame]) -> ModelTokens:
    tokenizer, shape = published.tokenizer, published.config
    own_end, own_padding, own_template = tokenizer.eos_token, tokenizer.pad_token, tokenizer.chat_template
    own = [reading for reading in readings(config) if reading.model == published.field]
    prompts: Sequence[str] = tables["prompts"]["prompt"].tolist()[:1] if "prompts" in tables else ()
    try:
        settle_tokenizer(tokenizer, published.stops, day=published.day)
        allow_special_tokens(tokenizer, allow=published.allow)
        longest = config.policy.sampling.max_prompt_tokens
        [ids] = encode_prompts(tokenizer, prompts or [QUESTION], max_prompt_tokens=longest)
    except ValueError as error:
        name = "" if str(error).startswith(published.name) else f"{published.name}: "
        raise InputError(f"field '{published.field}': {name}{error}") from None
    ends = dict.fromkeys([tokenizer.eos_token_id, *published.stops])
    needed = rows_needed(tokenizer)
    return ModelTokens(
        field=published.field,
        name=published.name,
        has_template=own_template is not None,
        stops=[_token(tokenizer, end) for end in ends if end < needed],
        own_end=own_end,
        padding=_token(tokenizer, tokenizer.pad_token_id),
        own_padding=own_padding,
        beginning=None if tokenizer.bos_token is None else _token(tokenizer, tokenizer.bos_token_id),
        tokens=needed,
        rows=shape.vocab_size,
        is_tied=bool(shape.tie_word_embeddings),
        positions=getattr(shape, "max_position_embeddings", None),
        is_of_data=bool(prompts),
        prompt=str(tokenizer.decode(ids)),
        ids=ids,
        readings=own,
        cuts=cut_texts(tokenizer, tables, own),
        special=_writing_special_tokens(tokenizer, tables, {reading.table for reading in own}),
        allows=published.allow,
    )


def _writing_special_tokens(
    tokenizer: PreTrainedTokenizerBase, tables: Mapping[Kind, pd.DataFrame], read: Collection[Kind]
) -> dict[Kind, int]:
    """Rows of each table that a model reads and that write its special tokens; tables without any are left out."""
    pattern = special_tokens(tokenizer)
    counts = {
        table: int(rows.map(lambda text: pattern.search(text) is not None).any(axis=1).sum())
        for table, rows in tables.items()
        if table in read
    }
    return {table: count for table, count in counts.items() if count}


def _token(tokenizer: PreTrainedTokenizerBase, number: int) -> Token:
    return Token(str(tokenizer.convert_ids_to_tokens(number)), number)
