"""What ingestion by its defaults would make of some rows if there were no others."""

from pathlib import Path
from tempfile import TemporaryDirectory

from data_contracts.formats.convert import Batch
from data_contracts.records import Kind
from flows.config.data import ContractConfig, Shares
from flows.data.sources import Read
from flows.data.step_timer import Clock
from flows.data.tables import Table, make_tables


def ingested(kind: Kind, batch: Batch, *, is_label: bool, keeps_ties: bool = False) -> Table:
    """A table of records alone, of which nothing is kept but the counts.

    Args:
        kind: of the records.
        batch: the records.
        is_label: whether each is one person's label of its pair.
        keeps_ties: whether pairs that such labels leave even are records.
    """
    contract = ContractConfig()
    with TemporaryDirectory() as work:
        reads, near = {kind: [Read(batch, is_label, keeps_ties)]}, contract.near_held_out
        return make_tables(reads, Shares(), contract, folder=Path(work), clock=Clock(), near=near)[kind]
