"""What the commands of `rlhf` share: arguments, exit codes, and how input errors are told."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.config.ladder import IngestConfig, LadderConfig

EXIT_INPUT = 2
EXIT_GATE = 3
EXIT_WAITING = 4
DEFAULT_CONFIG = Path("configs/embedded.yaml")

ConfigFile = Annotated[Path, typer.Argument(help="YAML file, such as configs/embedded.yaml.")]
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration whose registry is meant.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="field.name=value, replaces a value of the file.")]
ModelArgument = Annotated[
    str, typer.Argument(help="name/version, name@alias, a folder, or owner/name[@revision] of the hub.")
]


def prepared(config: Path, overrides: list[str] | None) -> "LadderConfig":
    """Read a configuration and set the environment, which Prefect and MLflow read when they are imported."""
    from flows.config.loading import load_config
    from flows.deploy.environment import prepare

    settings = load_config(config, overrides=overrides or [])
    prepare(settings.storage, threads=settings.threads)
    return settings


def connected(config: Path, overrides: list[str] | None) -> "LadderConfig":
    """As `prepared`, and the MLflow server that the environment names answers."""
    settings = prepared(config, overrides)
    see_mlflow()
    return settings


def see_storage(settings: "IngestConfig") -> None:
    """See that a climb may write to whatever an earlier one made in the storage folder."""
    from flows.config.folders import check_parts

    check_parts(settings.storage, "*", "snapshots/*", "work/*")


def see_mlflow() -> None:
    """See that the MLflow server that the environment names answers; a local database needs no import to be seen."""
    addresses = (os.environ.get(name) or "sqlite:" for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"))
    if any(not address.startswith("sqlite:") for address in addresses):
        from flows.registry.server import require_mlflow

        require_mlflow()


def start_orchestrator() -> None:
    """Start a Prefect server of one's own, or see that the one that the environment names answers."""
    if os.environ.get("PREFECT_API_URL"):
        from flows.deploy.prefect_answer import require_prefect

        require_prefect()
    else:
        from flows.deploy.prefect_server import start_server

        start_server()


def as_typed(config: Path, overrides: list[str] | None) -> str:
    """A configuration and its overrides as they would be typed."""
    return shlex.join([str(config), *(part for override in overrides or [] for part in ("--set", override))])


@contextmanager
def quietly() -> Iterator[None]:
    """Keep libraries quiet; end with exit code 2 and without a traceback where the input is wrong."""
    from flows.deploy.environment import quiet

    quiet()  # before the first import that reads it
    from flows.config.errors import InputError

    try:
        yield
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_INPUT) from None
