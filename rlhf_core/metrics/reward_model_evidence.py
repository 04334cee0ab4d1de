"""Held-out rows that the figures of a reward model rest on, with its scores: as tables, and the figures from these."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.reward_model import ScoredPairs, demonstration_figures, evaluate_scores
from rlhf_core.metrics.stress import STRESS, stress_figures

FLOOR = "agrees_"
"""Before the name of a trivial rule: whether it prefers the chosen response, 0.5 where it cannot tell."""

SIDES = ("chosen", "rejected")

SHARE = "share_chosen"
"""Share of the labels of a pair that prefer its chosen response, by which claims are judged."""


PAIRS, DEMONSTRATIONS = "pairs", "demonstrations"
"""What the tables are called among the evidence of a reward model."""


OF_WORDS = frozenset(
    {"length_correlation", "length_matched_agreement", "agreement_chosen_longer", "agreement_chosen_shorter"}
)
"""Figures that need the words of texts, which digests do not have."""


def reward_model_evidence(
    scored: ScoredPairs,
    held_out: Sequence[Pair],
    floors: Mapping[str, NDArray[np.float64]],
    demonstrations: Sequence[Demonstration],
    scores: NDArray[np.float64],
    stress: pa.Table,
) -> dict[str, pa.Table]:
    """What a reward model says of held-out rows, in logits as trained, before the temperature.

    Args:
        scored: the pairs with their scores.
        held_out: the N pairs.
        floors: what trivial rules make of them.
        demonstrations: the D demonstrations.
        scores: theirs, shape ``[D]``.
        stress: attacks with their scores, as `stress_table` gives them.

    Returns:
        `PAIRS`, a row for each judged pair: `prompt`, `chosen`, `rejected`; of either side `_score`, `_spread` over the
        members, and `_by_member`; `share_chosen` of the labels that the claims are judged by; what floors say.
        `DEMONSTRATIONS`, a row for each: `prompt`, `response` and `score`. `STRESS`, the attacks.
    """
    columns: dict[str, Any] = {name: [getattr(pair, name) for pair in held_out] for name in ("prompt", *SIDES)}
    for side, index in zip(SIDES, (scored.chosen, scored.rejected), strict=True):
        columns[f"{side}_score"] = scored.scores[index]
        columns[f"{side}_spread"] = scored.spreads[index]
        columns[f"{side}_by_member"] = list(scored.members[index])
    agreeing = {f"{FLOOR}{name}": hits for name, hits in floors.items()}
    texts = {name: [getattr(item, name) for item in demonstrations] for name in ("prompt", "response")}
    return {
        PAIRS: pa.table({**columns, SHARE: scored.shares, **agreeing}),
        DEMONSTRATIONS: pa.table({**texts, "score": scores}),
        STRESS: stress,
    }


def reward_model_figures(evidence: Mapping[str, pa.Table], known: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The figures of a reward model that rest on what it says of held-out rows.

    Args:
        evidence: its scores, as `reward_model_evidence` keeps them.
        known: `temperature`, which other pairs fitted, and `ceiling`, the agreement that a perfect judge would reach
            with the labels, where that is known.

    Returns:
        Those of `evaluate_scores`, `demonstration_figures` and `stress_figures`; evidence of earlier releases has no
        attacks.
    """
    pairs, demonstrated = evidence[PAIRS], evidence[DEMONSTRATIONS]
    temperature = known["temperature"].value
    held_out = [Pair(*texts) for texts in zip(*(pairs[name].to_pylist() for name in ("prompt", *SIDES)), strict=True)]
    floors = {name.removeprefix(FLOOR): pairs[name].to_numpy() for name in pairs.column_names if name.startswith(FLOOR)}
    texts = (demonstrated[name].to_pylist() for name in ("prompt", "response"))
    demonstrations = [Demonstration(*pair) for pair in zip(*texts, strict=True)]
    scored = _scored(pairs, held_out)
    return {
        **evaluate_scores(scored, temperature, held_out, floors, ceiling=known.get("ceiling")),
        **demonstration_figures(demonstrated["score"].to_numpy(), demonstrations, scored, temperature, held_out),
        **(stress_figures(evidence[STRESS]) if STRESS in evidence else {}),
    }


def _scored(pairs: pa.Table, held_out: Sequence[Pair]) -> ScoredPairs:
    """The pairs with each response once, in the order in which a model is asked."""
    sides = [[Demonstration(pair.prompt, getattr(pair, side)) for pair in held_out] for side in SIDES]
    rows = {
        item: (side, row)
        for side, items in reversed(list(zip(SIDES, sides, strict=True)))
        for row, item in reversed(list(enumerate(items)))
    }
    items = list(dict.fromkeys([*sides[0], *sides[1]]))
    index = {item: place for place, item in enumerate(items)}
    numbers = {name: np.array(pairs[name].to_pylist()) for name in pairs.column_names if name.startswith(SIDES)}

    def of_items(what: str) -> NDArray[np.float64]:
        return np.array([numbers[f"{side}_{what}"][row] for side, row in map(rows.__getitem__, items)])

    return ScoredPairs(
        items=items,
        members=of_items("by_member"),
        scores=of_items("score"),
        spreads=of_items("spread"),
        chosen=[index[item] for item in sides[0]],
        rejected=[index[item] for item in sides[1]],
        shares=pairs[SHARE].to_numpy(),
    )
