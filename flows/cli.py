"""`rlhf`: climb the ladder, check a configuration, ask a model, score an answer, open the pages."""

import sys
from pathlib import Path
from typing import Annotated

import typer

EXIT_INPUT = 2
EXIT_GATE = 3

app = typer.Typer(
    help="RLHF Ladder: from preferences to a policy, with gates and lineage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
config_app = typer.Typer(help="Work with configuration files.", no_args_is_help=True)
app.add_typer(config_app, name="config")

ConfigFile = Annotated[Path, typer.Argument(help="YAML file, such as configs/embedded.yaml.")]
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration whose registry is meant.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="field.name=value, replaces a value of the file.")]
ModelArgument = Annotated[str, typer.Argument(help="name/version, name@alias, or a folder.")]
DEFAULT_CONFIG = Path("configs/embedded.yaml")


@app.command()
def run(config: ConfigFile, overrides: Overrides = None) -> None:
    """Climb the ladder. Exit code 0: done; 2: bad configuration or data; 3: stopped by a gate; 1: anything else."""
    from flows.config import InputError  # noqa: PLC0415 keeps --help fast, as everywhere in this module

    try:
        settings = _prepared(config, overrides or [])
        from flows.gating import StoppedByGate  # noqa: PLC0415 imports Prefect, which reads what `_prepared` set
        from flows.ladder import climb_ladder  # noqa: PLC0415

        try:
            climb_ladder(settings)
        except StoppedByGate:
            raise typer.Exit(EXIT_GATE) from None
    except InputError as error:
        _fail(str(error))


@config_app.command("check")
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the hub for its models and data.")] = False,
) -> None:
    """Validate a configuration, and that what it names can be had."""
    from flows.config import InputError, load_config  # noqa: PLC0415

    try:
        settings = load_config(config, overrides=overrides or [])
        from flows.reachable import check_reachable  # noqa: PLC0415

        missing = check_reachable(settings, offline=offline)
    except InputError as error:
        _fail(str(error))
    typer.echo(f"{config}: valid; project {settings.project}, data {settings.data.kind}, base {settings.base.kind}")
    for line in missing:
        typer.echo(line)


@app.command()
def generate(
    model: ModelArgument,
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts; without any, one per line from stdin.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    temperature: Annotated[float | None, typer.Option(help="Replaces the configuration's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
) -> None:
    """Answer prompts with a registered model or a folder."""
    from flows.config import InputError  # noqa: PLC0415

    try:
        settings = _prepared(config, [])
        from flows.ask import answer  # noqa: PLC0415

        asked = prompts or [line.strip() for line in sys.stdin if line.strip()]
        for response in answer(settings, model, asked, temperature=temperature, seed=seed):
            typer.echo(response.text if response.finished else f"{response.text} [unfinished]")
    except InputError as error:
        _fail(str(error))


@app.command()
def score(
    model: ModelArgument,
    prompt: Annotated[str, typer.Option(help="What the user wrote.")],
    response: Annotated[list[str], typer.Option(help="What was answered; give several to compare.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Score responses by a reward model: calibrated logits, 0 is the mean of the demonstrations."""
    from flows.config import InputError  # noqa: PLC0415

    try:
        settings = _prepared(config, [])
        from flows.ask import rate  # noqa: PLC0415

        for text, value in zip(response, rate(settings, model, prompt, response), strict=True):
            typer.echo(f"{value:+.3f}  {text}")
    except InputError as error:
        _fail(str(error))


@app.command()
def ui(config: Annotated[Path, typer.Argument(help="The configuration whose storage is shown.")] = DEFAULT_CONFIG) -> None:
    """Open the MLflow and Prefect pages on a climb's storage until Ctrl-C."""
    from flows.config import InputError  # noqa: PLC0415

    try:
        settings = _prepared(config, [])
        from flows.pages import serve_pages  # noqa: PLC0415

        serve_pages(settings)
    except InputError as error:
        _fail(str(error))


def _prepared(config: Path, overrides: list[str]):  # type: ignore[no-untyped-def]  # imports LadderConfig late
    from flows.config import load_config  # noqa: PLC0415
    from flows.environment import prepare  # noqa: PLC0415

    settings = load_config(config, overrides=overrides)
    prepare(settings.storage, threads=settings.threads)
    return settings


def _fail(message: str) -> None:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(EXIT_INPUT)


def main() -> None:
    """Entry point of the console script."""
    app()
