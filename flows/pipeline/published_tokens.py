"""Tokenizers and configurations of the models that a configuration takes, as they were published, without weights."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import date
from typing import NamedTuple

from transformers import GPT2Config, PreTrainedConfig, PreTrainedTokenizerBase

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import GGUFBase, HubModel, LocalModel
from rlhf_core.base.embedded_tokenizer import build_tokenizer
from rlhf_core.config.base import PretrainConfig
from rlhf_core.data.model_settings import read_config, read_tokenizer
from rlhf_core.data.stop_tokens import listed_stops
from rlhf_core.models.gguf_files import read_notes


class Published(NamedTuple):
    """A model as it was published.

    Attributes:
        field: names it.
        name: what it is called.
        tokenizer: its own.
        config: its own.
        stops: ids at which it stops.
        day: to which its chat template is pinned; None is today.
        allow: whether texts may write its special tokens.
    """

    field: str
    name: str
    tokenizer: PreTrainedTokenizerBase
    config: PreTrainedConfig
    stops: list[int]
    day: date | None = None
    allow: bool = False


def published_models(config: LadderConfig, *, offline: bool) -> Iterator[Published | str]:
    """Every model whose tokenizer is here, and a line for each that is not.

    Args:
        config: valid, with models that are there.
        offline: take from the hub only what the cache of this machine has.

    Raises:
        InputError: naming the field, if a tokenizer cannot be read.
    """
    if isinstance(config.base, PretrainConfig):
        tokenizer = build_tokenizer()
        shape = GPT2Config(vocab_size=len(tokenizer), n_positions=config.base.max_positions)
        yield Published("base", "of the embedded world", tokenizer, shape, [])
    if config.pretrained_models:
        yield from _pretrained(config, offline=offline)


def _pretrained(config: LadderConfig, *, offline: bool) -> Iterator[Published | str]:
    from flows.registry.external_models import name_of, refusal  # noqa: PLC0415 imports MLflow

    for field, source in config.pretrained_models.items():
        alone = offline and isinstance(source, HubModel)
        try:
            yield _read(field, source, alone=alone)
        except (OSError, ValueError) as error:
            if not alone:
                raise InputError(f"field '{field}': {refusal(source, error)}") from None
            yield f"{field} {name_of(source)}: its tokenizer is on the hub, which is not asked"


def _read(field: str, source: HubModel | LocalModel, *, alone: bool) -> Published:
    from flows.pipeline.families import reaching  # noqa: PLC0415 imports models
    from flows.registry.external_models import name_of  # noqa: PLC0415 imports MLflow
    from rlhf_core.base import gguf  # noqa: PLC0415 imports models

    options = source.loading | ({"local_files_only": True} if alone else {})
    with nullcontext() if alone else reaching(field, source):
        config = read_config(source.name, **options)
        if isinstance(source, GGUFBase):
            tokenizer = gguf.load_tokenizer(source.place, read_notes(source.place))
        else:
            tokenizer = read_tokenizer(source.name, **options)
        end = config.eos_token_id  # where a model has no generation settings
        ends = [end] if isinstance(end, int) else list(end or ())
        stops = listed_stops(source.name, **options) or ends
    return Published(field, name_of(source), tokenizer, config, stops, source.date, source.special_tokens == "allow")
