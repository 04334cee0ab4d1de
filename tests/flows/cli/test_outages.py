"""A full disk and a server that is away are one line and exit code 1; other errors keep their traceback."""

import errno
import os
from pathlib import Path

import httpx
import pytest
import typer
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from torch.distributed.checkpoint.api import CheckpointException

from flows.cli import main
from flows.cli.common import quietly
from rlhf_core.training import checkpoint


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "/data/x: No space left on device; make room"),
        (OSError(errno.EROFS, "Read-only file system"), "error: Read-only file system; make room there, or let it be"),
        (MlflowException("down\nand out", TEMPORARILY_UNAVAILABLE), "did not answer in time (MlflowException: "),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "did not answer in time (BrokenPipeError: "),
        (httpx.ConnectError("refused"), "did not answer in time (ConnectError: refused); run again"),
        (
            httpx.ConnectError("refused", request=httpx.Request("GET", "http://me:word@prefect:4200/api/flows?x=y")),
            "did not answer in time (ConnectError: http://prefect:4200/: refused); run again",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_outage_is_one_line(error: Exception, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as end, quietly():
        raise error
    told = capsys.readouterr().err
    assert end.value.exit_code == 1 and words in told and len(told.splitlines()) == 1


def test_a_reader_that_has_ended_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as output:
        monkeypatch.setattr("sys.stdout", output)
        with pytest.raises(typer.Exit), quietly():
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")  # of a server: the output still has its reader
        os.close(reader)
        with pytest.raises(BrokenPipeError), quietly():
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_other_errors_and_ends_go_through() -> None:
    with pytest.raises(ZeroDivisionError), quietly():
        _ = 1 / 0
    with pytest.raises(typer.Exit) as end, quietly():
        raise typer.Exit(3)
    assert end.value.exit_code == 3


def test_what_a_disk_says_of_a_state_is_raised_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def save(*_: object, **__: object) -> None:
        raise CheckpointException("write", {0: (full, None)})

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(OSError, match="No space left on device") as raised:
        checkpoint.write_state({}, tmp_path / "state")
    assert raised.value is full


def test_a_state_that_did_not_fit_is_told_as_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    def save(*_: object, **__: object) -> None:
        raise CheckpointException("write", {0: (cut, None)})

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(OSError, match="could not be written whole") as raised:
        checkpoint.write_state({}, tmp_path / "state")
    assert raised.value.errno == errno.ENOSPC


def test_a_path_that_nothing_can_lie_at_is_a_mistake_of_the_input(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as end, quietly():
        Path("x" * 300).read_text()
    assert end.value.exit_code == 2 and "File name too long; give another path" in capsys.readouterr().err


def test_an_argument_that_is_no_text_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["rlhf", "audit", "\udcff/1"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2 and capsys.readouterr().err.startswith("error: argument 2 is not UTF-8: rename what")
