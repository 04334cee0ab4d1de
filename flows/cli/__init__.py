"""The commands of `rlhf`, a module for each group of them. Start in `run`."""

import gc
import io
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import (
    config,
    data,
    deploy,
    explain,
    init,
    keys,
    lineage,
    models,
    promotion,
    receive,
    run,
    status,
    withdrawals,
)
from flows.cli.common import EXIT_INPUT
from flows.cli.evidence import evidence_app

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
config_app = typer.Typer(help="Work with configuration files.", no_args_is_help=True)
data_app = typer.Typer(help="Look at raw data, and withdraw data that are not to be trained on.", no_args_is_help=True)
keys_app = typer.Typer(help="Keys that sign what is made, judged and promoted.", no_args_is_help=True)

COMMANDS = (
    *(init.init, run.run, run.ingest, deploy.deploy, receive.receive, models.generate, models.score),
    *(models.reward_bench, models.ui, explain.explain, status.status),
    *(promotion.compare, promotion.promote, promotion.approve, promotion.rollback, promotion.history),
    *(lineage.report, lineage.lineage, lineage.impact, lineage.audit, lineage.prune, lineage.doctor),
)
for command in COMMANDS:
    app.command()(command)
app.command("evaluate", hidden=True)(models.reward_bench)  # its name until there was a flow that evaluates
for on_config in (run.check, config.show, config.docs, config.schema):
    config_app.command()(on_config)
for on_data in (run.inspect, data.raters, withdrawals.withdraw, withdrawals.withdrawals):
    data_app.command()(on_data)
for on_keys in (keys.new, keys.show, keys.trust, keys.retire):
    keys_app.command()(on_keys)
app.add_typer(config_app, name="config")
app.add_typer(data_app, name="data")
app.add_typer(evidence_app, name="evidence")
app.add_typer(keys_app, name="keys")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rlhf-ladder {version('rlhf-ladder')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """RLHF Ladder: from preferences to a policy, with gates and lineage."""


def main() -> None:
    """Entry point of the console script."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of a terminal that is not UTF-8
    for number, argument in enumerate(sys.argv[1:], start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            typer.echo(f"error: argument {number} is not UTF-8: rename what it names, or type it in UTF-8", err=True)
            sys.exit(EXIT_INPUT)
    try:
        Path.cwd()
    except FileNotFoundError:
        typer.echo("error: the working folder is gone: change into another one", err=True)
        sys.exit(EXIT_INPUT)
    try:
        app()
    finally:
        gc.freeze()  # the interpreter ends at once, rather than look for garbage among all that was imported
