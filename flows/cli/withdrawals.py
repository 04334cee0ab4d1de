"""Commands on data that are not to be trained on."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import ConfigOption, Overrides, of_registry, quietly
from flows.cli.promotion import By, user

if TYPE_CHECKING:
    from flows.config.ladder import LadderConfig
    from flows.registry.client import Registry


def withdraw(
    data: Annotated[
        str,
        typer.Argument(
            help="dataset:DIGEST (the start of it will do); source:, annotator: or group: and a NAME; or a name alone."
        ),
    ],
    why: Annotated[str, typer.Option(help="The reason, which is kept and shown.")],
    config: ConfigOption = None,
    overrides: Overrides = None,
    by: By = None,
    take_back: Annotated[bool, typer.Option("--restore", help="Take the withdrawal of these data back.")] = False,
) -> None:
    """Leave data out of all later ingestions, and mark every version that was trained on them."""
    with quietly():
        from flows.config.errors import InputError

        if not why.strip():
            raise InputError('--why: give the reason, which is kept, as --why "the reason"')
        settings, registry = _registry(config, overrides)
        from flows.lineage.withdrawing import restore_data, withdraw_data
        from flows.registry.names import CHAMPION

        who = {"why": why.strip(), "by": by or user()}
        if take_back:
            restored = restore_data(registry, settings.project, data, **who)
            typer.echo(f"{restored.subject} is read again by the next ingestion; its versions are no longer marked")
            return
        withdrawal, versions = withdraw_data(registry, settings.project, data, **who)
        typer.echo(f"{withdrawal.subject} is left out of every ingestion from now on")
        typer.echo(f"{len(versions)} versions were trained on it, which are marked and no challengers:")
        for version in versions:
            typer.echo(f"  {version.label}{' @champion' if CHAMPION in version.aliases else ''}")
        for version in (each for each in versions if CHAMPION in each.aliases):
            typer.echo(f"Next:\n  {way_out(registry, version.name)}  # {version.label} is champion, and has these data")


def way_out(registry: "Registry", name: str) -> str:
    """What to type where the champion of a name was trained on withdrawn data."""
    from flows.config.errors import InputError
    from flows.promotion.promote import earlier_champion

    try:
        earlier_champion(registry, name)
    except InputError:
        return "rlhf run CONFIGURATION, and promote what comes of it: no earlier champion is without them"
    return f"rlhf rollback {name}"


def withdrawals(
    config: ConfigOption = None,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, an object for each withdrawal.")] = False,
) -> None:
    """List what was withdrawn, when, by whom and why, and the versions that have it."""
    with quietly():
        settings, registry = _registry(config, overrides)
        from flows.lineage.withdrawing import listed, render_withdrawals
        from flows.report import Terminal

        rows = listed(registry, settings.project)
        if as_json:
            typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        else:
            Terminal(highlight=False).print(render_withdrawals(rows))


def _registry(config: "ConfigOption", overrides: "Overrides") -> "tuple[LadderConfig, Registry]":
    from flows.registry.lookup import require_registry

    settings = of_registry(config, overrides, model=None, see=require_registry)
    from flows.registry.client import open_registry

    return settings, open_registry(settings.project, settings.storage)
