"""Two passes over a table: each row by itself, then rows with the same texts together (merging, leaks, splits)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.records import COLUMNS, SPLIT, TEXTS, VOTES, Kind
from data_contracts.schemas.preferences import TIED, aggregate_votes
from data_contracts.schemas.rules import LEAK, NEAR_LEAK, VOTED_TWICE, same_texts
from data_contracts.schemas.validation import CONTRACTS, broken_rules
from data_contracts.suites.measures import gather, measure
from flows.config.data import ContractConfig, Shares
from flows.data.buckets import KEY, Buckets
from flows.data.contributions import Contributions
from flows.data.held_apart import HELD_OUT, HeldApart, RowPlaces, evaluated_texts, note_places
from flows.data.quarantine import Quarantine
from flows.data.sources import Read
from flows.data.special_tokens import SpecialTokenCount
from flows.data.splits import EmptySplit, check_splits, split_by_group
from flows.data.step_timer import Clock
from flows.data.votes import PairVotes, Votes, casts_of, joined_weights, voted_twice, weights_of
from flows.registry.references import Counts
from flows.storage.row_keys import row_keys
from flows.storage.snapshots import SnapshotWriter
from flows.storage.text_hashes import loose_text, text_hashes

NEAR_STEP = "near held-out prompts"


class Table:
    """A table on its way from raw rows to a snapshot.

    Attributes:
        raw_votes: votes by annotator, of formats that give them.
        judge: whether the judge must get rows of it.
        remarks: what a person should know of the files, a sentence each.
        special_tokens: those that the records write.
        contributions: who gave the rows.
        tied: pairs that are left out as their labels are even, whose votes tell of agreement all the same: `key`,
            `group`, `weights`, `votes_chosen`, `votes_rejected` and `split` of each; a frame for a batch that has any.
        held_out: prompts of the test split, as `loose_text` writes them, with where the first of each stands.
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
        self.remarks: list[str] = []
        self.special_tokens = SpecialTokenCount(kind)
        self.contributions = Contributions()
        self.tied: list[pd.DataFrame] = []
        self._shares = shares
        self._clock = clock
        self._buckets = Buckets(kind, folder / "buckets")
        self.held_out: RowPlaces = {}
        self._numbers: list[pd.DataFrame] = []
        self._votes: list[pd.DataFrame] = []
        self._rows = self._records = self._merged = 0
        self._left_out: Counter[str] = Counter()

    def take(self, reads: Iterable[Read]) -> None:
        """First pass: judge every row by itself, and deal the sound ones into buckets."""
        for batch, *said in self._clock.each("read", reads):
            self._rows += batch.rows
            self._records += len(batch.frame) + len(batch.misfits)
            self._left_out += batch.left_out
            self.remarks += batch.remarks
            self.quarantine.add_misfits(batch.misfits)
            self.raw_votes.add(batch.votes)
            self.contributions.note_voters(batch)
            with self._clock.step("row rules"):
                broken = broken_rules(self.kind, batch.frame, self.contract.row_rules)
                said_by = {"annotator": np.array(batch.annotators, dtype=object), "weights": weights_of(batch)}
                sound = self.quarantine.sift(batch.frame.assign(**said_by), broken)
            if not sound.empty:
                self.special_tokens.add(sound)
                with self._clock.step("deal into buckets"):
                    self._deal(sound.assign(**dict(zip(Read._fields[1:], said, strict=True))))

    def _deal(self, frame: pd.DataFrame) -> None:
        prompts = list(map(loose_text, frame["prompt"].tolist()))
        is_held_out = self._splits(frame) == HELD_OUT
        note_places(self.held_out, compress(prompts, is_held_out), frame[is_held_out])
        self._buckets.add(frame.assign(key=row_keys(self.kind, frame), prompt_key=text_hashes(prompts)))

    def settle(self, apart: "HeldApart") -> None:
        """Second pass: merge rows, judge those with the same texts together and all beside what is held out, and write.

        Args:
            apart: what no row may train on.
        """
        for frame in self._clock.each("read buckets", self._buckets.read()):
            with self._clock.step("set rules"):
                frame = self._without_repeated_parts(frame)
                frame = frame.assign(copies=frame.groupby(KEY)[KEY].transform("size") - 1)
                frame = self._judged(self._with_votes(frame), apart)
            with self._clock.step(NEAR_STEP):
                frame = self._without_near(frame, apart)
            if frame.empty:
                continue
            with self._clock.step("write"):
                self.snapshot.add(frame[[*COLUMNS[self.kind], SPLIT]])
            with self._clock.step("measure"):
                self.contributions.add(frame)
                self._numbers.append(measure(self.kind, frame, frame["copies"].to_numpy()))
                if self.kind == "preferences":
                    self._votes.append(_grouped(frame))
        self.quarantine.close()
        self.snapshot.close()

    def _without_repeated_parts(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Merge what several rows say beside more, such as the prompt of many pairs, into one record of it."""
        shared = frame[frame[KEY].duplicated(keep=False)]
        if not shared["is_part"].any():
            return frame
        rows_first = same_texts(shared.sort_values("is_part", kind="stable"), TEXTS[self.kind])
        merged = rows_first.index[rows_first.duplicated()].intersection(shared.index[shared["is_part"]])
        self._merged += len(merged)
        return frame.drop(index=merged).reset_index(drop=True)

    def _with_votes(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Merge the labels of one pair into votes; even ones are left out, unless all their sources keep ties."""
        if self.kind != "preferences" or not frame["is_label"].any():
            return frame
        again = voted_twice(frame)
        frame = self.quarantine.sift(frame, {VOTED_TWICE.name: again} if again.any() else {})
        self.raw_votes.add(casts_of(frame))
        self.contributions.note_labels(frame)
        labels = frame["is_label"] & (frame["copies"] > 0)
        if labels.any():
            repeated = joined_weights(frame[labels])
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
        self.tied.append(
            merged[[KEY, "group", "weights", "source", *VOTES[:2]]].assign(**{SPLIT: self._splits(merged)})
        )
        return frame[~even].reset_index(drop=True)

    def _judged(self, frame: pd.DataFrame, apart: "HeldApart") -> pd.DataFrame:
        shared = frame[KEY].duplicated(keep=False)
        if shared.any():
            columns = list(COLUMNS[self.kind])
            among = broken_rules(self.kind, frame.loc[shared, columns], self.contract.set_rules)
            broken = {name: np.zeros(len(frame), dtype=bool) for name in among}
            for name, rows in among.items():
                broken[name][shared.to_numpy()] = rows
            frame = self.quarantine.sift(frame, broken)
        frame = frame.assign(**{SPLIT: self._splits(frame)})
        leaks = apart.leaks(frame)
        return self.quarantine.sift(frame, {LEAK.name: leaks} if leaks.any() else {})

    def _without_near(self, frame: pd.DataFrame, apart: "HeldApart") -> pd.DataFrame:
        near, neighbours = apart.near_leaks(frame)
        return self.quarantine.sift(frame, {NEAR_LEAK.name: near} if near.any() else {}, neighbours)

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
            special_tokens=dict(self.special_tokens.written),
            rows_with_special_tokens=self.special_tokens.rows,
        )

    @property
    def numbers(self) -> pd.DataFrame:
        """The numbers of the table that its suite is about; a table without rows has none."""
        return gather(self.kind, self._numbers)

    @property
    def votes(self) -> PairVotes:
        """The votes of every pair in the snapshot, and of the tied ones, which are no held-out pairs."""
        frame = pd.concat([*self._votes, *(_grouped(tied.assign(**{SPLIT: ""})) for tied in self.tied)])
        is_held_out = (frame[SPLIT] == HELD_OUT).to_numpy()
        chosen, rejected, *others = (frame[name].to_numpy() for name in (*VOTES[:2], "group", "weights", "source"))
        return PairVotes(chosen, rejected, others[0], is_held_out, *others[1:])

    def _splits(self, frame: pd.DataFrame) -> NDArray[np.object_]:
        return split_by_group(frame["group"].tolist(), self._shares, judge=self.kind == "preferences")


def _grouped(frame: pd.DataFrame) -> pd.DataFrame:
    """The votes of pairs, whose groups are hashes."""
    return frame[[*VOTES[:2], SPLIT, "weights", "source"]].assign(group=text_hashes(frame["group"].tolist()))


def make_tables(
    reads: Mapping[Kind, Iterable[Read]],
    shares: Shares,
    contract: ContractConfig,
    *,
    folder: Path,
    clock: Clock,
    held_out: Iterable[pd.DataFrame] = (),
    near: float | None = None,
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
        near: similarity from which on a prompt that trains is too near one that is held out; None looks at none.
        judge: whether the judge must get preferences.
    """
    tables = {
        kind: Table(kind, folder / kind, shares, contract, clock, judge=judge and kind == "preferences")
        for kind in reads
    }
    for kind, table in tables.items():
        table.take(reads[kind])
    with clock.step("read what is held out"):
        evaluated = evaluated_texts(held_out)
    with clock.step(NEAR_STEP):
        apart = HeldApart((table.held_out for table in tables.values()), evaluated, near)
    for table in tables.values():
        table.held_out.clear()
        table.settle(apart)
    return tables
