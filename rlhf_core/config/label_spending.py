"""Which pairs are sent to be labelled, of more than there are labels for."""

from typing import Literal

SpendingRule = Literal["uniform", "disagreement", "uncertainty", "coverage"]
