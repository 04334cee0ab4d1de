"""Dataset formats. Start in `registry`; the order of import is that of recognition, the most general first."""

from data_contracts.formats import trl  # isort: skip
from data_contracts.formats import annotated, hh_rlhf, label_studio, oasst, ranked, rewardbench, self_instruct
from data_contracts.formats.items import Ballot, Convert, LeftOut, Misfit, RawRow, Record, Tie
from data_contracts.formats.registry import FORMATS, Adapter, adapter, has, makers, recognise

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
    "has",
    "hh_rlhf",
    "label_studio",
    "makers",
    "oasst",
    "ranked",
    "recognise",
    "rewardbench",
    "self_instruct",
    "trl",
]
