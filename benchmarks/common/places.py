"""Tables on a page that people write: what a benchmark prints goes between two comments, all else stays."""

from collections.abc import Iterable, Mapping
from pathlib import Path


class NoPlace(ValueError):
    """A page without the comments that a table goes between."""


def fill_places(page: Path, tables: Mapping[str, Iterable[str]]) -> None:
    """Put tables into their places: the lines between `<!-- name -->` and `<!-- /name -->`.

    Args:
        page: Markdown.
        tables: lines by name.

    Raises:
        NoPlace: naming the comments that a page lacks; the page stays as it was.
    """
    text = page.read_text(encoding="utf-8")
    for name, lines in tables.items():
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->\n")
        if not start or not end:
            raise NoPlace(f"{page} has no place between <!-- {name} --> and <!-- /{name} -->")
        text = "".join([before, start, *(f"{line}\n" for line in lines), end, after])
    page.write_text(text, encoding="utf-8")
