"""Streaming reader of a JSON array, so that no file is held whole."""

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from data_contracts.formats.json_text import DECODER, RepeatedKey
from flows.config.errors import InputError
from flows.data.text_files import LONGEST_LINE, refuse_other_encodings, refused_blanks

CHUNK_CHARACTERS = 2**20
_SPACE = re.compile(r"[ \t\n\r]*")


def read_array(text: TextIO, name: str, *, longest: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Parse the objects of an array one by one.

    Args:
        text: the bracket that opens the array comes first.
        name: what errors call it.
        longest: characters of one object; a longer one is a lost bracket.

    Returns:
        Each object with its number, from 1.

    Raises:
        InputError: naming the row, if it is something else or not UTF-8.
    """
    window = _Window(text, name)
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

    def __init__(self, file: TextIO, name: str) -> None:
        self._file, self._name = file, name
        self._text, self._offset = "", 0

    def is_at_end(self) -> bool:
        """Skip white space, and say whether the file ends there."""
        blank = 0
        while True:
            space = _SPACE.match(self._text, self._offset)
            end = space.end() if space else self._offset
            self._offset, blank = end, blank + end - self._offset
            if blank > LONGEST_LINE:
                raise refused_blanks(f"{self._name}, in its array")
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
                value, end = DECODER.raw_decode(self._text, self._offset)
            except RecursionError:
                raise InputError(f"{place}: is nested too deeply: mend the row") from None
            except json.JSONDecodeError as error:
                if len(self._text) - self._offset > longest:
                    raise InputError(
                        f"{place}: is not JSON ({error.msg}), or has more than {longest / 1e6:.0f} MB: mend the row"
                    ) from None
                if not self._grows():
                    raise InputError(f"{place}: is not JSON ({error.msg}): mend the row") from None
            except RepeatedKey as error:
                raise InputError(f"{place}: {error}: keep one") from None
            except ValueError:
                raise InputError(f"{place}: holds a number that nothing can hold: mend the row") from None
            else:
                refuse_other_encodings(self._text[self._offset : end], place)
                self._offset = end
                return value

    def _grows(self) -> bool:
        """Read on; False at the end of the file."""
        chunk = self._file.read(CHUNK_CHARACTERS)
        self._text, self._offset = self._text[self._offset :] + chunk, 0
        return bool(chunk)
