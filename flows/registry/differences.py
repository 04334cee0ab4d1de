"""Differences between two versions of a model: code, data, parents, configuration."""

import textwrap
from collections.abc import Mapping
from typing import Protocol

from mlflow import MlflowClient

from flows.registry.names import CODE_TAG, DATASET_PREFIX, PARENT_PREFIX, SOURCE_PREFIX, TEMPLATE_DAY_TAG

LINEAGE = (CODE_TAG, DATASET_PREFIX, PARENT_PREFIX, SOURCE_PREFIX, TEMPLATE_DAY_TAG)


class VersionOfRun(Protocol):
    """Whatever names a version and the run that made it."""

    @property
    def name(self) -> str:
        """Registered name."""

    @property
    def version(self) -> str:
        """Number."""

    @property
    def run_id(self) -> str:
        """The run that made it."""


def differences(client: MlflowClient, ref: VersionOfRun, other: VersionOfRun) -> list[str]:
    """What went into two versions of a model that is not the same: code, data, parents and configuration, a line each.

    Args:
        client: of the registry where both are.
        ref: the version that is described.
        other: what it is compared with.
    """
    versions = [client.get_model_version(compared.name, compared.version) for compared in (ref, other)]
    tags = [
        {key: tag for key, tag in version.tags.items() if key.startswith(LINEAGE) and not key.endswith(".digest")}
        for version in versions
    ]
    params = [client.get_run(compared.run_id).data.params for compared in (ref, other)]
    return [*_changes(*tags), *_changes(*params)]


def _changes(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    return [
        f"{key}: {_short(first.get(key))}, there {_short(second.get(key))}"
        for key in sorted({*first, *second})
        if first.get(key) != second.get(key)
    ]


def _short(value: str | None) -> str:
    return "absent" if value is None else textwrap.shorten(value, 60, placeholder=" ...")
