"""A storage of which another user may read or write only a part, and folders that are gone."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from mlflow import MlflowClient

POWERS = "--bounding-set=-dac_override,-dac_read_search"
MAIN = "from flows.cli import main; main()"

pytestmark = pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may read everything, and there is no setpriv"
)


def as_user(*arguments: str | Path, folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Type `rlhf` as somebody whom permissions of files bind."""
    bound = ["setpriv", POWERS, POWERS.replace("bounding-set", "inh-caps")] if os.geteuid() == 0 else []
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [*bound, sys.executable, "-c", MAIN, *map(str, arguments)]
    given = {**environment, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.slow
def test_nothing_is_promoted_by_who_cannot_sign_and_files_that_may_not_be_read_are_named(
    copied_home: Path, client_of: "Callable[[Path], MlflowClient]"
) -> None:
    weights = next(copied_home.glob("artifacts/models/*/artifacts/model.safetensors"))
    assert stat.S_IMODE(weights.stat().st_mode) == stat.S_IMODE(weights.with_name("config.json").stat().st_mode)
    of_copy = ("--config", "configs/tiny.yaml", "--set", f"storage={copied_home}")
    (copied_home / "keys").chmod(0)
    refused = as_user("promote", "tiny-reward-model", "--yes", *of_copy)
    assert refused.returncode == 2 and "RLHF_SIGNING_KEY" in refused.stderr and "Traceback" not in refused.stderr
    assert str(copied_home / "keys" / "pipeline.pem") in refused.stderr
    assert "champion" not in client_of(copied_home).get_registered_model("tiny-reward-model").aliases
    (copied_home / "keys").chmod(0o700)
    for path in copied_home.glob("artifacts/models/*/artifacts/model.safetensors"):
        path.chmod(0)
    unread = as_user("generate", "tiny-sft/1", "hello", *of_copy)
    assert unread.returncode == 2 and "model.safetensors" in unread.stderr and "Traceback" not in unread.stderr


def test_a_working_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    leave = f"import os, sys; os.rmdir({str(gone)!r}); sys.argv = ['rlhf', 'history']; {MAIN}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", leave], cwd=gone, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: the working folder is gone: change into another one\n")
