"""The command that starts a project of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import quietly

if TYPE_CHECKING:
    from flows.deploy.scaffold.project import NewProject


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make; its name is the project's.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="File, folder or glob with pairs, demonstrations or prompts; may be given several times."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Folder that from_pretrained reads, a .gguf file, or owner/name[@revision] of the hub."),
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="A configuration that comes with this, such as embedded, instead of both.")
    ] = None,
) -> None:
    """Write the folder of a project on your own data and model, to keep in git: configuration, README, checks."""
    with quietly():
        from flows.config.errors import InputError
        from flows.deploy.scaffold.project import examples, start_from_example, start_project

        if like is not None and not data and model is None:
            made = start_from_example(folder, like)
        elif data and model is not None and like is None:
            made = start_project(folder, data, model)
        else:
            raise InputError(f"name both --data and --model, or an example by --like instead: {', '.join(examples())}")
        _tell(made)


def _tell(made: "NewProject") -> None:
    for source in made.sources:
        kinds = ", ".join(f"{len(frame)} {kind}" for kind, frame in source.frames.items())
        typer.echo(f"{source.path}: {kinds or 'no known format; formats.py is to say what its rows are'}")
        for doubt in source.doubts:
            typer.echo(f"  look at it: {doubt}")
    if made.sizes is not None:
        for line in made.sizes.remarks:
            typer.echo(line)
    typer.echo(f"\n{made.folder} has {', '.join(made.files)}")
    offline = "" if made.sizes is not None else " --offline"
    typer.echo(
        f"\nNext:\n  cd {made.folder} && git init && git add .\n  rlhf config check ladder.yaml{offline}\n"
        "  rlhf run ladder.yaml"
    )
