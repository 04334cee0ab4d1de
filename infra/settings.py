"""Settings and secrets of the stack, and what supervisor and clients are told of them."""

import base64
import json
import os
import secrets
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import postgres
from postgres import Refused

from flows.attestation.keys import PIPELINE_KEY, pipeline_key_file
from flows.deploy.environment import LOOPBACK, QUIET
from flows.registry.processes import user_name

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
DEFAULTS = {
    "AUTH": "off",  # on: both servers want a name and a password
    "WORKERS": "1",
    "POSTGRES_PORT": "5433",
    "PREFECT_PORT": "4200",
    "MLFLOW_PORT": "5000",
    "RECEIVER_PORT": "5050",
    "WORKER_PORT": "4210",  # of the first worker's health page; the others follow
    "PREFECT_URL": "http://127.0.0.1:{PREFECT_PORT}",  # as browsers reach them, through a proxy for instance
    "MLFLOW_URL": "http://127.0.0.1:{MLFLOW_PORT}",
}

# A password that has been checked holds for a minute: checking one takes longer than most requests.
MLFLOW_AUTH = """[mlflow]
default_permission = READ
database_uri = postgresql+psycopg2://{database}/mlflow_auth
admin_username = admin
auth_cache_ttl_seconds = 60
"""


def read_settings(stack: Path) -> dict[str, str]:
    """What is given now, else what was given earlier, else the default.

    Raises:
        Refused: if a value makes no sense.
    """
    given = {name: os.environ[name] for name in DEFAULTS if os.environ.get(name)}
    settings = DEFAULTS | read_json(stack / "settings.json") | given
    if settings["AUTH"] not in ("on", "off"):
        raise Refused(f"AUTH is {settings['AUTH']!r}; it can be on or off")
    for name in ("WORKERS", *(name for name in DEFAULTS if name.endswith("PORT"))):
        if not settings[name].isdigit() or int(settings[name]) < 1:
            raise Refused(f"{name} is {settings[name]!r}; it must be a number above 0")
    return settings


def exposed(settings: dict[str, str]) -> Iterator[str]:
    """Warnings of servers that others reach by a proxy, and that want no password of them."""
    for name in ("MLFLOW_URL", "PREFECT_URL"):
        address = settings[name].format(**settings)
        if settings["AUTH"] != "on" and urlsplit(address).hostname not in LOOPBACK:
            yield (
                f"warning: whoever reaches {address} can read, alter, promote and start everything without a password: "
                "`make up AUTH=on`"
            )


def read_json(path: Path) -> dict[str, str]:
    """What a file holds; nothing if it is not there."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def read_secrets(path: Path) -> dict[str, str]:
    """Passwords and keys, made at the first start."""
    if not path.exists():
        made = {name: secrets.token_urlsafe(24) for name in ("postgres", "mlflow", "prefect", "flask")}
        made["webhooks"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()  # a key of Fernet
        write_private(path, json.dumps(made, indent=1))
    return read_json(path)


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)


def client_environment(stack: Path, settings: dict[str, str], hidden: dict[str, str]) -> dict[str, str]:
    """What a client on this machine needs in its environment; all sign by the key of the stack."""
    client = {
        "PREFECT_API_URL": f"http://127.0.0.1:{settings['PREFECT_PORT']}/api",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{settings['MLFLOW_PORT']}",
        PIPELINE_KEY: str(pipeline_key_file(stack)),
    }
    if settings["AUTH"] == "on":
        client |= {
            "PREFECT_API_AUTH_STRING": f"admin:{hidden['prefect']}",
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": hidden["mlflow"],
        }
    return client


def configuration(stack: Path, settings: dict[str, str], hidden: dict[str, str], programs: Path) -> str:
    """Configuration of supervisor, with the passwords of the parts in it."""
    urls = {name: settings[name].format(**settings) for name in ("PREFECT_URL", "MLFLOW_URL")}
    database = f"{postgres.ROLE}:{hidden['postgres']}@127.0.0.1:{settings['POSTGRES_PORT']}"
    prefect = {
        "PREFECT_HOME": f"{stack}/prefect",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{database}/prefect",
        "PREFECT_SERVER_UI_API_URL": f"{urls['PREFECT_URL']}/api",
    }
    mlflow = {
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://{database}/mlflow",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "5",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": hidden["webhooks"],
    }
    if settings["AUTH"] == "on":
        prefect["PREFECT_SERVER_API_AUTH_STRING"] = f"admin:{hidden['prefect']}"
        write_private(stack / "mlflow-auth.ini", MLFLOW_AUTH.format(database=database))
        mlflow |= {
            "MLFLOW_AUTH_CONFIG_PATH": f"{stack}/mlflow-auth.ini",
            "MLFLOW_AUTH_ADMIN_PASSWORD": hidden["mlflow"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": hidden["flask"],
        }
    worker = {"PREFECT_HOME": f"{stack}/prefect", **client_environment(stack, settings, hidden)}
    return string.Template((ROOT / "infra" / "supervisord.conf").read_text()).substitute(
        settings | urls,
        stack=stack,
        root=ROOT,
        bin=BIN,
        python=sys.executable,
        user=user_name(),
        postgres_bin=programs,
        postgres_user=postgres.owner(),
        quiet=_environment(QUIET),
        prefect=_environment(prefect),
        mlflow=_environment(mlflow),
        mlflow_hosts=f"localhost:*,127.0.0.1:*,{urls['MLFLOW_URL'].partition('://')[2]}",
        mlflow_app="--app-name basic-auth" if settings["AUTH"] == "on" else "",
        client=_environment(worker),
    )


def _environment(values: dict[str, str]) -> str:
    return ",".join(f'{name}="{value.replace("%", "%%")}"' for name, value in values.items())
