"""Commands that ask what the registry remembers of climbs and versions, whether that still holds, and that tidy up."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import (
    ConfigOption,
    Overrides,
    check_output,
    connect,
    of_registry,
    own_config,
    quietly,
    see_mlflow,
    show_page,
    start_orchestrator,
    wide_console,
)

if TYPE_CHECKING:
    from flows.lineage.archive import Archive

EXIT_DOUBT = 1
VersionArgument = Annotated[str, typer.Argument(help="name/version or name@alias, with or without models:/.")]


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
        version = climb if climb is not None and ("/" in climb or "@" in climb) else None
        project = own_config(config, overrides, model=version or UNNAMED).project
        archive = _archive(config, overrides, see=lambda: require_version(version) if version else require_registry())
        from flows.pipeline.climb_page.climb import find_climb
        from flows.pipeline.climb_page.page import climb_page

        run_id = find_climb(archive.client, climb, None if project == UNNAMED else project)
        page = climb_page(archive.client, run_id)
        show_page(page, html, named=f"rlhf-report-{run_id[:12]}.html", says=f"climb {run_id}")


def lineage(
    model: VersionArgument,
    config: ConfigOption = None,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a tree.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the graph instead.")] = None,
) -> None:
    """Say what a version was made from, by what, where and for how much."""
    with quietly():
        from flows.registry.lookup import parse_version, require_version

        check_output("--html", html)
        parse_version(model)
        archive = _archive(config, overrides, see=lambda: require_version(model))
        from flows.lineage import story as report

        story = report.tell(archive, model)
        if html is not None:
            from flows.lineage.page import as_html, servers

            html.write_text(as_html(story, servers()), encoding="utf-8")
            typer.echo(f"{html}: {len(story.graph.nodes)} nodes")
        elif as_json:
            typer.echo(report.as_json(story))
        else:
            wide_console().print(report.render(story))


def impact(
    source: Annotated[
        str,
        typer.Argument(
            help="dataset:DIGEST, where the start of it will do; source:, annotator: or group: and a NAME, or the name "
            "alone; or a version."
        ),
    ],
    config: ConfigOption = None,
    overrides: Overrides = None,
) -> None:
    """List every version that data or a version went into, those that hold an alias first."""
    with quietly():
        from flows.registry.lookup import require_named

        archive = _archive(config, overrides, see=lambda: require_named(source))
        from flows.lineage.impact import render

        wide_console().print(render(archive, source))


def audit(
    model: Annotated[str | None, typer.Argument(help="A version; without it, all that there is.")] = None,
    config: ConfigOption = None,
    overrides: Overrides = None,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", help="Public key that is trusted; by default the one beside the registry."),
    ] = None,
    witness: Annotated[
        str | None, typer.Option(help="Who keeps copies: a folder, s3://bucket/folder, or git+ssh://host/repository.")
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read files too: recompute digests, figures from held-out rows, verdicts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Hold the registry against its signed statements. Exit code 1: something is gone, altered, differs or unsigned."""
    with quietly():
        from flows.config.audit import witness_at
        from flows.registry.lookup import UNNAMED, parse_version, require_registry, require_version

        if model is not None:
            parse_version(model)
        if witness is not None:
            witness_at(witness, "--witness")
        archive = _archive(config, overrides, see=lambda: require_version(model) if model else require_registry())
        two_people = own_config(config, overrides, model=model or UNNAMED).promotion.two_people
        from flows.lineage import audit as auditing
        from flows.lineage.finding import DOUBTS
        from flows.lineage.proof import prove
        from flows.lineage.trust import trusted_keys

        trust = trusted_keys(key or [], None)
        versions = None if model is None else [archive.find(model)]
        findings = prove(archive, versions, trust.keys, witness=witness, deep=deep, two_people=two_people)
        if deep:
            findings += auditing.audit(
                archive, archive.everything().versions.values() if versions is None else versions
            )
        if as_json:
            typer.echo(json.dumps(auditing.as_json(findings, trust.why), indent=2))
        else:
            wide_console().print(auditing.render(findings, trust.why))
        if any(finding.status in DOUBTS for finding in findings):
            raise typer.Exit(EXIT_DOUBT)


def prune(
    config: ConfigOption = None,
    overrides: Overrides = None,
    keep_days: Annotated[float, typer.Option(min=0, help="What is younger stays.")] = 30.0,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only say what would go.")] = False,
) -> None:
    """Remove what no version with an alias needs: old versions, snapshots, states of interrupted trainings."""
    with quietly():
        from flows.registry.lookup import require_registry

        settings = of_registry(config, overrides, model=None, see=require_registry)
        from mlflow import MlflowClient

        from flows.lineage.retention import Retention, render
        from flows.registry.database import prepare_database

        prepare_database()
        retention = Retention(MlflowClient(), settings.project, settings.storage, settings.audit)
        wastes = retention.find(keep_days=keep_days)
        if yes:
            for waste in wastes:
                retention.remove(waste)
        kept = [] if yes else retention.kept_evidence(wastes)
        wide_console().print(render(wastes, kept, removed=yes))


def doctor(
    config: Annotated[Path | None, typer.Argument(help="YAML file whose storage and project are looked at.")] = None,
    storage: Annotated[
        Path | None, typer.Option(help="Look at a storage folder with all of its projects instead.")
    ] = None,
    overrides: Overrides = None,
    fix: Annotated[bool, typer.Option("--fix", help="Remove what is certainly nobody's; else only name it.")] = False,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Name what crashes left behind in storage and registry. Exit code 1: something was found and is still there."""
    with quietly():
        from flows.config.loading import OWN_CONFIG, load_own_config
        from flows.registry.lookup import UNNAMED

        settings = load_own_config(config, project=UNNAMED, overrides=overrides or [])
        one = storage is None and (config is not None or OWN_CONFIG.exists())
        folder = settings.storage if storage is None else storage.absolute()
        if not folder.is_dir():
            from flows.config.errors import InputError

            raise InputError(f"there is no storage folder {folder}; name it by --storage, or a configuration")
        connect(settings.model_copy(update={"storage": folder}))
        if fix:
            start_orchestrator()  # which is told of runs that are ended
        from flows.pipeline.doctor.checkup import as_json, examine, render, repair
        from flows.registry.database import database_file, prepare_database

        if (database := database_file()) is None or database.exists():
            prepare_database()
        receivers = (Path(os.environ.get("STACK") or ".stack") / "receiver", folder)
        leftovers = examine(folder, settings.project if one else None, [place / "ledger.db" for place in receivers])
        fixed = repair(folder, leftovers) if fix else []
        if json_wanted:
            typer.echo(json.dumps(as_json(leftovers, fixed), indent=2))
        else:
            wide_console().print(render(leftovers, fixed))
        if len(fixed) < len(leftovers):
            raise typer.Exit(EXIT_DOUBT)


def _archive(config: Path | None, overrides: list[str] | None, *, see: Callable[[], None]) -> "Archive":
    """What the registry remembers: that of the environment, and only where it names none that of a configuration."""
    from flows.config.addresses import check_addresses
    from flows.config.credentials import part_credentials

    if os.environ.get("MLFLOW_TRACKING_URI"):
        check_addresses()
        part_credentials()
        see()
        see_mlflow()
    else:
        from flows.registry.lookup import UNNAMED

        of_registry(config, overrides, model=UNNAMED, see=see)
    from mlflow import MlflowClient

    from flows.lineage.archive import Archive
    from flows.registry.database import prepare_database

    prepare_database()
    return Archive(MlflowClient())
