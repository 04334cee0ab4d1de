"""What a project knows before an ingestion: the champions' data, what was withdrawn, the ingestion before."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from data_contracts.records import Kind
from data_contracts.suites.drift import Profile
from flows.registry.context import RunContext
from flows.registry.ingestions import LastIngestion, last_ingestion
from flows.registry.withdrawals import Withdrawal, withdrawals_digest, withdrawals_in_force


class Before(NamedTuple):
    """What a project knows before an ingestion.

    Attributes:
        champion: digests of the tables that its champions were trained on, by name.
        withdrawals: what is left out.
        last: the ingestion before.
    """

    champion: Mapping[str, str]
    withdrawals: tuple[Withdrawal, ...]
    last: LastIngestion | None

    @property
    def inputs(self) -> dict[str, str]:
        """What of it decides what comes out of ingestion, as a key names it."""
        return {f"champion.{kind}": digest for kind, digest in self.champion.items()} | withdrawals_digest(
            self.withdrawals
        )

    @property
    def withdrawn(self) -> tuple[str, ...]:
        """What is left out, as commands name it."""
        return tuple(withdrawal.target for withdrawal in self.withdrawals)

    def profiles(self, storage: Path) -> dict[Kind, Profile]:
        """What the tables of the champions looked like, where their profiles still lie in this storage."""
        profiles: dict[Kind, Profile] = {}
        kinds: tuple[Kind, ...] = ("demonstrations", "preferences", "prompts")
        for kind in kinds:
            path = storage / "snapshots" / kind / f"{self.champion.get(kind)}.profile.json"
            if path.is_file():
                profiles[kind] = json.loads(path.read_text(encoding="utf-8"))
        return profiles


def known_before(context: RunContext) -> Before:
    """What the project of a run knows now."""
    registry = context.registry()
    return Before(
        registry.champion_data(context.project),
        tuple(withdrawals_in_force(registry.client, context.project)),
        last_ingestion(registry),
    )
