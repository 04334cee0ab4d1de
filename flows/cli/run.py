"""Commands that climb, and that look at what a climb would use."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import (
    EXIT_GATE,
    EXIT_OUT_OF_TIME,
    EXIT_WAITING,
    ConfigFile,
    Overrides,
    as_typed,
    connect,
    quietly,
    see_mlflow,
    see_storage,
    start_orchestrator,
)
from flows.cli.tokens import token_lines

if TYPE_CHECKING:
    from flows.config.ladder import LadderConfig, LadderFile


def run(
    config: ConfigFile,
    overrides: Overrides = None,
    iterate: Annotated[
        int, typer.Option(min=1, help="Rounds; each after the first retrains on labelled answers of the newest policy.")
    ] = 1,
    no_sign: Annotated[bool, typer.Option("--no-sign", help="Sign no statements, so that no audit can hold.")] = False,
) -> None:
    """Climb the ladder.

    Exit code 0: done; 2: bad configuration or data; 3: stopped by a gate; 4: people are to label answers first; 5: the
    time or money of `compute` is spent, run again to go on; 1: anything else.
    """
    from flows.deploy.environment import importing

    overrides = [*(overrides or []), *(["audit.sign=false"] if no_sign else [])]
    with quietly(as_typed(config, overrides)):
        with importing():
            from flows.config.loading import load_config
            from flows.config.rounds import check_rounds

            settings = load_config(config, overrides=overrides)
            check_rounds(settings, iterate)
            from flows.data.sources import check_files

            check_files(settings.data)
            _see_registered(settings)
            connect(settings)
            see_storage(settings)
            typer.echo(f"climbing {settings.project} in {settings.storage}", err=True)
            start_orchestrator()  # beside the imports that follow, which take as long
            from flows.pipeline.gating import StoppedByGate  # imports Prefect, which reads what is set by now
            from flows.pipeline.ladder import ladder
            from flows.registry.client import open_registry
            from flows.registry.references import LadderResult
            from rlhf_core.training.stage import OutOfTime

        open_registry(settings.project, settings.storage)  # migrates its database while the server still starts
        try:
            result = ladder(settings, arguments=as_typed(config, overrides), iterate=iterate)
        except StoppedByGate:  # the summary has said why
            raise typer.Exit(EXIT_GATE) from None
        except OutOfTime:
            raise typer.Exit(EXIT_OUT_OF_TIME) from None
        if isinstance(result, LadderResult) and result.waits_for is not None:  # which the summary has said too
            raise typer.Exit(EXIT_WAITING)


def ingest(config: ConfigFile, overrides: Overrides = None) -> None:
    """Read, check, divide and keep data, and say what became of every row. Exit code 2: the data are refused."""
    with quietly(as_typed(config, overrides)):
        from flows.config.loading import load_ingest_config
        from flows.deploy.environment import prepare

        settings = load_ingest_config(config, overrides=overrides or [])
        from flows.data.sources import check_files

        check_files(settings.data)
        prepare(settings.storage)
        see_storage(settings)
        see_mlflow()
        start_orchestrator()  # beside the imports that follow
        from flows.data.ingest import ingest_alone  # imports Prefect, which reads what `prepare` set

        ingest_alone(settings)


def inspect(
    path: Annotated[Path, typer.Argument(help="File, folder or glob.")],
    formats: Annotated[list[Path] | None, typer.Option(help="Python file that registers a format.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Raw rows of each file that are read.")] = 1000,
) -> None:
    """Say which format data have, show a few records, and what the contract says of them."""
    with quietly():
        from flows.data.inspection import inspect_path

        inspect_path(path, formats=tuple(formats or ()), rows=rows)


def check(
    config: ConfigFile,
    overrides: Overrides = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the hub for its models and data.")] = False,
) -> None:
    """Validate a configuration, see that what it names can be had, and tell what models read and write in tokens.

    What ingestion would make of the first rows; stop tokens, template, padding and lengths, a prompt with its ids, and
    how many texts of the data are cut. Nothing is made.
    """
    with quietly(as_typed(config, overrides)):
        from flows.config.loading import load_file
        from flows.deploy.environment import refuse_proxies

        file = load_file(config, overrides=overrides or [])
        if not offline:
            refuse_proxies()
        settings = file.climb
        from flows.data.sources import check_files

        check_files(settings.data)
        with TemporaryDirectory() as home:
            os.environ.setdefault("PREFECT_HOME", home)  # which Prefect makes when it is imported
            if not offline:
                _see_registered(settings)
            _check_deployment(file)
            from flows.pipeline.preflight import check_reachable, in_registry

            missing = check_reachable(settings, offline=offline)
            if not offline:
                _check_servers(settings, in_registry(settings))
            tokens = [*_token_lines(settings, offline)] if _has_tokens(settings) else []
            lines = [*missing, *_data_lines(settings), *tokens]
        typer.echo(f"{config}: valid; project {settings.project}, data {settings.data.kind}, base {settings.base.kind}")
        for line in lines:
            typer.echo(line)


def _see_registered(settings: "LadderConfig") -> None:
    """See that a local registry has the models that are named; nothing is made, and nothing heavy imported."""
    from flows.deploy.environment import name_servers
    from flows.pipeline.preflight import in_registry
    from flows.registry.lookup import require_registered

    name_servers(settings.storage)
    require_registered(in_registry(settings))


def _has_tokens(settings: "LadderConfig") -> bool:
    """Whether there is a model whose tokenizer is known before the climb."""
    return settings.base.kind == "embedded" or bool(settings.pretrained_models)


def _data_lines(settings: "LadderConfig") -> Iterator[str]:
    """What ingestion would make of files; the embedded world is sound, and data of the hub are not fetched for this."""
    if settings.data.kind == "files":
        from flows.data.first_rows import judge_first_rows  # imports MLflow

        yield from judge_first_rows(settings)


def _token_lines(settings: "LadderConfig", offline: bool) -> Iterator[str]:
    from flows.pipeline.token_check import check_tokens  # imports torch

    return token_lines(check_tokens(settings, offline=offline))


def _check_deployment(file: "LadderFile") -> None:
    """What a climb does not see, and `rlhf deploy` does; Prefect is imported only where there is something to check."""
    from flows.config.rounds import check_rounds

    check_rounds(file.climb, file.deploy.iterate)
    if file.deploy.schedules:
        from flows.deploy.schedules import parse_schedules

        parse_schedules(file.deploy)


def _check_servers(settings: "LadderConfig", models: list[tuple[str, str]]) -> None:
    """See that the servers that the environment names answer, and that the registry has the models that are named."""
    from flows.deploy.environment import name_servers

    name_servers(settings.storage)
    see_mlflow()
    if os.environ.get("PREFECT_API_URL"):
        from flows.deploy.prefect_answer import require_prefect

        require_prefect()
    if models:
        from flows.registry.external_models import check_registered

        check_registered(models)
