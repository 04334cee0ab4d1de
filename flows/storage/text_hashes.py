"""Hashes of texts: of what they say exactly, and of what makes two of them the same to whoever reads them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.conversation import read_conversation
from data_contracts.sameness import loose_form


def text_hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """SipHash of each text, the same on every machine, shape ``[N]``; halves of surrogate pairs count as `?`."""
    try:
        hashes: NDArray[np.uint64] = pd.util.hash_array(np.array(texts, dtype=object), categorize=False)
    except UnicodeEncodeError:
        return text_hashes([text.encode("utf-8", "replace").decode() for text in texts])
    return hashes


def loose_hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """A hash of each text without regard to case, white space, invisible marks and Unicode form, shape ``[N]``.

    Of a conversation that is true of each turn, whose line breaks are letters in the JSON that it is written in.
    """
    return text_hashes(list(map(loose_text, texts)))


def loose_text(text: str) -> str:
    """One text for all that `loose_hashes` takes for the same."""
    if text[:1] != "[":
        return loose_form(text)
    turns = read_conversation(text)
    if len(turns) == 1:
        return loose_form(text)
    return "\n".join(f"{turn['role']} {loose_form(turn['content'])}" for turn in turns)
