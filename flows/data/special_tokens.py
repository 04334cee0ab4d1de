"""Texts that write what is a special token of some model: counted at ingest, when no tokenizer need be known yet."""

import re
from collections import Counter

import pandas as pd

from data_contracts.records import TEXTS, Kind
from data_contracts.text_columns import holds_sign, texts_of

MARKS = re.compile(
    r"<\|[^\s|<>]{1,40}\|>"  # <|im_end|>, <|endoftext|>, <|assistant|>: Qwen, Llama 3, Phi, GPT and most others
    r"|<\uff5c[^\s\uff5c<>]{1,40}\uff5c>"  # DeepSeek, whose bars are full-width
    r"|</?s>|<(?:pad|unk|bos|eos|mask)>"  # Llama 2, Mistral, T5, Gemma
    r"|<(?:start|end)_of_turn>|<(?:start|end)_of_image>"  # Gemma
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS)\]|<</?SYS>>"  # Mistral, Llama 2
    r"|\[(?:CLS|SEP|PAD|UNK|MASK|BOS|EOS|gMASK)\]"  # BERT, GLM
)
"""How special tokens of published models are written."""

SHOWN = 3
"""Tokens and places that a line names."""


class SpecialTokenCount:
    """Rows of a table, and what they write of `MARKS`.

    Attributes:
        written: occurrences of each.
        rows: that write any.
        places: file and row of the first.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.written: Counter[str] = Counter()
        self.rows = 0
        self.places: list[str] = []
        self._all = 0

    def add(self, frame: pd.DataFrame) -> None:
        """Count a batch of records with `source`, `row` and their texts."""
        self._all += len(frame)
        columns = [frame[name] for name in TEXTS[self.kind]]
        if not any(map(_may_be_written, columns)):
            return
        texts = zip(*(column.tolist() for column in columns), strict=True)
        for place, cells in enumerate(texts):
            found = [mark for text in cells if "<" in text or "[" in text for mark in MARKS.findall(text)]
            if not found:
                continue
            self.written.update(found)
            self.rows += 1
            if len(self.places) < SHOWN:
                source, row = (str(frame[name].iat[place]) for name in ("source", "row"))
                self.places.append(f"{source} row {row}")

    @property
    def remark(self) -> str:
        """What to tell of them in a sentence; empty where there are none."""
        if not self.rows:
            return ""
        tokens = ", ".join(f"{token} {count:,}" for token, count in self.written.most_common(SHOWN))
        more = f" and {len(self.written) - SHOWN} more" if len(self.written) > SHOWN else ""
        return (
            f"{self.kind}: {self.rows:,} of {self._all:,} records write special tokens of some models ({tokens}{more}; "
            f"first {', '.join(self.places)}); they stay text, unless special_tokens of a model allows them"
        )


def _may_be_written(column: pd.Series) -> bool:
    texts = texts_of(column)
    return texts is None or any(holds_sign(texts, sign) for sign in (b"<", b"["))
