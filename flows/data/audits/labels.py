"""Audit of preference labels: noise, floors, surface biases; at ingestion, and after balancing in a ladder."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from prefect import task

from data_contracts.records import SPLIT
from flows.config.errors import InputError
from flows.data.audits.label_report import in_short, odds_figure, page
from flows.data.audits.rater_report import rater_page
from flows.data.audits.source_report import source_page
from flows.data.buckets import KEY
from flows.data.tables import Table
from flows.registry.context import RunContext
from flows.registry.keys import DATA_CODE, content_key
from flows.registry.references import DataRefs
from flows.report import Terminal
from flows.storage.cached_results import intact_result, sealed
from flows.storage.row_keys import row_keys
from flows.storage.snapshots import read_parts
from flows.tasks import CACHED
from rlhf_core.config import Frozen
from rlhf_core.config.reward_model import Balance
from rlhf_core.data.pair_weights import CannotBalance
from rlhf_core.data.records import Pair
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_noise import ceilings
from rlhf_core.metrics.label_quality import Balanced, LabelWorth, after_balance, counted_agreement, label_worth

SAMPLE = 5000
"""Pairs that are looked at; intervals are then about 1.4 points to each side."""

OFFERED: Balance = "length"

_READ = ["prompt", "chosen", "rejected", "group", "source", "votes_chosen", "votes_rejected", SPLIT]


class BalancePlan(Frozen):
    """What the audit of balanced pairs depends on besides the pairs."""

    balance: Balance
    sample: int = SAMPLE


class Sample(NamedTuple):
    """Labelled pairs of the training split with their groups, and how many they were drawn from."""

    frame: pd.DataFrame
    total: int

    @property
    def pairs(self) -> list[Pair]:
        """The pairs as something is trained on them."""
        texts = zip(*(self.frame[name] for name in ("prompt", "chosen", "rejected")), strict=True)
        return [Pair(*cells) for cells in texts]

    @property
    def groups(self) -> list[str]:
        """The group of each pair."""
        return [str(group) for group in self.frame["group"]]


def measure_labels(preferences: Table, *, size: int = SAMPLE) -> LabelWorth:
    """Measure a sample of the training pairs of a table, and the votes of all its rows.

    Args:
        preferences: after both passes.
        size: pairs at most.

    Returns:
        With what balancing by length would do, where it can be done.
    """
    sample = read_sample(preferences.snapshot.path, size)
    noise, sources = _noise(preferences, sample), sample.frame["source"].tolist()
    worth = label_worth(sample.pairs, sample.groups, noise, total=sample.total, sources=sources)
    with suppress(CannotBalance):
        worth = worth.model_copy(update={"balanced": after_balance(sample.pairs, sample.groups, OFFERED)})
    return worth


def audit_labels(data: DataRefs, balance: Balance, context: RunContext) -> None:
    """Keep what the labels are worth in the run of a climb, with what its balancing does, and print it in short.

    Raises:
        InputError: if the pairs shall be balanced and cannot be.
    """
    if data.labels is None:
        return
    balanced = None
    if balance != "none":
        plan = BalancePlan(balance=balance)
        key = content_key("balance-labels", plan, {"preferences": data.preferences.digest}, 0, DATA_CODE)
        snapshot = Path(data.preferences.path)
        balanced = intact_result(measure_balanced, Balanced, lambda _: True, key, plan, snapshot, context)
    worth = data.labels.model_copy(update={"balanced": balanced})
    report = page(worth) + source_page(worth.sources) + rater_page(data.raters)
    registry = context.registry()
    registry.client.log_text(context.run_id, report, "labels/report.md")
    registry.client.log_dict(context.run_id, worth.model_dump(mode="json"), "labels/figures.json")
    registry.client.log_figure(context.run_id, odds_figure(worth), "labels/odds.png")
    Terminal(highlight=False, markup=False).print(*in_short(worth), sep="\n")


@task(name="balance-labels", **CACHED)
def measure_balanced(key: str, plan: BalancePlan, snapshot: Path, context: RunContext) -> dict[str, Any]:
    """Measure the sample after balancing; what it returns is remembered across runs under the content key."""
    sample = read_sample(snapshot, plan.sample)
    try:
        return sealed(after_balance(sample.pairs, sample.groups, plan.balance))
    except CannotBalance as error:
        raise InputError(f"reward_model.balance {plan.balance}: {error}") from None


def read_sample(snapshot: Path, size: int) -> Sample:
    """A sample of the training pairs of a preference snapshot, whose rows stand in the order of their hashes."""
    total = sum(int((part[SPLIT] == "train").sum()) for part in read_parts(snapshot, [SPLIT]))
    return draw_sample(_first(read_parts(snapshot, _READ), size), size)._replace(total=total)


def _first(parts: Iterable[pd.DataFrame], size: int) -> Iterator[pd.DataFrame]:
    """Parts until they hold as many training pairs as are wanted."""
    for part in parts:
        yield part
        size -= int((part[SPLIT] == "train").sum())
        if size <= 0:
            return


def draw_sample(parts: Iterable[pd.DataFrame], size: int) -> Sample:
    """Training pairs with the smallest hashes of their texts: the same ones whatever the order of the rows.

    Args:
        parts: rows of a preference snapshot.
        size: pairs at most.
    """
    total = 0
    sample = pd.DataFrame(columns=[*_READ, "hash"])
    for part in parts:
        train = part[part[SPLIT] == "train"]
        total += len(train)
        hashes = train.assign(hash=row_keys("preferences", train))
        sample = (pd.concat([sample, hashes]) if len(sample) else hashes).nsmallest(size, "hash")
    return Sample(sample[_READ].reset_index(drop=True), total)


def _noise(preferences: Table, sample: Sample) -> dict[str, Estimate]:
    """What the votes of rows say where formats give them; else what the counts of the snapshot say."""
    votes = preferences.votes
    held_out, alike = votes.held_out, votes.alike
    if preferences.raw_votes.rows:
        return preferences.raw_votes.noise(held_out)
    if len(alike.chosen) < len(votes.chosen):  # no two people with names share a pair, and weights are no people
        return ceilings(alike.chosen.tolist(), alike.rejected.tolist(), held_out, groups=alike.groups)
    counts = sample.frame[["votes_chosen", "votes_rejected"]].to_numpy(dtype="int64")
    figures = counted_agreement(sample.pairs, sample.groups, counts, even=_even(preferences, sample))
    return figures | ceilings(votes.chosen.tolist(), votes.rejected.tolist(), held_out, groups=votes.groups)


def _even(preferences: Table, sample: Sample) -> list[tuple[str, int]]:
    """Groups and votes of training pairs that their labels leave even, as large a part of them as the sample is."""
    if not preferences.tied:
        return []
    tied = pd.concat(preferences.tied)
    train = tied[tied[SPLIT] == "train"]
    part = train.nsmallest(round(len(train) * len(sample.frame) / max(sample.total, 1)), KEY)
    return [(str(group), int(votes)) for group, votes in zip(part["group"], part["votes_chosen"], strict=True)]
