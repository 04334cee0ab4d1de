"""What a file is by its first bytes, where its name promises data: pointers, web pages, archives."""

import re

from flows.config.errors import InputError
from flows.data.text_files import UTF_8, encoding_of

_SIGNATURES = (
    (
        re.compile(rb"version https://git-lfs\.github\.com/spec/"),
        "is a Git LFS pointer and not the file itself: run `git lfs pull`",
    ),
    (
        re.compile(rb"(\.\./)*(\.git|/)?/?annex/objects/"),
        "is a git-annex pointer and not the file itself: run `git annex get`",
    ),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml|error)\b", re.IGNORECASE),
        "is a web page and not data: fetch the file itself, by its raw address and with the rights that it needs",
    ),
    (re.compile(rb"PK\x03\x04"), "is a ZIP archive or a spreadsheet: unpack it, or export it as CSV"),
    (re.compile(rb"BZh\d|\xfd7zXZ"), "is packed by something other than gzip and Zstandard: unpack it"),
    (re.compile(rb"\x1f\x8b|\x28\xb5\x2f\xfd"), "is packed twice: unpack it once"),
)
_UTF_16 = re.compile(rb"(?:[^\0]\0){4}|(?:\0[^\0]){4}")
"""What UTF-16 in any European language begins with where it has no byte order mark."""

_BY_ENDING = {".parquet": (b"PAR1", "Parquet"), ".arrow": (b"ARROW1", "Arrow")}


def refuse_what_is_no_data(head: bytes, suffix: str, name: str) -> None:
    """Name a file for what it is.

    Args:
        head: its first bytes, unpacked if it is packed.
        suffix: its ending.
        name: what errors call it.

    Raises:
        InputError: if it is known to be something other than its ending says.
    """
    for ending, (magic, what) in _BY_ENDING.items():
        if suffix != ending and head.startswith(magic):
            raise InputError(f"{name} is {what}: let its name end with {ending}")
    for signature, what in _SIGNATURES:
        if signature.match(head):
            raise InputError(f"{name} {what}")
    if suffix not in _BY_ENDING and encoding_of(head) == UTF_8 and _UTF_16.match(head):
        raise InputError(f"{name} is UTF-16 without its byte order mark: save it as UTF-8")
