"""Trial of a chat template from elsewhere: a few conversations in a process of its own, with little time and memory.

A template is a program that comes with a model. Its sandbox keeps it from files and attributes, and not from loops that
never end or texts that fill the memory.
"""

import io
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

TOO_LONG, DEAF, NO_TEXT = 3, 4, 5
"""Exit codes of a trial that wrote more, that left out what a user writes, or that wrote what is no Unicode."""

WORSE = {
    TOO_LONG: f"writes more than {CHARACTERS:,} characters for a short conversation",
    DEAF: "leaves out what the user writes",
    NO_TEXT: "writes what is no Unicode",
}
"""What is said of such a template."""

HELLO = "Hello"

WORDS = "Some words. " * 40

CONVERSATIONS = (
    [{"role": "user", "content": HELLO}],
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
        ValueError: if it takes too much time or memory, or leaves out what a user writes.
    """
    command = [sys.executable, "-I", __file__]
    try:
        code = subprocess.run(
            command, input=template.encode("utf-8", "surrogatepass"), capture_output=True, timeout=8 * SECONDS
        ).returncode
    except subprocess.TimeoutExpired:
        code = -1
    if code:
        what = WORSE.get(code, "takes too much time or memory for a short conversation")
        raise ValueError(f"the chat template {what}; correct `chat_template`, or take another model")


def _render(template: str) -> None:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": _refuse, "strftime_now": datetime.now().strftime}
    environment.filters["tojson"] = _as_json
    compiled = environment.from_string(_GENERATION.sub("", template))
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    written = list[str]()
    for conversation in CONVERSATIONS:
        given = sum(len(turn["content"]) for turn in conversation)
        for marker in (True, False):
            text = io.StringIO()
            for part in compiled.generate(messages=conversation, add_generation_prompt=marker, **tokens):
                text.write(part)
                if text.tell() > 4 * given + CHARACTERS:
                    sys.exit(TOO_LONG)
            written.append(text.getvalue())
    _check_written(written)


def _check_written(written: list[str]) -> None:
    """End the trial by its exit code where the first conversation is not there, or any is no text."""
    if HELLO.casefold() not in written[0].casefold():
        sys.exit(DEAF)
    try:
        "".join(written).encode()
    except UnicodeEncodeError:
        sys.exit(NO_TEXT)


def _as_json(value: Any, **settings: Any) -> str:
    return json.dumps(value, default=str, **settings)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        _render(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))
    except MemoryError:
        sys.exit(1)
    except Exception:  # noqa: S110 (told by who renders it for real)
        pass
