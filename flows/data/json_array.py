"""Streaming reader of a JSON array, so that no file is held whole."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from flows.config.errors import InputError

CHUNK_BYTES = 2**20

_SPACE = re.compile(r"[ \t\n\r]*")

_DECODER = json.JSONDecoder()


def read_array(file: IO[bytes], name: str, *, longest: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Parse the objects of an array one by one.

    Args:
        file: opened in binary mode; the bracket that opens the array comes first.
        name: what errors call it.
        longest: characters of one object; a longer one is a lost bracket.

    Returns:
        Each object with its number, from 1.

    Raises:
        InputError: naming the row, if it is something else or not UTF-8.
    """
    window = _Window(file, name)
    window.passes("[")
    number = 0
    while not window.passes("]"):
        if number and not window.passes(","):
            raise InputError(f"{name} after row {number}: is neither a comma nor the end of the array: mend the file")
        number += 1
        item = window.parsed(f"{name} row {number}", longest)
        if not isinstance(item, dict):
            raise InputError(f"{name} row {number}: is not a JSON object: mend the row")
        yield number, item
    if not window.is_at_end():
        raise InputError(f"{name} after row {number}: something follows the array: mend the file")


class _Window:
    """The part of a file's text that is not parsed yet, as far as it is read."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._bytes = 0
        self._text, self._offset = "", 0

    def is_at_end(self) -> bool:
        """Skip white space, and say whether the file ends there."""
        while True:
            space = _SPACE.match(self._text, self._offset)
            self._offset = space.end() if space else self._offset
            if self._offset < len(self._text):
                return False
            if not self._grows():
                return True

    def passes(self, sign: str) -> bool:
        """Whether a sign comes next, which is then passed."""
        is_next = not self.is_at_end() and self._text[self._offset] == sign
        self._offset += is_next
        return is_next

    def parsed(self, place: str, longest: int) -> Any:
        """The value that comes next."""
        self.is_at_end()
        while True:
            try:
                value, self._offset = _DECODER.raw_decode(self._text, self._offset)
            except RecursionError:
                raise InputError(f"{place}: is nested too deeply: mend the row") from None
            except json.JSONDecodeError as error:
                if len(self._text) - self._offset > longest:
                    raise InputError(
                        f"{place}: is not JSON ({error.msg}), or has more than {longest / 1e6:.0f} MB: mend the row"
                    ) from None
                if not self._grows():
                    raise InputError(f"{place}: is not JSON ({error.msg}): mend the row") from None
            except ValueError:
                raise InputError(f"{place}: holds a number that nothing can hold: mend the row") from None
            else:
                return value

    def _grows(self) -> bool:
        """Read on; False at the end of the file."""
        chunk = self._file.read(CHUNK_BYTES)
        if self._bytes == 0 and chunk.startswith(codecs.BOM_UTF8):
            raise InputError(f"{self._name} row 1: starts with a byte order mark: save the file as UTF-8 without one")
        try:
            text = self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            at = self._bytes + error.start + 1
            raise InputError(f"{self._name}: is not UTF-8 near byte {at}: convert the file") from None
        self._bytes += len(chunk)
        self._text, self._offset = self._text[self._offset :] + text, 0
        return bool(chunk)
