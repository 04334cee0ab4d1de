"""Whether the figures of a version follow from the held-out rows that were kept with it."""

import math
from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from flows.lineage.archive import Archive
from flows.lineage.graph import Version
from flows.registry.names import EVIDENCE
from flows.registry.runs import ESTIMATES
from flows.storage.digests import digests_of
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.policy_evidence import policy_figures
from rlhf_core.metrics.reward_model_evidence import reward_model_figures
from rlhf_core.metrics.sft_evidence import sft_figures

EvidenceTables = Mapping[str, pa.Table]

FIGURES: dict[str, Callable[[EvidenceTables, Mapping[str, Estimate]], dict[str, Estimate]]] = {
    "sft": lambda tables, _: sft_figures(tables),
    "reward-model": reward_model_figures,
    "judge": reward_model_figures,
    "policy": lambda tables, _: policy_figures(tables),
}
"""What gives the figures of a stage from its evidence, and from those that rest on something else."""


class EvidenceAltered(ValueError):
    """Rows, or figures, that are not what they were."""


class EvidenceMissing(ValueError):
    """Rows, or figures, that are gone."""


def check_evidence(archive: Archive, version: Version) -> str:
    """Compute the figures of a version again from what is kept.

    Returns:
        What was found, in words.

    Raises:
        EvidenceMissing: if a file, or the figures, are gone.
        EvidenceAltered: if a file has another digest, or a figure does not follow from the rows.
    """
    tables = {name: _read(archive, version, name, digest) for name, digest in version.evidence.items()}
    said = archive.document(version.run_id, ESTIMATES)
    if said is None:
        raise EvidenceMissing(f"{ESTIMATES} of run {version.run_id} is gone or unreadable")
    try:
        estimates = {name: Estimate.from_json(figure) for name, figure in said.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise EvidenceAltered(f"{ESTIMATES} of run {version.run_id} holds what is no figure") from None
    rows = f"{sum(table.num_rows for table in tables.values())} rows"
    if any((table.schema.metadata or {}).get(b"texts") == b"hashed" for table in tables.values()):
        return f"{rows}, of which digests of the texts are kept, so no figure was computed again"
    try:
        again = FIGURES[_stage(version)](tables, estimates)
    except KeyError as absent:
        raise EvidenceMissing(f"{absent} is not among the files and figures of run {version.run_id}") from None
    if wrong := sorted(name for name, figure in again.items() if not _same(figure, estimates.get(name))):
        raise EvidenceAltered(f"{', '.join(wrong)} of run {version.run_id} do not follow from the {rows} kept with it")
    return f"{len(again)} of {len(estimates)} figures follow from {rows}"


def _stage(version: Version) -> str:
    return next(stage for stage in FIGURES if version.name.endswith(f"-{stage}"))


def _read(archive: Archive, version: Version, name: str, digest: str) -> pa.Table:
    """A table with the digest that its version names."""
    path = f"{EVIDENCE}/{name}.parquet"
    with archive.file(version.run_id, path) as file:
        if file is None:
            raise EvidenceMissing(f"{path} of run {version.run_id} is gone")
        if digests_of(file.parent, [file]) != {file.name: digest}:
            raise EvidenceAltered(f"{path} of run {version.run_id} is not what it was")
        return pq.read_table(file)


def _same(figure: Estimate, said: Estimate | None) -> bool:
    """Whether a figure is the one that was said; products in another order, on another machine, may differ a little."""
    return said is not None and all(
        math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9) for one, other in zip(figure, said, strict=True)
    )
