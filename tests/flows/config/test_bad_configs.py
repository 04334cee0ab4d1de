"""Hundreds of bad configurations through the entries of `rlhf config check` and `rlhf run`: refused in words, or valid.

Each is drawn by its own seed, which a failure names; `BAD_CONFIGS=first:count` draws others, such as one again.
"""

import os
import re
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from typer.main import get_command

from flows.cli import app
from tests.flows.config.bad_configs import BadConfig, draw

FIRST, COUNT = (int(number) for number in os.environ.get("BAD_CONFIGS", "0:500").split(":"))

SHIPPED = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))

RLHF = get_command(app)  # once, as that takes longer than most commands here

COMMANDS = (("config", "check", "--offline"), ("run",), ("config", "show"), ("ingest",), ("deploy",))

LONGEST_LINE = 1200

MOST_SECONDS = 5.0

NAMED = re.compile(
    r"field '[^\n]+'|is not valid YAML at line \d+: |key '[^\n]+' stands twice, in lines|must be a mapping of fields"
)
"""What a message says is wrong: a field, or a line."""

MENDED = re.compile(
    r"[;:,] (it takes|did you mean|or|one of|add|change|check|close|drop|give|keep|leave|let|lower|make|mend|name|put|"
    r"raise|remove|rename|replace|save|set|take|there are|unset|use|write)\b"
)
"""How a message says what is to be done."""


class Reached(Exception):
    """A configuration that would be climbed."""


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which commands end where they would make or train anything."""

    def reach() -> None:
        raise Reached

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.cli.run.start_orchestrator", reach)
    monkeypatch.setattr("flows.cli.run._has_tokens", lambda settings: False)
    return tmp_path / "ladder.yaml"


def complaints(path: Path, *command: str) -> list[str]:
    """What is wrong with how a command takes a configuration."""
    started = time.process_time()
    done = CliRunner().invoke(RLHF, [*command, str(path)])
    wrong = [f"took {time.process_time() - started:.1f} s"] if time.process_time() - started > MOST_SECONDS else []
    if isinstance(done.exception, Reached) or done.exit_code == 0:
        return wrong
    if done.exit_code != 2 or not isinstance(done.exception, SystemExit):
        return [*wrong, f"ended with {done.exit_code}, {done.exception!r}"]
    lines = done.stderr.removesuffix("\n").removeprefix("error: ").split("\n")
    for line in lines:
        said = line.removeprefix(f"{path}: ")
        if not (NAMED.search(said) and MENDED.search(said)):
            wrong.append(f"names no field or no mend: {line}")
        if len(line) > LONGEST_LINE or not line.isprintable():
            wrong.append(f"is no line to read: {line[:LONGEST_LINE]!r}")
    return wrong


def test_bad_configurations_are_told_by_field_and_mend(entries: Path) -> None:
    shipped = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in SHIPPED]
    found = []
    for seed in range(FIRST, FIRST + COUNT):
        config: BadConfig = draw(seed, shipped)
        entries.write_bytes(config.content)
        for problem in complaints(entries, *COMMANDS[seed % len(COMMANDS)]):
            found.append(f"BAD_CONFIGS={seed}:1 ({'; '.join(config.faults)}) {problem}")
    assert not found, "\n".join(found)
