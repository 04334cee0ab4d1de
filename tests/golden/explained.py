"""Golden numbers of the teaching pages, from rlhf_core: `python -m tests.golden.explained` writes them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks.quality.mitigations.curves import within_budget
from rlhf_core.gates.defaults import DEFAULT_REWARD_MODEL_GATES
from rlhf_core.gates.gate import Gate, judge
from rlhf_core.metrics.calibration import (
    abs_delta_ratio,
    expected_calibration_error,
    expected_median,
    hits,
    labels_met,
    losses,
    overconfidence_gap,
    share_in_band,
)
from rlhf_core.metrics.estimates import Estimate, share
from rlhf_core.objectives import bradley_terry_loss, shaped_rewards
from tests.conftest import ROOT

GOLDEN = Path(__file__).with_name("explain.json")
RECORDED = ROOT / "flows" / "explain" / "pages" / "recorded.js"

RATE = 0.3
ROUNDS = [(0, 1), (0, 3), (2, 1), (1, 3), (0, 2), (3, 2), (0, 1), (1, 2), (2, 3), (1, 0)] * 4
"""Winner and loser of each."""
TRUTHS = (
    ([1.5, 0.7, 0.4, -1.4], 0.0),
    ([1.5, 0.7, 0.4, -1.4], 0.35),
    ([3.0, 3.0, -3.0, 0.0], 0.1),
    ([1.0, 0.0, 2.0, -1.0], 1.0),
)
"""Hidden scores, and the share of the picks that are a coin's."""
MARGINS = (-30.0, -1.0, 0.0, 0.5, 4.0, 30.0)
BETAS, BUDGETS = (0.0, 0.05, 0.15, 0.5, 1.0), (0.5, 2.0, 3.5, 8.0, 30.0)
DIALS = (0.4, 1.0, 2.0)

Array = NDArray[np.float64]


def recorded() -> dict[str, Any]:
    """What the pages read."""
    text = RECORDED.read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("};") + 1])
    return found


def numbers() -> dict[str, Any]:
    """Every number, by page."""
    known = recorded()
    return {
        "losses": [
            [margin, float(bradley_terry_loss(torch.tensor([margin], dtype=torch.float64), torch.zeros(1)))]
            for margin in MARGINS
        ],
        "rounds": {"rate": RATE, "picks": ROUNDS, "scores": _trained(ROUNDS, RATE)},
        "truths": [_truth(np.array(hidden), careless) for hidden, careless in TRUTHS],
        "leash": [_leash(run) for run in known["runs"]],
        "medians": [[accuracy, float(expected_median(accuracy))] for accuracy in (0.5, 0.6, 0.741, 0.9, 0.99)],
        "verdicts": [_bounds(gate) for gate in _gates()],
        "dials": [_dial(known["margins"], dial) for dial in DIALS],
    }


def _trained(rounds: Sequence[tuple[int, int]], rate: float) -> list[float]:
    """Scores after a step of gradient descent on each choice, by automatic differentiation."""
    scores = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for winner, loser in rounds:
        [gradient] = torch.autograd.grad(bradley_terry_loss(scores[winner], scores[loser]), scores)
        with torch.no_grad():
            scores -= rate * gradient
    found: list[float] = scores.tolist()
    return found


def _truth(hidden: Array, careless: float) -> dict[str, Any]:
    """What can be known of choices by these hidden scores, and where a model's scores end."""
    second, first = np.triu_indices(len(hidden), 1)
    gaps = hidden[first] - hidden[second]
    shares = (1 - careless) * expit(gaps) + careless / 2
    guess = np.array([0.2, 0.1, -0.3, 0.0])

    def expected(scores: Array) -> float:
        return float(losses(scores[first] - scores[second], shares).mean() + 1e-9 * (scores**2).sum())

    fitted = minimize(expected, np.zeros(len(hidden)), tol=1e-12).x
    return {
        "hidden": hidden.tolist(),
        "careless": careless,
        "ceiling": float(np.maximum(labels_met(gaps, shares), labels_met(-gaps, shares)).mean()),
        "guess": guess.tolist(),
        "agreement": float(labels_met(guess[first] - guess[second], shares).mean()),
        "loss": float(losses(guess[first] - guess[second], shares).mean()),
        "fitted": (fitted - fitted.mean()).tolist(),
    }


def _leash(run: dict[str, Any]) -> dict[str, Any]:
    """Which states a price and a budget of KL keep of a run; the price is that of PPO's own reward."""
    curve = run["curve"]
    kl, reward = (torch.tensor([[point[name]] for point in curve], dtype=torch.float64) for name in ("kl", "reward"))
    mask = torch.ones_like(kl, dtype=torch.bool)
    worths = [shaped_rewards(reward[:, 0], kl, torch.zeros_like(kl), mask, beta=beta).sum(dim=1) for beta in BETAS]
    return {
        "annotators": run["annotators"],
        "seed": run["seed"],
        "betas": [[beta, int(worth.argmax())] for beta, worth in zip(BETAS, worths, strict=True)],
        "budgets": [[nats, curve.index(within_budget(curve, nats))] for nats in BUDGETS],
    }


def _dial(kept: dict[str, Any], dial: float) -> dict[str, Any]:
    """What the figures and the gates say of margins that are all multiplied."""
    deltas = np.array([margin for own in kept["prompts"] for margin in own]) * 1e-5 * dial
    clusters = np.repeat(np.arange(len(kept["prompts"])), [len(own) for own in kept["prompts"]])
    figures = {
        "agreement": share(hits(deltas), clusters),
        "share_in_band": share_in_band(deltas, clusters),
        "abs_delta_ratio": abs_delta_ratio(deltas, clusters),
        "overconfidence_gap": overconfidence_gap(deltas, clusters),
        "ece": expected_calibration_error(deltas / (kept["temperature"] * dial), clusters),
    }
    told = {name: figure.as_json() for name, figure in figures.items()}
    return {
        "dial": dial,
        "figures": told,
        "verdicts": {verdict.gate: verdict.status for verdict in judge(_gates(), figures)},
    }


def _bounds(gate: Gate) -> dict[str, Any]:
    """What a gate says of intervals on either side of its threshold, around it, and of too few prompts."""
    at = gate.threshold
    ends = [(at - 0.02, at - 0.01), (at - 0.01, at + 0.02), (at + 0.01, at + 0.02), (at, at + 0.01), (at - 0.01, at)]
    figures = [Estimate((lower + upper) / 2, lower, upper, gate.min_samples) for lower, upper in ends]
    figures.append(figures[0]._replace(n=gate.min_samples - 1))
    return {
        "gate": gate.name,
        "said": [[figure.as_json(), judge([gate], {gate.metric: figure})[0].status] for figure in figures],
    }


def _gates() -> list[Gate]:
    named = {gate["name"] for gate in recorded()["gates"]}
    return [gate for gate in DEFAULT_REWARD_MODEL_GATES if gate.name in named]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(numbers(), indent=1) + "\n", encoding="utf-8")
