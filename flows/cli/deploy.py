"""The command that registers deployments."""

from typing import Annotated

import typer

from flows.cli.common import ConfigFile, Overrides, as_typed, connect, quietly


def deploy(
    config: ConfigFile,
    schedule: Annotated[
        str | None,
        typer.Option(help="When the ladder runs: cron, an interval (PT6H) or an RRULE; replaces the file's."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Register the ladder and each stage alone with the Prefect server that PREFECT_API_URL names."""
    with quietly():
        from flows.config.loading import load_file
        from flows.config.rounds import check_rounds

        file = load_file(config, overrides=overrides or [])
        check_rounds(file.climb, file.deploy.iterate)
        connect(file.climb)
        from flows.deploy.schedules import parse_schedules

        parse_schedules(file.deploy, schedule)
        from flows.deploy.prefect_answer import require_prefect

        require_prefect()  # before the imports of all flows
        from flows.deploy.deployments import POOL
        from flows.deploy.deployments import deploy as register

        for deployed in register(file, arguments=as_typed(config, overrides), schedule=schedule):
            rests = "; stays paused, as somebody paused it in Prefect" if deployed.paused else ""
            typer.echo(f"{deployed.name:32} queue {deployed.queue:9} {deployed.schedule or 'no schedule'}{rests}")
        typer.echo(
            f"\nNext:\n  prefect worker start --pool {POOL}\n  prefect deployment run rlhf-ladder/{file.project}"
        )
