"""Secrets of the environment taken out of texts: what is shown, logged, tagged or answered passes through here."""

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

MASK = "***"

SHORTEST = 6
"""Characters; a shorter value, such as `true`, would be struck out of words that are no secret."""

SECRET_NAME = re.compile(r"(?:^|_)(?:TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|KEY|AUTH_STRING)$", re.IGNORECASE)
"""Environment variables whose value is a secret, such as HF_TOKEN or AWS_SECRET_ACCESS_KEY."""

ADDRESS = re.compile(r"[a-z][\w+.-]*://[^/@\s:]*:(?P<password>\S+)@", re.IGNORECASE)
"""A variable that is an address with a name and a password; the last @ ends it, as in clients of databases."""

USERINFO = re.compile(r"(?<=://)[^/\s'\"]*@")

QUERY = re.compile(r"([?&;][\w.%-]*(?:password|passwd|token|secret|key|signature|credential|sig)=)[^&;\s'\"]+", re.I)
"""A part of an address's query that lets one in, such as the signature of a download."""


def redact(text: str, *secrets: str) -> str:
    """A text without passwords, tokens and keys.

    Args:
        text: such as a message, which may quote addresses.
        secrets: to strike out beside those of the environment.
    """
    for secret in sorted({*secrets, *_secrets()} - {""}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return redact_address(text)


def redact_address(text: str) -> str:
    """An address without names, passwords and keys, or a text whose addresses have none; whatever the environment."""
    return QUERY.sub(rf"\1{MASK}", USERINFO.sub(f"{MASK}@", text))


def _secrets() -> Iterator[str]:
    """What the environment holds of secrets, also as other spellings of addresses have them."""
    for name, value in os.environ.items():
        found = ADDRESS.match(value)
        if found is not None:
            held = [found["password"], unquote(found["password"])]
        elif SECRET_NAME.search(name):
            held = [value, value.partition(":")[2]]  # of `name:password` the password too
        else:
            continue
        yield from (secret for secret in held if len(secret) >= SHORTEST)
