"""The command that shows the page of a climb."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import ConfigOption, Overrides, check_output, of_registry, quietly


def report(
    climb: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run's id, name/version or name@alias; without it, the newest climb."),
    ] = None,
    config: ConfigOption = None,
    overrides: Overrides = None,
    html: Annotated[Path | None, typer.Option(help="Write the page to a file instead of opening it.")] = None,
) -> None:
    """Make the page of a climb from what is stored: is it better, is it sound, what did it cost."""
    with quietly():
        from flows.registry.lookup import UNNAMED, require_registry, require_version

        check_output("--html", html)
        named = climb is not None and ("/" in climb or "@" in climb)

        def see() -> None:
            require_version(str(climb)) if named else require_registry()

        settings = of_registry(config, overrides, model=str(climb) if named else UNNAMED, see=see)
        from mlflow import MlflowClient

        from flows.pipeline.climb_page.climb import find_climb
        from flows.pipeline.climb_page.page import climb_page
        from flows.registry.database import prepare_database

        prepare_database()
        client = MlflowClient()
        run_id = find_climb(client, climb, None if settings.project == UNNAMED else settings.project)
        file = html or Path(tempfile.gettempdir()) / f"rlhf-report-{run_id[:12]}.html"
        file.write_text(climb_page(client, run_id), encoding="utf-8")
        typer.echo(f"{file}: climb {run_id}")
        if html is None:
            typer.launch(str(file))
