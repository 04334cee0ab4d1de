"""`rlhf`: climb the ladder, ingest and look at data, check a configuration, ask a model, open the pages."""

import gc
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.config import LadderConfig

EXIT_INPUT = 2
EXIT_GATE = 3
DEFAULT_CONFIG = Path("configs/embedded.yaml")

app = typer.Typer(
    help="RLHF Ladder: from preferences to a policy, with gates and lineage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
config_app = typer.Typer(help="Work with configuration files.", no_args_is_help=True)
app.add_typer(config_app, name="config")
data_app = typer.Typer(help="Look at raw data.", no_args_is_help=True)
app.add_typer(data_app, name="data")

ConfigFile = Annotated[Path, typer.Argument(help="YAML file, such as configs/embedded.yaml.")]
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration whose registry is meant.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="field.name=value, replaces a value of the file.")]
ModelArgument = Annotated[str, typer.Argument(help="name/version, name@alias, or a folder.")]


@app.command()
def run(config: ConfigFile, overrides: Overrides = None) -> None:
    """Climb the ladder. Exit code 0: done; 2: bad configuration or data; 3: stopped by a gate; 1: anything else."""
    from flows.environment import importing
    from flows.own_server import start_server

    with _quietly():
        with importing():
            settings = _prepared(config, overrides)
            typer.echo(f"climbing {settings.project} in {settings.storage}", err=True)
            start_server()  # beside the imports that follow, which take as long
            from flows.gating import StoppedByGate  # imports Prefect, which reads what is set by now
            from flows.ladder import ladder
            from flows.registry import open_registry

        open_registry(settings.project, settings.storage)  # migrates its database while the server still starts
        try:
            ladder(settings, arguments=_as_typed(config, overrides))
        except StoppedByGate:  # the summary has said why
            raise typer.Exit(EXIT_GATE) from None


@app.command()
def ingest(config: ConfigFile, overrides: Overrides = None) -> None:
    """Read, check, divide and keep data, and say what became of every row. Exit code 2: the data are refused."""
    with _quietly():
        from flows.config import load_ingest_config
        from flows.environment import prepare

        settings = load_ingest_config(config, overrides=overrides or [])
        prepare(settings.storage)
        from flows.ingest import ingest_alone  # imports Prefect, which reads what `prepare` set

        ingest_alone(settings)


@data_app.command("inspect")
def inspect(
    path: Annotated[Path, typer.Argument(help="File, folder or glob.")],
    formats: Annotated[list[Path] | None, typer.Option(help="Python file that registers a format.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Raw rows of each file that are read.")] = 1000,
) -> None:
    """Say which format data have, show a few records, and what the contract says of them."""
    with _quietly():
        from flows.inspection import inspect_path

        inspect_path(path, formats=tuple(formats or ()), rows=rows)


@config_app.command("check")
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the hub for its models and data.")] = False,
) -> None:
    """Validate a configuration, and that what it names can be had."""
    with _quietly():
        from flows.config import load_config
        from flows.reachable import check_reachable

        settings = load_config(config, overrides=overrides or [])
        missing = check_reachable(settings, offline=offline)
        typer.echo(f"{config}: valid; project {settings.project}, data {settings.data.kind}, base {settings.base.kind}")
        for line in missing:
            typer.echo(line)


@app.command()
def generate(
    model: ModelArgument,
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts; without any, one per line from stdin.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    overrides: Overrides = None,
    temperature: Annotated[float | None, typer.Option(help="Replaces the configuration's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
) -> None:
    """Answer prompts with a registered model or a folder."""
    with _quietly():
        settings = _prepared(config, overrides)
        from flows.ask import answer

        asked = prompts or [line.strip() for line in sys.stdin if line.strip()]
        for response in answer(settings, model, asked, temperature=temperature, seed=seed):
            typer.echo(response.text if response.finished else f"{response.text} [unfinished]")


@app.command()
def score(
    model: ModelArgument,
    prompt: Annotated[str, typer.Option(help="What the user wrote.")],
    response: Annotated[list[str], typer.Option(help="What was answered; give several to compare.")],
    config: ConfigOption = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Score responses by a reward model: calibrated logits, 0 is the mean of the demonstrations."""
    with _quietly():
        settings = _prepared(config, overrides)
        from flows.ask import rate

        for text, value in zip(response, rate(settings, model, prompt, response), strict=True):
            typer.echo(f"{value:+.3f}  {text}")


@app.command()
def ui(
    config: Annotated[Path, typer.Argument(help="The configuration whose storage is shown.")] = DEFAULT_CONFIG,
    overrides: Overrides = None,
    mlflow_port: Annotated[int, typer.Option(help="Another one is taken if it is in use.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Another one is taken if it is in use.")] = 4200,
) -> None:
    """Open the MLflow and Prefect pages on a climb's storage until Ctrl-C."""
    with _quietly():
        settings = _prepared(config, overrides)
        from flows.pages import serve_pages

        serve_pages(settings, mlflow_port=mlflow_port, prefect_port=prefect_port)


def _prepared(config: Path, overrides: list[str] | None) -> "LadderConfig":
    """Read a configuration and set the environment, which Prefect and MLflow read when they are imported."""
    from flows.config import load_config
    from flows.environment import prepare

    settings = load_config(config, overrides=overrides or [])
    prepare(settings.storage, threads=settings.threads)
    return settings


def _as_typed(config: Path, overrides: list[str] | None) -> str:
    return shlex.join([str(config), *(part for override in overrides or [] for part in ("--set", override))])


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep libraries quiet; end with exit code 2 and without a traceback where the input is wrong."""
    from flows.environment import quiet

    quiet()  # before the first import that reads it
    from flows.errors import InputError

    try:
        yield
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_INPUT) from None


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    finally:
        gc.freeze()  # the interpreter ends at once, rather than look for garbage among all that was imported
