"""A table held against its whole contract at once, as ingestion does in two passes."""

import pandas as pd

from data_contracts.records import Kind
from data_contracts.schemas.validation import CONTRACTS, Violation, broken_rules, describe


def find_violations(kind: Kind, frame: pd.DataFrame) -> tuple[Violation, ...]:
    """Every rule that a row of a whole table breaks, ordered by rule and row; empty for sound data."""
    contract = CONTRACTS[kind]
    broken = broken_rules(kind, frame, (*contract.row_rules, *contract.set_rules))
    return tuple(
        item for name, rows in broken.items() for item in describe(contract.rules[name], frame.loc[rows.tolist()])
    )
