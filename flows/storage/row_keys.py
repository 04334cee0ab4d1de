"""Keys of rows: what makes two of a table the same to whoever reads their texts."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.records import TEXTS, Kind
from data_contracts.sameness import same_form
from flows.storage.text_hashes import text_hashes


def row_keys(kind: Kind, frame: pd.DataFrame) -> NDArray[np.uint64]:
    """64 bits for each row that its texts decide, in whatever Unicode form; which response was chosen does not."""
    prompt, *responses = (text_hashes(list(map(same_form, frame[name]))) for name in TEXTS[kind])
    keys = prompt * np.uint64(0x9E3779B97F4A7C15)
    for hashes in responses:
        keys = keys + hashes  # wraps around, and commutes
    return keys
