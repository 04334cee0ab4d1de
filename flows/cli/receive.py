"""The command that runs the receiver of promotions."""

import logging
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import PORTS, quietly

EXPOSED = (
    "listening on {host}: whoever reaches port {port} can read /health, without a name and a password; deliveries must "
    "be signed all the same"
)


def receive(
    port: Annotated[int, typer.Option(help="Where to listen.", **PORTS)] = 5050,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    address: Annotated[str, typer.Option(help="How MLflow reaches this receiver; http://HOST:PORT if not given.")] = "",
    folder: Annotated[Path, typer.Option(help="Keeps the secret and what was handled.")] = Path(".stack/receiver"),
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks at the registry.")] = 60.0,
    tolerance: Annotated[float, typer.Option(min=1, help="Seconds that a delivery's time may be off.")] = 300.0,
    openlineage: Annotated[
        str, typer.Option(envvar="OPENLINEAGE_URL", help="Server that is told of promotions by OpenLineage events.")
    ] = "",
    two_people: Annotated[
        bool,
        typer.Option(
            "--two-people", envvar="RLHF_TWO_PEOPLE", help="Hold promotions until two people signed for them."
        ),
    ] = False,
    reason_minutes: Annotated[
        float | None,
        typer.Option(
            min=1,
            envvar="RLHF_REASON_MINUTES",
            help="How long a promotion made in MLflow's page waits for a reason, the tag promotion.reason; it is held "
            "then. By default none is wanted.",
        ),
    ] = None,
) -> None:
    """Receive MLflow's webhooks, and tell Prefect which versions became champion."""
    with quietly():
        from flows.config.errors import InputError
        from flows.config.folders import make_folder
        from flows.config.lineage import told_at
        from flows.config.redaction import redact_address
        from flows.deploy.environment import LOOPBACK, prepare

        if address and not re.fullmatch(r"https?://[^/\s]+\S*", address):
            raise InputError(f"--address {address}: is no address; write http://HOST:PORT")
        if redact_address(address) != address:
            raise InputError(
                "--address holds a password or a key, which everybody sees in the list of processes: leave it out, as "
                "deliveries are signed"
            )
        if host not in LOOPBACK:
            typer.echo(f"warning: {EXPOSED.format(host=host, port=port)}", err=True)

        told = told_at(openlineage) if openlineage else None
        make_folder(folder.resolve(), mode=0o700)
        prepare(folder.resolve())
        logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s")
        for chatty in ("httpx", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        from flows.promotion.receiver import serve
        from flows.promotion.wanted import Wanted

        serve(
            folder.resolve(),
            host=host,
            port=port,
            address=address or f"http://{host}:{port}",
            every=every,
            tolerance=tolerance,
            told=told,
            wanted=Wanted(two_people, reason_minutes),
        )
