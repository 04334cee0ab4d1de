"""What the commands of `rlhf` share: arguments, exit codes, and how input errors are told."""

import errno
import os
import select
import shlex
import signal
import sys
import tempfile
import traceback
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.config.ladder import IngestConfig, LadderConfig
    from flows.report import Terminal

NO_PATH = {errno.ENAMETOOLONG, errno.ELOOP}
"""What a file system says of a path that nothing can lie at."""

ENDING_SECONDS = 120
"""What a command gets to end in good order after Ctrl-C."""

WIDE = 1000
EXIT_OUTAGE = 1
EXIT_INPUT = 2
EXIT_GATE = 3
EXIT_WAITING = 4
EXIT_OUT_OF_TIME = 5

ConfigFile = Annotated[Path, typer.Argument(help="YAML file, as `rlhf init` writes it.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Whose registry is meant. By default ladder.yaml of the working folder; the defaults where there is none.",
    ),
]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="field.name=value, replaces a value of the file.")]
ModelArgument = Annotated[
    str, typer.Argument(help="name/version, name@alias, a folder, or owner/name[@revision] of the hub.")
]
PORTS = {"min": 1, "max": 65535}


def connect(settings: "LadderConfig") -> None:
    """Set the environment, which Prefect and MLflow read when they are imported, and see that its MLflow answers."""
    from flows.deploy.environment import prepare

    prepare(settings.storage, threads=settings.threads)
    see_mlflow()


def own_config(config: Path | None, overrides: list[str] | None, *, model: str | None) -> "LadderConfig":
    """Read a configuration, or the working folder's own, as `of_registry` says; nothing is made."""
    from flows.config.loading import load_own_config
    from flows.registry.lookup import project_of_version

    settings = load_own_config(config, project=model and project_of_version(model), overrides=overrides or [])
    if settings.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)  # which torch reads when it is imported
    return settings


def of_registry(
    config: Path | None, overrides: list[str] | None, *, model: str | None, see: Callable[[], None]
) -> "LadderConfig":
    """Read a configuration, the working folder's own where none is named, and connect to its registry.

    Args:
        config: None where none is named.
        overrides: what is to replace values of it.
        model: what is asked for, whose project is taken where there is no configuration; None needs one.
        see: sees that what is asked for is in the registry, before anything is made or imported.
    """
    from flows.deploy.environment import name_servers

    settings = own_config(config, overrides, model=model)
    name_servers(settings.storage)
    see()
    connect(settings)
    return settings


def check_output(option: str, path: Path | None) -> None:
    """See that a file that an option names can be written, before the work that it is to hold."""
    from flows.config.errors import InputError
    from flows.config.folders import check_folder

    if path is None:
        return
    if path.is_dir() or not path.absolute().parent.is_dir():
        reason = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise InputError(f"{option} {path}: {reason}; name a file in a folder that is there")
    check_folder(path.absolute().parent)


def show_page(page: str, html: Path | None, *, named: str, says: str) -> None:
    """Write a page to the file that a person named, or open it from a temporary one.

    Args:
        page: HTML.
        html: the file; None opens the page.
        named: what the temporary file is called.
        says: what the page is of.
    """
    file = html or Path(tempfile.mkdtemp(prefix="rlhf-")) / named  # a folder of this user's alone
    file.write_text(page, encoding="utf-8")
    typer.echo(f"{file}: {says}")
    if html is None and not webbrowser.open(file.as_uri()):
        typer.echo("no browser is here: copy the file to a machine with one")


def wide_console() -> "Terminal":
    """As wide as the terminal; elsewhere so wide that no line is broken."""
    from flows.report import Terminal

    return Terminal(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def see_storage(settings: "IngestConfig") -> None:
    """See that a climb may write to whatever an earlier one made in the storage folder."""
    from flows.config.folders import check_parts

    check_parts(settings.storage, "*", "snapshots/*", "work/*")


def see_mlflow() -> None:
    """See that the MLflow server that the environment names answers; a local database needs no import to be seen."""
    addresses = (os.environ.get(name) or "sqlite:" for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"))
    if any(not address.startswith("sqlite:") for address in addresses):
        from flows.registry.server import require_mlflow

        require_mlflow()


def start_orchestrator() -> None:
    """Start a Prefect server of one's own, or see that the one that the environment names answers."""
    if os.environ.get("PREFECT_API_URL"):
        from flows.deploy.prefect_answer import require_prefect

        require_prefect()
    else:
        from flows.deploy.prefect_server import start_server

        start_server()


def as_typed(config: Path, overrides: list[str] | None) -> str:
    """A configuration and its overrides as they would be typed, but for those that no climb sees."""
    climbing = (override for override in overrides or [] if not override.startswith("deploy."))
    return shlex.join([str(config), *(part for override in climbing for part in ("--set", override))])


@contextmanager
def quietly(arguments: str = "") -> Iterator[None]:
    """Keep libraries quiet; end without a traceback where the input is wrong, a disk is full or a server away.

    Args:
        arguments: the configuration as it is typed, of a command that reads data.
    """
    from flows.deploy.environment import quiet

    quiet()  # before the first import that reads it
    from flows.config.errors import InputError

    sys.excepthook = _tell_without_secrets
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        if error.looks:
            steps = (*error.looks, f"rlhf ingest {arguments}  # once they are mended, or allowed in `contract`")
            typer.echo("\n  ".join(["Next:", *steps]), err=True)
        raise typer.Exit(EXIT_INPUT) from None
    except typer.Exit:
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            raise  # which typer ends at without a word
        if (told := _in_words(error)) is None:
            raise
        words, code = told
        typer.echo(f"error: {words}", err=True)
        raise typer.Exit(code) from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End in good order at Ctrl-C, within a while; another one ends at once, which costs no more than a kill does.

    An interrupt that comes while a lock is taken or given back may leave it taken for ever, as that of `logging`, and
    whoever is waited for at the end may wait for that lock.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(ENDING_SECONDS)
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\nending in good order; Ctrl-C again ends at once\n")
    raise KeyboardInterrupt


def _in_words(error: Exception) -> tuple[str, int] | None:
    """What a person is told of an error of the system, and the exit code; None of one that nobody expected."""
    from pydantic import ValidationError

    from flows.config.redaction import redact
    from flows.registry.processes import user_name

    if isinstance(error, ValidationError) and error.title.endswith("Settings"):  # as Prefect calls its own
        first = error.errors(include_url=False, include_input=False)[0]
        setting = ".".join(map(str, first["loc"]))
        return f"Prefect's setting {setting}: {first['msg']}; mend the variable PREFECT_... that sets it", EXIT_INPUT
    from flows.tasks import outage  # imports Prefect, which reads its settings

    if isinstance(error, OSError) and error.errno in NO_PATH:
        return f"{str(error.filename)[:80]}: {error.strerror}; give another path", EXIT_INPUT
    if isinstance(error, PermissionError):
        whose = f"{error.strerror} to {user_name()}; ask its owner, or name another place"
        return f"{error.filename or 'what was asked'}: {whose}", EXIT_INPUT
    if reason := outage(error):
        return f"{redact(reason)}, which goes on from what was finished and the last state", EXIT_OUTAGE
    return None


def _reader_is_gone() -> bool:
    """Whether what reads the output has ended, as `head` does, so that nothing more can be written."""
    try:
        output = sys.stdout.fileno()
    except OSError:
        return False
    waiting = select.poll()
    waiting.register(output, 0)
    return any(event & select.POLLERR for _, event in waiting.poll(0))


def _tell_without_secrets(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of what nobody expected, in which libraries may quote an address with its password."""
    from flows.config.redaction import redact

    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
