"""Trial of a chat template from elsewhere: a few conversations in a process of its own, with little time and memory.

A template is a program that comes with a model. Its sandbox keeps it from files and attributes, and not from loops that
never end or texts that fill the memory.
"""

import json
import re
import resource
import subprocess
import sys
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 2
"""Of processor time; templates of published models take a thousandth."""

MEMORY_BYTES = 1 << 29

CHARACTERS = 200_000
"""That a template may write beyond what it is given."""

TOO_LONG = 3
"""Exit code of a trial that wrote more."""

WORDS = "Some words. " * 40

CONVERSATIONS = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "user", "content": WORDS}, {"role": "assistant", "content": WORDS}],
    [{"role": "system", "content": WORDS}]
    + [{"role": role, "content": f"{turn} {WORDS}"} for turn in range(8) for role in ("user", "assistant")],
)

_GENERATION = re.compile(r"{%[-+]?\s*(end)?generation\s*[-+]?%}")
"""Tags of `transformers` around what the assistant writes."""


@cache
def try_template(template: str) -> None:
    """See that a chat template ends soon and writes no more than a conversation; what it writes does not matter here.

    Args:
        template: in Jinja, as tokenizers have it.

    Raises:
        ValueError: if it takes too much time or memory.
    """
    command = [sys.executable, "-I", __file__]
    try:
        code = subprocess.run(command, input=template.encode(), capture_output=True, timeout=8 * SECONDS).returncode
    except subprocess.TimeoutExpired:
        code = -1
    if code:
        what = f"writes more than {CHARACTERS:,} characters" if code == TOO_LONG else "takes too much time or memory"
        raise ValueError(
            f"the chat template {what} for a short conversation; correct `chat_template`, or take another model"
        )


def _render(template: str) -> None:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": _refuse, "strftime_now": datetime.now().strftime}
    environment.filters["tojson"] = _as_json
    compiled = environment.from_string(_GENERATION.sub("", template))
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    for conversation in CONVERSATIONS:
        given = sum(len(turn["content"]) for turn in conversation)
        for marker in (True, False):
            written = 0
            for part in compiled.generate(messages=conversation, add_generation_prompt=marker, **tokens):
                written += len(part)
                if written > 4 * given + CHARACTERS:
                    sys.exit(TOO_LONG)


def _as_json(value: Any, **_: Any) -> str:
    return json.dumps(value, default=str)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        _render(sys.stdin.read())
    except MemoryError:
        sys.exit(1)
    except Exception:  # noqa: S110 (told by who renders it for real)
        pass
