"""Commands about champions: promote, go back, look who was."""

import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import EXIT_GATE, ConfigOption, Overrides, check_output, of_registry, quietly, show_page

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
By = Annotated[str | None, typer.Option(help="Who does it; user@host by default.")]


def _stripped(text: str) -> str:
    return text.strip()


Why = Annotated[str, typer.Option(help="The reason, which is kept.", callback=_stripped)]


def promote(
    model: Annotated[str, typer.Argument(help="Registered name, for its challenger; or name/version, name@alias.")],
    config: ConfigOption = None,
    overrides: Overrides = None,
    yes: Yes = False,
    force: Annotated[bool, typer.Option("--force", help="Even if gates did not pass; needs --why.")] = False,
    why: Why = "",
    by: By = None,
) -> None:
    """Make a version champion, after a look at it beside the present one. Exit code 3: its gates did not pass."""
    with quietly():
        from flows.config.errors import InputError
        from flows.registry.lookup import named_version, require_project, require_version

        if force and not why:
            raise InputError('--force: give the reason, which is kept, as --why "the reason"')
        version = named_version(model)
        settings = of_registry(config, overrides, model=version, see=lambda: require_version(version))
        require_project(settings.project, version)
        from flows.promotion.promote import PromotionRefused, check_gates, propose
        from flows.promotion.promote import promote as make_champion
        from flows.promotion.tables import comparison_table, show_proposal
        from flows.registry.approvals import doubt_of_people, require_person
        from flows.registry.client import open_registry
        from flows.report import Terminal

        console = Terminal(highlight=False)
        registry = open_registry(settings.project, settings.storage, settings.audit)
        if settings.promotion.two_people:
            require_person(registry)
        proposal = propose(registry, model)
        show_proposal(proposal, console)
        try:
            check_gates(proposal, force=force, why=why)
        except PromotionRefused as refusal:
            typer.echo(f"refused: {refusal}", err=True)
            raise typer.Exit(EXIT_GATE) from None
        comparison = None
        if proposal.champion:
            from flows.promotion.comparison import compare

            comparison = compare(registry, settings, proposal.version, proposal.champion).comparison
            console.print(comparison_table(comparison))
        _ask(f"Make {proposal.version.label} champion?", yes)
        told = settings.lineage.openlineage
        make_champion(registry, proposal, by=by or user(), why=why, comparison=comparison, told=told)
        console.print(f"{proposal.version.label} is champion")
        if settings.promotion.two_people and (doubt := doubt_of_people(registry, proposal.version)):
            console.print(f"nothing starts from it yet: {doubt}")


def approve(
    model: Annotated[str, typer.Argument(help="Registered name, for its champion; or name/version, name@alias.")],
    config: ConfigOption = None,
    overrides: Overrides = None,
    yes: Yes = False,
    why: Why = "",
    by: By = None,
) -> None:
    """Sign for a version by your own key, as another person than who promoted it; or say why it was promoted."""
    with quietly():
        from flows.registry.lookup import require_project, require_version
        from flows.registry.names import CHAMPION

        version = model if "/" in model or "@" in model else f"{model}@{CHAMPION}"
        settings = of_registry(config, overrides, model=version, see=lambda: require_version(version))
        require_project(settings.project, version)
        from flows.promotion.approval import approve as sign
        from flows.registry.approvals import doubt_of_people, require_person
        from flows.registry.client import open_registry

        registry = open_registry(settings.project, settings.storage, settings.audit)
        name, ref = require_person(registry), registry.pin(version.removeprefix("models:/"))
        _ask(f"Sign for {ref.label}, digest {ref.digest[:12]}, as {name}?", yes)
        people = sign(registry, ref, by=by or name, why=why)
        typer.echo(f"{ref.label} is signed for by {', '.join(people)}")
        if settings.promotion.two_people and (doubt := doubt_of_people(registry, ref)):
            typer.echo(f"nothing starts from it yet: {doubt}")


def compare(
    model: Annotated[str, typer.Argument(help="name/version or name@alias.")],
    other: Annotated[
        str | None, typer.Argument(help="Another version of the same model; by default its champion.")
    ] = None,
    config: ConfigOption = None,
    overrides: Overrides = None,
    html: Annotated[Path | None, typer.Option(help="Write the page to a file instead of opening it.")] = None,
) -> None:
    """Measure two versions on the same held-out rows, and show the first on a page beside the second."""
    with quietly():
        from flows.config.errors import InputError
        from flows.registry.lookup import parse_version, require_project, require_version
        from flows.registry.names import CHAMPION

        check_output("--html", html)
        name = parse_version(model).name
        beside = other or f"{name}@{CHAMPION}"
        if parse_version(beside).name != name:
            raise InputError(f"{beside} is no version of {name}; name two versions of one model")
        settings = of_registry(config, overrides, model=model, see=lambda: require_version(model))
        require_version(beside)
        require_project(settings.project, model)
        from flows.pipeline.climb_page.versus import versus_page
        from flows.promotion.tables import comparison_table
        from flows.registry.client import open_registry
        from flows.report import Terminal

        registry = open_registry(settings.project, settings.storage, settings.audit)
        ours, theirs = (registry.pin(each.removeprefix("models:/")) for each in (model, beside))
        comparison, page = versus_page(registry, settings, ours, theirs)
        Terminal(highlight=False).print(comparison_table(comparison, theirs.label))
        named = f"rlhf-compare-{ours.digest[:8]}-{theirs.digest[:8]}.html"
        show_page(page, html, named=named, says=f"{ours.label} beside {theirs.label}")


def rollback(
    model: Annotated[str, typer.Argument(help="Registered name; or name/version of an earlier champion.")],
    config: ConfigOption = None,
    overrides: Overrides = None,
    yes: Yes = False,
    why: Why = "",
    by: By = None,
) -> None:
    """Return to the previous champion, or in one move to one further back."""
    with quietly():
        from flows.registry.lookup import require_model, require_project, require_version

        settings = of_registry(
            config, overrides, model=model, see=lambda: (require_version if "/" in model else require_model)(model)
        )
        require_project(settings.project, model)
        from flows.promotion.promote import earlier_champion, roll_back
        from flows.registry.approvals import doubt_of_people, require_person
        from flows.registry.client import open_registry

        registry = open_registry(settings.project, settings.storage, settings.audit)
        if settings.promotion.two_people:
            require_person(registry)
        champion = registry.champion(model.partition("/")[0])
        earlier = earlier_champion(registry, model)
        registry.verify(earlier)
        _ask(f"Make {earlier.label} champion again?", yes)
        roll_back(registry, earlier, past=champion, by=by or user(), why=why, told=settings.lineage.openlineage)
        typer.echo(f"{earlier.label} is champion again")
        if settings.promotion.two_people and (doubt := doubt_of_people(registry, earlier)):
            typer.echo(f"nothing starts from it yet: {doubt}")


def history(
    model: Annotated[str | None, typer.Argument(help="Registered name; all of the project by default.")] = None,
    config: ConfigOption = None,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, an object for each move.")] = False,
) -> None:
    """List who made which version champion or signed for it, when, from what and why; the newest first."""
    with quietly():
        from flows.registry.lookup import require_model, require_registry

        settings = of_registry(
            config, overrides, model=model, see=lambda: require_model(model) if model else require_registry()
        )
        import json

        from flows.promotion.history import history as read_history
        from flows.promotion.tables import show_history
        from flows.registry.client import open_registry
        from flows.report import Terminal

        registry = open_registry(settings.project, settings.storage, settings.audit)
        promotions = read_history(registry, model, with_approvals=True)
        if as_json:
            typer.echo(json.dumps([promotion.model_dump(mode="json") for promotion in promotions], indent=2))
        elif promotions:
            show_history(promotions, Terminal(highlight=False))
        else:
            typer.echo(f"nothing has been promoted of {model or settings.project}; `rlhf promote` does")


def _ask(question: str, yes: bool) -> None:
    try:
        agreed = yes or typer.confirm(question)
    except (RuntimeError, typer.Abort):
        if sys.stdin is not None and sys.stdin.isatty():
            raise  # a person who has typed Ctrl-C
        from flows.config.errors import InputError

        raise InputError("nobody is here to be asked: type --yes") from None
    if not agreed:
        raise typer.Abort


def user() -> str:
    """Who types, as user@host."""
    from flows.registry.processes import user_name

    return f"{user_name()}@{socket.gethostname()}"
