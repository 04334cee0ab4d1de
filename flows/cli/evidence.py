"""Commands about the papers of a version: gather them in one file, and verify such a file."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows.cli.common import ConfigOption, Overrides, check_output, of_registry, quietly, wide_console

EXIT_DOUBT = 1
WRITE = "of"


class EvidenceGroup(TyperGroup):
    """Takes a version without a command before it as one whose evidence is wanted."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As in click, after the command that may be left out was put in."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = [WRITE, *args]
        return super().parse_args(ctx, args)


evidence_app = typer.Typer(cls=EvidenceGroup, no_args_is_help=True, help="Gather what proves a version, or verify it.")


@evidence_app.command(WRITE)
def evidence(
    model: Annotated[str, typer.Argument(help="name/version or name@alias, with or without models:/.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file, a zip.")] = Path("evidence.zip"),
    config: ConfigOption = None,
    overrides: Overrides = None,
    rows: Annotated[
        bool,
        typer.Option("--rows/--no-rows", help="With the held-out rows behind the figures, or only digests."),
    ] = True,
) -> None:
    """Gather the evidence of a version: statements, records, model card, bill of materials, and a page to begin with.

    `rlhf evidence models:/NAME@champion -o bundle.zip` does; the word `of` may be left out.
    """
    with quietly():
        from flows.config.errors import InputError
        from flows.registry.lookup import parse_version, require_version

        check_output("--out", out)
        name = parse_version(model).name
        settings = of_registry(config, overrides, model=name, see=lambda: require_version(model))
        from mlflow import MlflowClient

        from flows.attestation.keys import PIPELINE_KEY, load_key, pipeline_key_file
        from flows.lineage.archive import Archive
        from flows.papers.bundle import write_bundle
        from flows.papers.dossier import read_dossier
        from flows.registry.client import open_registry
        from flows.registry.database import prepare_database
        from flows.report import warn

        prepare_database()
        archive = Archive(MlflowClient())
        dossier = read_dossier(archive, model)
        own = pipeline_key_file(settings.storage)
        named = os.environ.get(PIPELINE_KEY) or settings.audit.key or (own if own.exists() else None)
        signer = load_key(named) if named is not None and settings.audit.sign else None
        if signer is None:
            warn("the list of files is not signed, as there is no key of the pipeline here")
        words = settings.model_card.words
        registry = open_registry(settings.project, settings.storage)
        try:
            registry.verify(registry.pin(model.removeprefix("models:/")))
        except InputError as altered:
            warn(str(altered))
        files = write_bundle(archive, dossier, out, words=words, signer=signer, rows=rows)
        typer.echo(f"{out}: {len(files)} files on {dossier.story.root.label}; open index.html in it first")


@evidence_app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A file that `rlhf evidence` made.")],
    key: Annotated[list[Path], typer.Option(help="Public key of who made the model, got from them; may be repeated.")],
) -> None:
    """Say what of a bundle holds, by a public key alone. Exit code 1: something does not."""
    with quietly():
        from flows.attestation.keys import read_public_key
        from flows.lineage.audit import render
        from flows.lineage.finding import DOUBTS
        from flows.papers.bundle_archive import read_bundle
        from flows.papers.verification import verify_bundle

        trusted = [read_public_key(path) for path in key]
        findings = verify_bundle(read_bundle(bundle), trusted)
        wide_console().print(render(findings, ", ".join(map(str, key))))
        if any(finding.status in DOUBTS for finding in findings):
            raise typer.Exit(EXIT_DOUBT)


@evidence_app.command()
def sign(
    model: Annotated[str, typer.Argument(help="name/version or name@alias, with or without models:/.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The signature.")] = Path("model.sig"),
    config: ConfigOption = None,
    overrides: Overrides = None,
) -> None:
    """Sign the files of a version so that `model_signing verify key` verifies them, and state that key."""
    with quietly():
        from flows.registry.lookup import parse_version, require_version

        check_output("--out", out)
        name = parse_version(model).name
        settings = of_registry(config, overrides, model=name, see=lambda: require_version(model))
        from flows.papers.signing import require_model_signing, sign_model

        require_model_signing()
        from flows.registry.client import open_registry

        registry = open_registry(settings.project, settings.storage, settings.audit)
        signed = sign_model(registry, registry.pin(model.removeprefix("models:/")), out)
        typer.echo(f"{out}: signature of {signed.ref.label}, whose files are in {signed.folder}")
        typer.echo(f"model_signing verify key {signed.folder} --signature {out} --public_key {signed.public}")
