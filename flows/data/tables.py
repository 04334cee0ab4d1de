"""Two passes over a table: each row by itself, then rows with the same texts together (merging, leaks, splits)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.records import COLUMNS, SPLIT, Kind
from data_contracts.schemas.preferences import TIED, VOTES, aggregate_votes
from data_contracts.schemas.rules import LEAK, VOTED_TWICE
from data_contracts.schemas.validation import CONTRACTS, broken_rules
from data_contracts.suites.measures import gather, measure
from flows.config.data import ContractConfig, Shares
from flows.data.buckets import KEY, Buckets, row_keys
from flows.data.quarantine import Quarantine
from flows.data.sources import Read
from flows.data.splits import EmptySplit, check_splits, split_by_group
from flows.data.step_timer import Clock
from flows.data.votes import Votes, casts_of, voted_twice
from flows.registry.references import Counts
from flows.storage.snapshots import SnapshotWriter
from flows.storage.text_hashes import loose_hashes, text_hashes

HELD_OUT = "test"


class PairVotes(NamedTuple):
    """Votes for chosen and for rejected of each pair, hash of its group, whether it is held out; shape ``[N]`` each."""

    chosen: NDArray[np.int64]
    rejected: NDArray[np.int64]
    groups: NDArray[np.uint64]
    is_held_out: NDArray[np.bool_]

    @property
    def held_out(self) -> NDArray[np.int64]:
        """Votes behind the label of each held-out pair, 0 where they are even; who found both alike is not counted."""
        return np.where(self.chosen == self.rejected, 0, self.chosen + self.rejected)[self.is_held_out]


class Table:
    """A table on its way from raw rows to a snapshot.

    Attributes:
        raw_votes: votes by annotator, of formats that give them.
        judge: whether the judge must get rows of it.
        tied: pairs that are left out as their labels are even, whose votes tell of agreement all the same: `key`,
            `group`, `votes_chosen`, `votes_rejected` and `split` of each; a frame for each batch that has any.
    """

    def __init__(
        self, kind: Kind, folder: Path, shares: Shares, contract: ContractConfig, clock: Clock, *, judge: bool
    ) -> None:
        folder.mkdir(parents=True)
        self.kind = kind
        self.judge = judge
        self.contract = CONTRACTS[kind]
        self.quarantine = Quarantine(kind, folder / "quarantine.csv", contract)
        self.snapshot = SnapshotWriter(folder / "snapshot.parquet")
        self.raw_votes = Votes(folder / "votes.csv")
        self.tied: list[pd.DataFrame] = []
        self._shares = shares
        self._clock = clock
        self._buckets = Buckets(kind, folder / "buckets")
        self._held_out: list[NDArray[np.uint64]] = []
        self._numbers: list[pd.DataFrame] = []
        self._votes: list[pd.DataFrame] = []
        self._rows = self._records = self._merged = 0
        self._left_out: Counter[str] = Counter()

    def take(self, reads: Iterable[Read]) -> None:
        """First pass: judge every row by itself, and deal the sound ones into buckets."""
        for batch, is_label, keeps_ties in self._clock.each("read", reads):
            self._rows += batch.rows
            self._records += len(batch.frame) + len(batch.misfits)
            self._left_out += batch.left_out
            self.quarantine.add_misfits(batch.misfits)
            self.raw_votes.add(batch.votes)
            with self._clock.step("row rules"):
                broken = broken_rules(self.kind, batch.frame, self.contract.row_rules)
                sound = self.quarantine.sift(batch.frame.assign(annotator=batch.annotators), broken)
            if not sound.empty:
                with self._clock.step("deal into buckets"):
                    self._deal(sound.assign(is_label=is_label, keeps_ties=keeps_ties))

    def _deal(self, frame: pd.DataFrame) -> None:
        prompts = loose_hashes(frame["prompt"].tolist())
        self._held_out.append(np.unique(prompts[self._splits(frame) == HELD_OUT]))
        self._buckets.add(frame.assign(key=row_keys(self.kind, frame), prompt_key=prompts))

    @property
    def held_out(self) -> NDArray[np.uint64]:
        """Hashes of the prompts of the test split, as `loose_hashes` gives them."""
        return np.unique(np.concatenate(self._held_out)) if self._held_out else np.empty(0, dtype=np.uint64)

    def settle(self, held_out: NDArray[np.uint64], groups: NDArray[np.uint64]) -> None:
        """Second pass: merge votes, judge rows with the same texts together, and write what passes.

        Args:
            held_out: hashes of the prompts that no row may train on, sorted.
            groups: the same of groups beside those that the split keeps apart anyway.
        """
        for frame in self._clock.each("read buckets", self._buckets.read()):
            with self._clock.step("set rules"):
                frame = frame.assign(copies=frame.groupby(KEY)[KEY].transform("size") - 1)
                frame = self._judged(self._with_votes(frame), held_out, groups)
            if frame.empty:
                continue
            with self._clock.step("write"):
                self.snapshot.add(frame[[*COLUMNS[self.kind], SPLIT]])
            with self._clock.step("measure"):
                self._numbers.append(measure(self.kind, frame, frame["copies"].to_numpy()))
                if self.kind == "preferences":
                    self._votes.append(_grouped(frame))
        self.quarantine.close()
        self.snapshot.close()

    def _with_votes(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Merge the labels of one pair into votes; even ones are left out, unless all their sources keep ties."""
        if self.kind != "preferences" or not frame["is_label"].any():
            return frame
        again = voted_twice(frame)
        frame = self.quarantine.sift(frame, {VOTED_TWICE.name: again} if again.any() else {})
        self.raw_votes.add(casts_of(frame))
        labels = frame["is_label"] & (frame["copies"] > 0)
        if labels.any():
            repeated = frame[labels]
            merged = aggregate_votes(repeated.assign(keeps_ties=repeated.groupby(KEY)["keeps_ties"].transform("all")))
            self._merged += len(repeated) - len(merged)
            frame = pd.concat([frame[~labels], merged], ignore_index=True)
            frame = frame.sort_values(KEY, ignore_index=True, kind="stable")
        even = frame["is_label"] & (frame["votes_chosen"] == frame["votes_rejected"]) & ~frame["keeps_ties"]
        return self._without_ties(frame, even) if even.any() else frame

    def _without_ties(self, frame: pd.DataFrame, even: "pd.Series[bool]") -> pd.DataFrame:
        tied = frame[even]
        self._left_out[TIED] += len(tied)
        self._records -= len(tied)
        merged = tied[tied["copies"] > 0]
        self.tied.append(merged[[KEY, "group", *VOTES[:2]]].assign(**{SPLIT: self._splits(merged)}))
        return frame[~even].reset_index(drop=True)

    def _judged(self, frame: pd.DataFrame, held_out: NDArray[np.uint64], groups: NDArray[np.uint64]) -> pd.DataFrame:
        shared = frame[KEY].duplicated(keep=False)
        if shared.any():
            columns = list(COLUMNS[self.kind])
            among = broken_rules(self.kind, frame.loc[shared, columns], self.contract.set_rules)
            broken = {name: np.zeros(len(frame), dtype=bool) for name in among}
            for name, rows in among.items():
                broken[name][shared.to_numpy()] = rows
            frame = self.quarantine.sift(frame, broken)
        frame = frame.assign(**{SPLIT: self._splits(frame)})
        leaks = np.isin(frame["prompt_key"].to_numpy(), held_out)
        if len(groups):
            leaks |= np.isin(loose_hashes(frame["group"].tolist()), groups)
        leaks &= (frame[SPLIT] != HELD_OUT).to_numpy()
        return self.quarantine.sift(frame, {LEAK.name: leaks} if leaks.any() else {})

    def problems(self) -> list[ValueError]:
        """All reasons to refuse the table's rows."""
        if refused := self.quarantine.judge(self._records):
            return [refused]
        try:
            check_splits(self.snapshot.split_rows, judge=self.judge)
        except EmptySplit as error:
            lost = self._left_out + self.quarantine.by_rule
            which = "".join(f"\n  not written: {reason} ({count})" for reason, count in lost.most_common())
            return [EmptySplit(f"{self.kind}: {error}{which}")]
        return []

    @property
    def counts(self) -> Counts:
        """What became of all rows; nothing is lost. Pairs that their labels leave even are no records.

        Raises:
            RuntimeError: if a row is missing from the count, which is a mistake of this code.
        """
        written = sum(self.snapshot.split_rows.values())
        if self._records != written + self._merged + self.quarantine.rows:
            raise RuntimeError(
                f"{self.kind}: {self._records} records, but {written} written, {self._merged} merged and "
                f"{self.quarantine.rows} quarantined"
            )
        sources: Counter[str] = Counter()
        for part in self._numbers:
            sources.update(part["source"].tolist())
        return Counts(
            rows=self._rows,
            records=self._records,
            written=written,
            merged=self._merged,
            quarantined=self.quarantine.rows,
            by_rule=dict(self.quarantine.by_rule),
            left_out=dict(self._left_out),
            sources=dict(sources),
        )

    @property
    def numbers(self) -> pd.DataFrame:
        """The numbers of the table that its suite is about; a table without rows has none."""
        return gather(self.kind, self._numbers)

    @property
    def votes(self) -> PairVotes:
        """The votes of every pair in the snapshot, and of the tied ones, which are no held-out pairs."""
        frame = pd.concat([*self._votes, *(_grouped(tied.assign(**{SPLIT: ""})) for tied in self.tied)])
        chosen, rejected, groups = (frame[name].to_numpy() for name in (*VOTES[:2], "group"))
        return PairVotes(chosen, rejected, groups, (frame[SPLIT] == HELD_OUT).to_numpy())

    def _splits(self, frame: pd.DataFrame) -> NDArray[np.object_]:
        return split_by_group(frame["group"].tolist(), self._shares, judge=self.kind == "preferences")


def _grouped(frame: pd.DataFrame) -> pd.DataFrame:
    """The votes of pairs, whose groups are hashes."""
    return frame[[*VOTES[:2], SPLIT]].assign(group=text_hashes(frame["group"].tolist()))


def make_tables(
    reads: Mapping[Kind, Iterable[Read]],
    shares: Shares,
    contract: ContractConfig,
    *,
    folder: Path,
    clock: Clock,
    held_out: Iterable[pd.DataFrame] = (),
    judge: bool = True,
) -> dict[Kind, Table]:
    """Take all tables through both passes; the second needs to know what any table holds out.

    Args:
        reads: batches of records by kind.
        shares: how they are divided.
        contract: what happens to rows that break a rule.
        folder: where temporary files lie.
        clock: adds up the time of each step.
        held_out: rows of no table, on whose prompts and groups nothing may train either.
        judge: whether the judge must get preferences.
    """
    tables = {
        kind: Table(kind, folder / kind, shares, contract, clock, judge=judge and kind == "preferences")
        for kind in reads
    }
    for kind, table in tables.items():
        table.take(reads[kind])
    with clock.step("read what is held out"):
        apart = [loose_hashes(frame[name].tolist()) for frame in held_out for name in ("prompt", "group")]
    evaluated = np.unique(np.concatenate(apart)) if apart else np.empty(0, dtype=np.uint64)
    tested = np.unique(np.concatenate([evaluated, *(table.held_out for table in tables.values())]))
    for table in tables.values():
        table.settle(tested, evaluated)
    return tables
