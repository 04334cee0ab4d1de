"""What an audit says of one thing, and which of it is a doubt."""

from typing import Literal, NamedTuple

AuditStatus = Literal[
    "holds", "missing", "altered", "differs", "unsigned", "out of order", "not recomputable", "withdrawn"
]

DOUBTS: tuple[AuditStatus, ...] = ("missing", "altered", "differs", "unsigned", "out of order")
"""What an audit fails by: what is gone, is not what it was, does not follow from what is kept, or nobody signed."""

STYLES: dict[AuditStatus, str] = {
    "holds": "green",
    "missing": "red",
    "altered": "red",
    "differs": "red",
    "unsigned": "red",
    "out of order": "red",
    "not recomputable": "yellow",
    "withdrawn": "yellow",
}


class AuditFinding(NamedTuple):
    """What became of one thing that the lineage of a version rests on."""

    of: str
    what: str
    status: AuditStatus
    detail: str = ""
