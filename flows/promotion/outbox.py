"""Outbox of the receiver: deliveries that it has seen, and promotions on their way to Prefect.

One SQLite file; each method is one transaction that is on the disk when it returns.
"""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

PromotionStatus = Literal["open", "done", "held", "overtaken"]


TABLES = f"""
CREATE TABLE IF NOT EXISTS deliveries (id TEXT PRIMARY KEY, seen REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS promotions (
    number INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    event TEXT NOT NULL UNIQUE,
    noticed TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN {get_args(PromotionStatus)}),
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS by_model ON promotions (model, number);
"""


class PendingPromotion(NamedTuple):
    """A version that became champion.

    Attributes:
        number: order among all promotions.
        event: id of its Prefect event, drawn before the event is sent.
        noticed: when the receiver learned of it, ISO 8601.
        status: `open` until Prefect is known to have its event, then `done`; `held` if it is not passed on, and
            `overtaken` once another version became champion instead.
        reason: why it is held; empty otherwise.
    """

    number: int
    model: str
    version: str
    event: str
    noticed: str
    status: PromotionStatus
    reason: str

    @property
    def label(self) -> str:
        """The version as people and parameters name it."""
        return f"{self.model}/{self.version}"


class Outbox:
    """The file, shared by the threads of one receiver."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(TABLES)

    def is_new(self, delivery: str, *, now: float, keep_seconds: float) -> bool:
        """Remember a delivery, and say whether it was unknown.

        Args:
            delivery: its id.
            now: seconds since the epoch.
            keep_seconds: older ones are forgotten; their age alone has them refused.
        """
        with self._connection() as connection:
            connection.execute("DELETE FROM deliveries WHERE seen < ?", (now - keep_seconds,))
            added = connection.execute("INSERT OR IGNORE INTO deliveries VALUES (?, ?)", (delivery, now))
            return added.rowcount == 1

    def last(self, model: str) -> PendingPromotion | None:
        """The newest promotion of a model, None where it never had one."""
        promotions = self._select("model = ? ORDER BY number DESC LIMIT 1", model)
        return promotions[0] if promotions else None

    def having(self, status: PromotionStatus) -> list[PendingPromotion]:
        """Promotions of a status, the oldest first."""
        return self._select("status = ? ORDER BY number", status)

    def add(self, model: str, version: str, *, held: str = "") -> PendingPromotion:
        """Remember a promotion, `open` unless a reason holds it back."""
        event, now = str(uuid.uuid4()), datetime.now(UTC).isoformat()
        with self._connection() as connection:
            connection.execute(
                "UPDATE promotions SET status = 'overtaken' WHERE model = ? AND status = 'held'", (model,)
            )
            connection.execute(
                "INSERT INTO promotions (model, version, event, noticed, status, reason) VALUES (?, ?, ?, ?, ?, ?)",
                (model, version, event, now, "held" if held else "open", held),
            )
        added = self.last(model)
        assert added is not None
        return added

    def mark(self, promotion: PendingPromotion, status: PromotionStatus) -> None:
        """Change a promotion's status to one that needs no reason."""
        with self._connection() as connection:
            connection.execute(
                "UPDATE promotions SET status = ?, reason = '' WHERE number = ?", (status, promotion.number)
            )

    def hold(self, promotion: PendingPromotion, reason: str) -> None:
        """Say another reason why a promotion is held."""
        with self._connection() as connection:
            connection.execute("UPDATE promotions SET reason = ? WHERE number = ?", (reason, promotion.number))

    def _select(self, condition: str, value: str) -> list[PendingPromotion]:
        columns = ", ".join(PendingPromotion._fields)
        with self._connection() as connection:
            rows = connection.execute(f"SELECT {columns} FROM promotions WHERE {condition}", (value,))  # noqa: S608 (ours)
            return [PendingPromotion(*row) for row in rows]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=30.0)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                yield connection
        finally:
            connection.close()
