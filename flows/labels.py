"""The audit of the labels: what they are worth is measured once for each snapshot and kept with every run."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow.parquet as pq
from prefect import task
from rich.console import Console

from data_contracts.records import SPLIT
from flows.config import InputError
from flows.lineage import content_key
from flows.place import Place
from flows.references import DataRefs
from flows.report.labels import in_short, odds_figure, page
from flows.stages import BY_KEY
from rlhf_core.balance import CannotBalance
from rlhf_core.config import Frozen
from rlhf_core.config.reward_model import Balance
from rlhf_core.evaluation.estimates import Estimate
from rlhf_core.evaluation.labels import LabelWorth, label_worth
from rlhf_core.records import Pair

SAMPLE = 5000
"""Pairs that are looked at; intervals are then about 1.4 points to each side."""
_READ = ["prompt", "chosen", "rejected", "group", "votes_chosen", "votes_rejected", SPLIT]


class AuditPlan(Frozen):
    """What the audit depends on besides the pairs."""

    balance: Balance
    ceiling: Estimate | None
    sample: int = SAMPLE


class Sample(NamedTuple):
    """Labelled pairs of the training split, and how many they were drawn from."""

    frame: pd.DataFrame
    total: int


def audit_labels(data: DataRefs, balance: Balance, place: Place) -> None:
    """Keep the audit of the training pairs in the run of the climb, and print it in short.

    Raises:
        InputError: if the pairs shall be balanced and cannot be.
    """
    plan = AuditPlan(balance=balance, ceiling=data.ceiling)
    key = content_key("audit-labels", plan, {"preferences": data.preferences.digest}, seed=0)
    worth = LabelWorth.model_validate(measure_labels(key, plan, Path(data.preferences.path), place))
    registry = place.registry()
    registry.client.log_text(place.run_id, page(worth), "labels/report.md")
    registry.client.log_dict(place.run_id, worth.model_dump(mode="json"), "labels/figures.json")
    registry.client.log_figure(place.run_id, odds_figure(worth), "labels/odds.png")
    Console(highlight=False, markup=False).print(*in_short(worth), sep="\n")


@task(name="audit-labels", persist_result=True, result_serializer="json", cache_policy=BY_KEY)
def measure_labels(key: str, plan: AuditPlan, snapshot: Path, place: Place) -> dict[str, Any]:
    """Measure a sample of the training pairs; what it returns is remembered across runs under the content key."""
    with pq.ParquetFile(snapshot) as file:
        frame, total = draw_sample((batch.to_pandas() for batch in file.iter_batches(columns=_READ)), plan.sample)
    pairs = [Pair(*texts) for texts in zip(frame["prompt"], frame["chosen"], frame["rejected"], strict=True)]
    votes = frame[["votes_chosen", "votes_rejected"]].to_numpy(dtype="int64")
    try:
        worth = label_worth(pairs, frame["group"].tolist(), votes, how=plan.balance, total=total, ceiling=plan.ceiling)
    except CannotBalance as error:
        raise InputError(f"reward_model.balance {plan.balance}: {error}") from None
    return worth.model_dump(mode="json")


def draw_sample(batches: Iterable[pd.DataFrame], size: int) -> Sample:
    """Training pairs with the smallest hashes of their texts: the same ones whatever the order of the rows.

    Args:
        batches: rows of a preference snapshot; one batch and the sample are held at a time.
        size: pairs at most.
    """
    total, drawn = 0, pd.DataFrame(columns=[*_READ, "hash"])
    for batch in batches:
        rows = batch.loc[batch[SPLIT] == "train", _READ]
        total += len(rows)
        texts = map("\0".join, zip(rows["prompt"], rows["chosen"], rows["rejected"], strict=True))
        hashed = rows.assign(hash=[hashlib.sha256(text.encode()).digest() for text in texts])
        drawn = pd.concat([drawn, hashed] if len(drawn) else [hashed]).sort_values("hash", kind="stable")[:size]
    return Sample(drawn[_READ].reset_index(drop=True), total)
