"""Rows of withdrawn data, which ingestion leaves out and counts by what was withdrawn."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from itertools import compress

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from numpy.typing import NDArray

from data_contracts.formats.convert import Batch
from data_contracts.formats.items import Ballot, Convert, Item, LeftOut, RawRow, Tie, recounted
from data_contracts.records import Kind
from data_contracts.sameness import name_form
from flows.data.sources import Read
from flows.registry.names import WITHDRAWN_REASON
from flows.registry.withdrawals import Withdrawal, WithdrawnKind, hashed_group, withdrawn_keys
from flows.storage.row_keys import row_keys


class WithdrawnRows:
    """What withdrawals take from the records of an ingestion.

    Args:
        withdrawals: those that hold.
        client: of the server that keeps the keys of withdrawn datasets.

    Attributes:
        targets: what they are of, as commands name it.
    """

    def __init__(self, withdrawals: Iterable[Withdrawal], client: MlflowClient) -> None:
        self._named: dict[WithdrawnKind, dict[str, Withdrawal]] = {"source": {}, "annotator": {}, "group": {}}
        self._rows: list[tuple[Withdrawal, NDArray[np.uint64]]] = []
        kept = tuple(withdrawals)
        self.targets = tuple(withdrawal.target for withdrawal in kept)
        for withdrawal in kept:
            if withdrawal.kind == "dataset":
                self._rows.append((withdrawal, withdrawn_keys(client, withdrawal)))
            else:
                is_person = withdrawal.kind == "annotator"
                self._named[withdrawal.kind][name_form(withdrawal.name) if is_person else withdrawal.name] = withdrawal

    def spare(self, convert: Convert) -> Convert:
        """A function that makes pairs of raw rows, without the votes of withdrawn annotators among several."""
        return self._spared(convert) if self._named["annotator"] else convert

    def leave_out(self, kind: Kind, reads: Iterable[Read]) -> Iterator[Read]:
        """Batches of records without those that were withdrawn, counted among what is left out."""
        for read in reads:
            yield read._replace(batch=self._without(kind, read.batch))

    def _without(self, kind: Kind, batch: Batch) -> Batch:
        frame = batch.frame.assign(annotator=np.array(batch.annotators, dtype=object))
        reasons = np.full(len(frame), None, dtype=object)
        for names, column in (("source", "source"), ("annotator", "annotator")):
            self._mark(reasons, frame[column], self._named[names])  # type: ignore[index]
        if self._named["group"]:
            groups = frame["group"].map(lambda cell: hashed_group(cell) if isinstance(cell, str) else None)
            self._mark(reasons, groups, self._named["group"])
        for withdrawal, keys in self._rows:
            if withdrawal.table == kind:
                reasons[_are_among(kind, frame, keys)] = _reason(withdrawal)
        gone = np.array([reason is not None for reason in reasons], dtype=bool)
        if not gone.any():
            return batch
        return batch._replace(
            frame=batch.frame[~gone].reset_index(drop=True),
            annotators=list(compress(batch.annotators, ~gone)),
            weights=list(compress(batch.weights, ~gone)),
            left_out=batch.left_out + Counter(reasons[gone].tolist()),
        )

    def _mark(self, reasons: NDArray[np.object_], column: "pd.Series[str]", known: dict[str, Withdrawal]) -> None:
        for name, withdrawal in known.items():
            reasons[(column == name).to_numpy()] = _reason(withdrawal)

    def _spared(self, convert: Convert) -> Convert:
        gone = {name: _reason(withdrawal) for name, withdrawal in self._named["annotator"].items()}

        def pairs(row: RawRow) -> Iterator[Item]:
            items = iter(convert(row))
            for item in items:
                if not isinstance(item, Ballot) or not any(name in gone for name, _ in item.votes):
                    yield item
                    continue
                yield from (LeftOut(gone[name]) for name, _ in item.votes if name in gone)
                yield from _left(item, next(items), gone)

        return pairs


def _left(ballot: Ballot, pair: Item, gone: Container[str]) -> Iterator[Item]:
    """A pair by the votes that are left; nothing where none is."""
    record = pair.record if isinstance(pair, Tie) else pair
    if isinstance(record, dict) and ballot.without(gone).votes:
        yield from recounted(ballot, record, gone)


def _are_among(kind: Kind, frame: pd.DataFrame, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which rows have texts of withdrawn ones; a cell that is no text is left to the contract."""
    texts = frame.map(lambda cell: cell if isinstance(cell, str) else "")
    return np.isin(row_keys(kind, texts), keys)


def _reason(withdrawal: Withdrawal) -> str:
    return f"{WITHDRAWN_REASON}{withdrawal.subject}"
