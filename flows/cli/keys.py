"""Commands about signing keys: make one, show its public half, introduce others to auditors, retire one."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import ConfigOption, Overrides, connect, own_config, quietly

Own = Annotated[bool, typer.Option("--own", help="The key of the person who types, with which promotions are signed.")]


def new(
    file: Annotated[Path | None, typer.Argument(help="By default where the pipeline looks for it.")] = None,
    own: Own = False,
    config: ConfigOption = None,
    overrides: Overrides = None,
) -> None:
    """Make an ed25519 key that only this user can read; its public half lies beside it as .pub."""
    with quietly():
        from flows.attestation.keys import make_key

        path = file or _place(config, overrides, own=own)
        signer = make_key(path)
        typer.echo(f"{path}: key {signer.public_key.keyid}; its public half is {path.with_suffix('.pub')}")


def show(own: Own = False, config: ConfigOption = None, overrides: Overrides = None) -> None:
    """Print the public key, which auditors keep."""
    with quietly():
        import os

        from flows.attestation.keys import OWN_KEY, PIPELINE_KEY, load_key, public_pem

        named = os.environ.get(OWN_KEY if own else PIPELINE_KEY)
        key = load_key(named or _place(config, overrides, own=own)).public_key
        typer.echo(f"key {key.keyid}", err=True)
        typer.echo(public_pem(key), nl=False)


def trust(
    public: Annotated[Path, typer.Argument(help="File of a public key, such as that of a person who promotes.")],
    name: Annotated[str, typer.Option(help="Whose it is.")],
    config: ConfigOption = None,
    overrides: Overrides = None,
) -> None:
    """State, signed by the pipeline, that a key counts too: an auditor who trusts the pipeline's then trusts it."""
    with quietly():
        from flows.attestation.keys import public_pem, read_public_key

        key = read_public_key(public)
        _state(name, key.keyid, {"introduces": {name: public_pem(key)}}, config, overrides)
        typer.echo(f"key {key.keyid} of {name} counts from now on")


def retire(
    keyid: Annotated[str, typer.Argument(help="Id of the key, as `rlhf keys show` prints it.")],
    config: ConfigOption = None,
    overrides: Overrides = None,
) -> None:
    """State that a key no longer counts: what it signs from now on is unsigned to auditors, what it signed stays."""
    with quietly():
        from flows.config.errors import InputError

        if len(keyid) != 64 or set(keyid) - set("0123456789abcdef"):
            raise InputError(f"{keyid}: is no id of a key, which has 64 hexadecimal digits; `rlhf keys show` prints it")
        _state("retired", keyid, {"retires": [keyid]}, config, overrides)
        typer.echo(f"key {keyid} no longer counts")


def _place(config: Path | None, overrides: list[str] | None, *, own: bool) -> Path:
    """Where the key lies that is meant."""
    from flows.attestation.keys import own_key_file, pipeline_key_file
    from flows.registry.lookup import UNNAMED

    if own:
        return own_key_file()
    settings = own_config(config, overrides, model=UNNAMED)
    return settings.audit.key or pipeline_key_file(settings.storage)


def _state(
    name: str, keyid: str, predicate: dict[str, object], config: Path | None, overrides: list[str] | None
) -> None:
    settings = own_config(config, overrides, model=None)
    connect(settings)
    from flows.attestation.statement import KEYS, Subject
    from flows.registry.client import open_registry
    from flows.registry.statements import state

    registry = open_registry(settings.project, settings.storage, settings.audit)
    state(registry, KEYS, [Subject(name=name, digest={"sha256": keyid})], predicate, {})
