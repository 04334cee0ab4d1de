"""What an audit says of one thing, and which of it is a doubt."""

from typing import Literal, NamedTuple

AuditStatus = Literal["holds", "missing", "altered", "differs", "not recomputable", "withdrawn"]

DOUBTS: tuple[AuditStatus, ...] = ("missing", "altered", "differs")
"""What an audit fails by: something is gone, is not what it was, or does not follow from what is kept."""

STYLES: dict[AuditStatus, str] = {
    "holds": "green",
    "missing": "red",
    "altered": "red",
    "differs": "red",
    "not recomputable": "yellow",
    "withdrawn": "yellow",
}


class AuditFinding(NamedTuple):
    """What became of one thing that the lineage of a version rests on."""

    of: str
    what: str
    status: AuditStatus
    detail: str = ""
