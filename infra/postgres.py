"""PostgreSQL of the stack: where its programs are, who runs it, and its first start."""

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROLE = "rlhf"
DATABASES = ("prefect", "mlflow", "mlflow_auth")
PACKAGES = Path("/usr/lib/postgresql")
CLUSTERS = Path("/etc/postgresql-common/createcluster.d")


class Refused(Exception):
    """What a person has to mend before the stack can start."""


def programs() -> Path:
    """Folder with `initdb` and `postgres`; installs Debian's package where there is none and it may.

    Raises:
        Refused: if there is none and it cannot be installed from here.
    """
    if found := _installed():
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Refused("PostgreSQL is not installed: `apt-get install postgresql` as root, or put its initdb on PATH")
    CLUSTERS.mkdir(parents=True, exist_ok=True)
    (CLUSTERS / "rlhf-ladder.conf").write_text("create_main_cluster = false\n")  # else Debian makes and starts one
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ("update", "install --yes --no-install-recommends postgresql"):
        subprocess.run(["apt-get", "--quiet", *command.split()], env=environment, check=True)
    if found := _installed():
        return found
    raise Refused(f"Debian's package `postgresql` is installed, but there is no initdb in {PACKAGES}")


def _installed() -> Path | None:
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    versions = sorted(PACKAGES.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


def owner() -> str:
    """Who runs PostgreSQL: oneself, or as root, which it refuses, the user that Debian's package makes."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise Refused("PostgreSQL refuses to run as root, and there is no user `postgres`")


def let_in(user: str, folder: Path) -> None:
    """Let who runs PostgreSQL pass through the stack's folder, which nobody else enters, to its own below it."""
    if os.geteuid() == 0 and stat.S_IMODE(folder.stat().st_mode) == 0o700:
        os.chown(folder, -1, pwd.getpwnam(user).pw_gid)
        folder.chmod(0o710)


def initialise(data: Path, bin_folder: Path, password: str) -> None:
    """Make the databases for one role, who needs the password, unless the folder already has them.

    Raises:
        Refused: if the user that runs PostgreSQL cannot enter the folder.
    """
    user = owner()
    let_in(user, data.parent)
    if _run(user, ["test", "-x", data.parent]).returncode != 0:
        raise Refused(f"user {user} cannot enter {data.parent}: name a folder that it can, `make up STACK=/srv/rlhf`")
    if data.exists():
        return
    fresh = data.with_suffix(".new")  # becomes `data` when it is whole
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    shutil.chown(fresh, user)
    _as(user, bin_folder / "initdb", "-D", fresh, "-U", ROLE, "-A", "reject", "-E", "UTF8", "--no-locale")
    statements = [f"ALTER ROLE {ROLE} PASSWORD '{password}'", *(f"CREATE DATABASE {name}" for name in DATABASES)]
    _as(user, bin_folder / "postgres", "--single", "-D", fresh, "postgres", statements="\n".join(statements))
    (fresh / "pg_hba.conf").write_text(f"host all {ROLE} 127.0.0.1/32 scram-sha-256\n")
    fresh.rename(data)


def _as(user: str, *command: str | Path, statements: str = "") -> None:
    done = _run(user, command, statements)
    if done.returncode != 0:
        raise Refused(f"{command[0]} failed:\n{done.stdout}")


def _run(user: str, command: Sequence[str | Path], statements: str = "") -> subprocess.CompletedProcess[str]:
    other = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    return subprocess.run(
        command, cwd="/", input=statements, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **other
    )
