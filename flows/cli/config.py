"""Commands on configuration files and their settings."""

import json

import typer

from flows.cli.common import ConfigFile, Overrides, quietly


def show(config: ConfigFile, overrides: Overrides = None) -> None:
    """Print the whole configuration that a file means, as YAML, with where each value comes from."""
    with quietly():
        from flows.config.origins import effective_yaml

        typer.echo(effective_yaml(config, overrides=overrides or []), nl=False)


def docs() -> None:
    """Print the page of every setting, in Markdown: meaning, unit, default, range and where it is declared."""
    from flows.config.reference import settings_page

    typer.echo(settings_page(), nl=False)


def schema() -> None:
    """Print the JSON schema of configuration files, by which editors complete, explain and check them."""
    from flows.config.schema import file_schema

    typer.echo(json.dumps(file_schema(), indent=1, ensure_ascii=False))
