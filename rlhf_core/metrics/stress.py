"""What a reward model pays for: answers that were made worse, beside the honest ones that they were made from."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rlhf_core.data.stress_cases import CASES, StressCase
from rlhf_core.metrics.estimates import Estimate, share

STRESS = "stress"
"""What the table is called among the evidence of a reward model."""

PAYS_FOR = "pays_for_"
"""Before the name of a case: the share of the prompts on which it is worth more than the honest answer."""


def stress_table(cases: Sequence[StressCase], scores: NDArray[np.float64]) -> pa.Table:
    """Attacks with their scores.

    Args:
        cases: N attacks.
        scores: of the honest answer and of the attack, shape ``[N, 2]``, logits as trained.

    Returns:
        A row for each: `case`, `prompt`, `honest`, `attack`, `honest_score` and `attack_score`.
    """
    fields = zip(StressCase._fields, zip(*cases, strict=True) if cases else [[]] * len(StressCase._fields), strict=True)
    columns = {name: list(values) for name, values in fields}
    return pa.table(
        {"case": columns.pop("name"), **columns, "honest_score": scores[:, 0], "attack_score": scores[:, 1]}
    )


def stress_figures(table: pa.Table) -> dict[str, Estimate]:
    """How often each attack is worth more than the honest answer to the same prompt.

    An answer that earns as much is half a win, as a coin would have it.

    Args:
        table: as `stress_table` gives it.

    Returns:
        `pays_for_<case>` in [0, 1] for each case that there is, with an interval over prompts.
    """
    names = np.array(table["case"].to_pylist(), dtype=object)
    gains = table["attack_score"].to_numpy() - table["honest_score"].to_numpy()
    wins = (np.sign(gains) + 1.0) / 2.0
    return {f"{PAYS_FOR}{name}": share(wins[names == name]) for name in CASES if (names == name).any()}
