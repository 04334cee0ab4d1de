"""Pages that are executed: their blocks of code, in order, each with what the page shows of its output."""

import re
from pathlib import Path
from typing import NamedTuple


class Block(NamedTuple):
    """A block of code of a page.

    Attributes:
        code: as it stands there.
        shown: the block of text right below it, empty where there is none.
    """

    code: str
    shown: str


def blocks_of(page: Path, language: str) -> list[Block]:
    """All blocks of a language, in the order of the page."""
    fenced = rf"^```{language}\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?"
    found = re.findall(fenced, page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [Block(code, shown) for code, shown in found]


def assert_shown(block: Block, output: str) -> None:
    """Every line that the page shows stands in the output, in this order.

    `…` stands for anything in a line, and alone for lines. How much white space there is does not matter.
    """
    rest = [" ".join(line.split()) for line in output.splitlines()]
    for line in block.shown.splitlines():
        parts = [" ".join(part.split()) for part in line.split("…")]
        if not any(parts):
            continue
        wanted = re.compile(r"\s*.*?\s*".join(map(re.escape, parts)))
        place = next((index for index, said in enumerate(rest) if wanted.fullmatch(said)), None)
        assert place is not None, f"{block.code}does not say, or not there:\n{line}\nbut:\n" + "\n".join(rest)
        rest = rest[place + 1 :]
