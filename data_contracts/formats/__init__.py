"""Dataset formats. Start in `registry`, where each has its precedence; `fields` reads the cells of raw rows."""

from data_contracts.formats import (
    annotated,
    argilla,
    hh_rlhf,
    label_studio,
    oasst,
    ranked,
    rewardbench,
    self_instruct,
    trl,
)
from data_contracts.formats.items import Ballot, Convert, LeftOut, Misfit, RawRow, Record, Tie
from data_contracts.formats.registry import FORMATS, Adapter, adapter, has, holds, makers, recognise

__all__ = [
    "FORMATS",
    "Adapter",
    "Ballot",
    "Convert",
    "LeftOut",
    "Misfit",
    "RawRow",
    "Record",
    "Tie",
    "adapter",
    "annotated",
    "argilla",
    "has",
    "hh_rlhf",
    "holds",
    "label_studio",
    "makers",
    "oasst",
    "ranked",
    "recognise",
    "rewardbench",
    "self_instruct",
    "trl",
]
