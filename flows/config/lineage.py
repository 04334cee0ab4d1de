"""Who else is told what ran and what it was made from: a file or a server, in OpenLineage's words."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, HttpUrl, ValidationError, model_validator

from flows.config.errors import InputError
from flows.config.redaction import redact_address
from rlhf_core.config import Frozen


def _web_address(address: str) -> str:
    try:
        HttpUrl(address)
    except ValidationError:
        raise ValueError("is no address; write one that begins with http:// or https://") from None
    if urlsplit(address).username is not None:
        raise ValueError("holds a name; leave it out, and give a key in the variable OPENLINEAGE_API_KEY")
    return address


class OpenLineageConfig(Frozen):
    """Where events of ingestions, stages, judgements and promotions go."""

    file: Path | None = None
    """File that gets a line of JSON for each event; relative to the working directory, or absolute."""
    url: Annotated[str, AfterValidator(_web_address)] | None = None
    """Server that takes OpenLineage events, such as `http://marquez:5000`; they go to `api/v1/lineage` below it. A key
    for it is read from the environment variable OPENLINEAGE_API_KEY. One that does not answer stops nothing."""
    namespace: Annotated[str, Field(min_length=1)] = "rlhf-ladder"
    """Of jobs, tables and models; another one keeps installations apart that tell the same server."""

    @model_validator(mode="after")
    def _one_place(self) -> "OpenLineageConfig":
        if (self.file is None) == (self.url is None):
            raise ValueError("lineage.openlineage: name either `file` or `url`")
        return self


class LineageConfig(Frozen):
    """Who else is told what ran and what it was made from; no result depends on it."""

    openlineage: OpenLineageConfig | None = None
    """Where OpenLineage events go; null tells nobody."""


def told_at(address: str) -> OpenLineageConfig:
    """The server of an address that is no field of a configuration.

    Raises:
        InputError: if it is no address of a server.
    """
    try:
        return OpenLineageConfig(url=address)
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InputError(f"--openlineage {redact_address(address)}: {reason}") from None
