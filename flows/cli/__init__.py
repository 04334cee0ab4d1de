"""The commands of `rlhf`, a module for each group of them. Start in `run`."""

import gc
import os
import sys

import typer

from flows.cli import deploy, lineage, models, promotion, receive, run

app = typer.Typer(
    help="RLHF Ladder: from preferences to a policy, with gates and lineage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
config_app = typer.Typer(help="Work with configuration files.", no_args_is_help=True)
data_app = typer.Typer(help="Look at raw data.", no_args_is_help=True)

COMMANDS = (
    *(run.run, run.ingest, deploy.deploy, receive.receive, models.generate, models.score),
    *(models.reward_bench, models.ui),
    *(promotion.promote, promotion.rollback, promotion.history),
    *(lineage.lineage, lineage.impact, lineage.audit, lineage.prune),
)
for command in COMMANDS:
    app.command()(command)
app.command("evaluate", hidden=True)(models.reward_bench)  # its name until there was a flow that evaluates
config_app.command()(run.check)
data_app.command()(run.inspect)
app.add_typer(config_app, name="config")
app.add_typer(data_app, name="data")


def main() -> None:
    """Entry point of the console script; modules of users are also found in the working directory, after all others."""
    sys.path.append(os.getcwd())
    try:
        app()
    finally:
        gc.freeze()  # the interpreter ends at once, rather than look for garbage among all that was imported
