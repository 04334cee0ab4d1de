"""Held-out rows on which a version and its champion were compared: as tables, and the paired figures from these."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rlhf_core.data.records import Demonstration, Pair, Response
from rlhf_core.metrics.calibration import hits, losses
from rlhf_core.metrics.challenge import FEWEST_IN_SLICE, gain_at_like_length, prompt_slices, worst_slice
from rlhf_core.metrics.estimates import Estimate, mean, share
from rlhf_core.metrics.paired import Paired
from rlhf_core.metrics.win_rate import paired_gain, win_rate, wins

SIDES = ("challenger", "champion")

PAIRS, DEMONSTRATIONS, ANSWERS, CHAMPION_ANSWERS = "pairs", "demonstrations", "answers", "champion-answers"
"""What the tables are called among the evidence of a comparison."""

JUDGE, REWARD = "judge", "reward"
"""What scored the answers of policies; a column of a table is `<scorer>_score`."""

OF_WORDS = frozenset({"judge_score_at_like_length", "reward_score_at_like_length", "worst_slice_judge_win_rate"})
"""Figures that need the words of texts, which digests do not have."""


class ChampionFigures(NamedTuple):
    """What rows say of both versions.

    Attributes:
        figures: by the name that figures of stages have, in the same unit.
        note: what to know of them; empty where there is nothing.
    """

    figures: dict[str, Paired]
    note: str = ""


def reward_model_rows(
    pairs: Sequence[Pair], deltas: Sequence[NDArray[np.float64]], untuned: NDArray[np.bool_]
) -> dict[str, pa.Table]:
    """Held-out pairs as both reward models see them.

    Args:
        pairs: N pairs.
        deltas: calibrated margins chosen - rejected of challenger and champion, each of shape ``[N]``.
        untuned: whether no temperature was fitted on the prompt of a pair, shape ``[N]``.

    Returns:
        `PAIRS`, a row for each: `prompt`, `chosen`, `rejected`, `<side>_delta` and `untuned`.
    """
    return {PAIRS: _seen_by_both(pairs, deltas).append_column("untuned", pa.array(untuned))}


def champion_answers_rows(pairs: Sequence[Pair], deltas: Sequence[NDArray[np.float64]]) -> dict[str, pa.Table]:
    """Labelled answers of the champion policy as both reward models see them.

    Args:
        pairs: N pairs whose responses it gave.
        deltas: as of `reward_model_rows`.

    Returns:
        `CHAMPION_ANSWERS`, a row for each: `prompt`, `chosen`, `rejected`, `<side>_delta`.
    """
    return {CHAMPION_ANSWERS: _seen_by_both(pairs, deltas)}


def reward_model_over_champion(evidence: Mapping[str, pa.Table]) -> ChampionFigures:
    """`agreement`, and `nll_nats` on the pairs whose prompts tuned neither, with intervals over prompts.

    Where answers of the champion policy are labelled, to `FEWEST_IN_SLICE` prompts at least, these give
    `agreement_on_champion_policy`.
    """
    table = evidence[PAIRS]
    untuned = table["untuned"].to_numpy()
    figures = {"agreement": _paired(table, hits, share)}
    if untuned.any():
        figures["nll_nats"] = _paired(table.filter(untuned), losses, mean)
    answers = evidence.get(CHAMPION_ANSWERS)
    if answers is not None and len(set(answers["prompt"].to_pylist())) >= FEWEST_IN_SLICE:
        figures["agreement_on_champion_policy"] = _paired(answers, hits, share)
    note = f"nll on {untuned.sum()} of these pairs: on the prompts of the others a temperature was fitted"
    return ChampionFigures(figures, "" if untuned.all() else note)


def sft_rows(
    demonstrations: Sequence[Demonstration],
    token_losses: Sequence[NDArray[np.float64]],
    prompts: Sequence[str],
    responses: Sequence[Sequence[Response]],
) -> dict[str, pa.Table]:
    """Held-out demonstrations and prompts as both SFT models see them.

    Args:
        demonstrations: the N that losses were measured on.
        token_losses: of challenger and champion, each of shape ``[N]``, nats per response token.
        prompts: those that both answered.
        responses: of challenger and champion to all of them.

    Returns:
        `DEMONSTRATIONS`, a row for each with `<side>_loss_nats`, and `ANSWERS`, as `policy_rows` without scores.
    """
    texts = {name: [getattr(item, name) for item in demonstrations] for name in ("prompt", "response")}
    measured = {f"{side}_loss_nats": values for side, values in zip(SIDES, token_losses, strict=True)}
    return {DEMONSTRATIONS: pa.table({**texts, **measured}), ANSWERS: _answers(prompts, responses, {})}


def sft_over_champion(evidence: Mapping[str, pa.Table]) -> ChampionFigures:
    """`loss_nats` with intervals over prompts, and `eos_rate`."""
    table = evidence[DEMONSTRATIONS]
    prompts = table["prompt"].to_pylist()
    first, second = (table[f"{side}_loss_nats"].to_numpy() for side in SIDES)
    challenger, champion, between = (mean(values, prompts) for values in (first, second, first - second))
    loss = Paired(challenger=challenger, champion=champion, between=between)
    return ChampionFigures({"loss_nats": loss, "eos_rate": _ends(evidence[ANSWERS])})


def policy_rows(
    prompts: Sequence[str],
    sources: Sequence[str],
    responses: Sequence[Sequence[Response]],
    scores: Mapping[str, Sequence[NDArray[np.float64]]],
) -> dict[str, pa.Table]:
    """Answers of both policies to held-out prompts.

    Args:
        prompts: N prompts.
        sources: the file that each comes from.
        responses: of challenger and champion to all of them.
        scores: calibrated scores of either side's answers, each of shape ``[N]``, by what gave them.

    Returns:
        `ANSWERS`, a row for each answer: `answered_by`, `prompt`, `source`, `response`, `finished`, `<scorer>_score`.
    """
    table = _answers(prompts, responses, scores)
    place = table.column_names.index("prompt") + 1
    return {ANSWERS: table.add_column(place, "source", pa.array([*sources, *sources], pa.string()))}


def policy_over_champion(evidence: Mapping[str, pa.Table]) -> ChampionFigures:
    """Scores, win rates, and both at like length, by each scorer; `eos_rate`; the worst slice of the prompts.

    Returns:
        Figures with intervals over prompts; the note names the worst slice, where any is large enough to be looked at.
    """
    table = evidence[ANSWERS]
    sides = [_of(table, side) for side in SIDES]
    lengths = np.array([[len(text.split()) for text in side["response"].to_pylist()] for side in sides], np.float64).T
    figures: dict[str, Paired] = {}
    for scorer in (JUDGE, REWARD):
        first, second = (side[f"{scorer}_score"].to_numpy() for side in sides)
        figures |= _scored(scorer, first, second, lengths)
    figures["eos_rate"] = _ends(table)
    slices = prompt_slices(*(sides[0][name].to_pylist() for name in ("prompt", "source")))
    worst = worst_slice(wins(*(side[f"{JUDGE}_score"].to_numpy() for side in sides)), slices)
    if worst is None:
        return ChampionFigures(figures)
    name, rate = worst
    figures["worst_slice_judge_win_rate"] = Paired(challenger=None, champion=None, between=rate)
    return ChampionFigures(figures, f"worst slice: {name}, by its upper bound")


CHAMPION_FIGURES: Mapping[str, Callable[[Mapping[str, pa.Table]], ChampionFigures]] = MappingProxyType(
    {
        "sft": sft_over_champion,
        "reward-model": reward_model_over_champion,
        "judge": reward_model_over_champion,
        "policy": policy_over_champion,
    }
)
"""What gives the figures of a comparison from its rows, by stage."""


def _seen_by_both(pairs: Sequence[Pair], deltas: Sequence[NDArray[np.float64]]) -> pa.Table:
    """Pairs with the margins of challenger and champion."""
    texts = {name: [getattr(pair, name) for pair in pairs] for name in ("prompt", "chosen", "rejected")}
    return pa.table({**texts, **{f"{side}_delta": values for side, values in zip(SIDES, deltas, strict=True)}})


def _paired(
    table: pa.Table,
    measured: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    estimate: Callable[..., Estimate],
) -> Paired:
    """A figure of the margins of both sides, by prompts."""
    ours, theirs = (measured(table[f"{side}_delta"].to_numpy()) for side in SIDES)
    by = table["prompt"].to_pylist()
    return Paired(challenger=estimate(ours, by), champion=estimate(theirs, by), between=mean(ours - theirs, by))


def _scored(
    scorer: str, first: NDArray[np.float64], second: NDArray[np.float64], lengths: NDArray[np.float64]
) -> dict[str, Paired]:
    """What one scorer says of both sides' answers."""
    gain = Paired(challenger=mean(first), champion=mean(second), between=paired_gain(first, second))
    like = gain_at_like_length(first - second, lengths)
    return {
        f"{scorer}_score": gain,
        f"{scorer}_score_at_like_length": Paired(challenger=None, champion=None, between=like),
        f"{scorer}_win_rate": Paired(challenger=None, champion=None, between=win_rate(first, second)),
    }


def _ends(answers: pa.Table) -> Paired:
    first, second = (_of(answers, side)["finished"].to_numpy().astype(np.float64) for side in SIDES)
    return Paired(challenger=share(first), champion=share(second), between=paired_gain(first, second))


def _answers(
    prompts: Sequence[str],
    responses: Sequence[Sequence[Response]],
    scores: Mapping[str, Sequence[NDArray[np.float64]]],
) -> pa.Table:
    tables = [
        pa.table(
            {
                "answered_by": [side] * len(prompts),
                "prompt": list(prompts),
                "response": [response.text for response in responses[place]],
                "finished": [response.finished for response in responses[place]],
                **{f"{scorer}_score": both[place] for scorer, both in scores.items()},
            }
        )
        for place, side in enumerate(SIDES)
    ]
    return pa.concat_tables(tables)


def _of(table: pa.Table, side: str) -> pa.Table:
    return table.filter(np.array(table["answered_by"].to_pylist()) == side)
