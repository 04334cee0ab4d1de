"""The command that says how a project is."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import Overrides, quietly

EXIT_NEEDED = 1


def status(
    config: Annotated[
        Path | None, typer.Argument(help="YAML file of the project; by default ladder.yaml of the working folder.")
    ] = None,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say on one screen how a project is: champions, runs, what is overdue, and what needs a person.

    Exit code 1: something needs a person; it is named with what to do. Nothing is changed.
    """
    with quietly():
        from flows.config.loading import OWN_CONFIG, load_own_config
        from flows.deploy.environment import name_servers

        settings = load_own_config(config, project=None, overrides=overrides or [])
        name_servers(settings.storage)
        from flows.deploy.status.report import as_json as document
        from flows.deploy.status.report import lines, status_of

        found = status_of(settings, str(config or OWN_CONFIG))
        typer.echo(json.dumps(document(found), indent=2) if as_json else "\n".join(lines(found)))
        if found.concerns:
            raise typer.Exit(EXIT_NEEDED)
