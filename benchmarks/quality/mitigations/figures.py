"""The study as figures, one for each comparison: median over seeds as a line, range as a band."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.quality.mitigations import best_of_n, rounds
from benchmarks.quality.mitigations.arms import BETAS, METHODS, MONITORS, NATS, REWARDS, TARGET_NATS
from benchmarks.quality.mitigations.curves import distances, gain_at, gains
from benchmarks.quality.mitigations.tables import By, turned

COLOURS = ("#000000", "#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377")
"""Paul Tol's bright scheme, which colour-blind people can tell apart."""
GRID = np.linspace(0.0, np.sqrt(12.0), 60)
"""Distances from the SFT model at which curves are drawn, sqrt(nats)."""
Array = NDArray[np.float64]


def rewards(by: By) -> Figure:
    """Gold gain over sqrt(KL) by what PPO maximises: ensembles beside one reward model, then length."""
    drawing = Figure(figsize=(11, 4.4), layout="constrained")
    panels = drawing.subplots(1, 2, sharey=True)
    for panel, title, arms in (
        (panels[0], "ensembles of heads", REWARDS[:4]),
        (panels[1], "length", (REWARDS[0], *REWARDS[4:])),
    ):
        for arm in arms:
            runs = [gain_at(run["curve"], GRID**2) for run in by[arm.name].values()]
            _band(panel, GRID, runs, arm.name, COLOURS[REWARDS.index(arm)])
        for nats in NATS:
            panel.axvline(np.sqrt(nats), color="grey", linewidth=0.5, linestyle=":")
        _dress(panel, title, "sqrt(KL to SFT), KL in nats per response")
    panels[0].set_ylabel("gold gain over SFT, logits")
    return drawing


def methods(by: By) -> Figure:
    """Gold and judge gain over KL: best-of-n at every n as a curve, PPO and DPO of each seed as points."""
    drawing = Figure(figsize=(11, 4.4), layout="constrained")
    for panel, name in zip(drawing.subplots(1, 2), ("gold", "judge"), strict=True):
        drawn = [run["by_n"] for run in by[best_of_n.NAME].values()]
        if drawn:
            kl = np.array([row["kl"] for row in drawn[0]])
            worth = [np.array([row[f"{name}_gain"][0] for row in rows]) for rows in drawn]
            _band(panel, kl, worth, f"best of n, n to {len(kl)}", COLOURS[0])
        for arm, colour in zip(METHODS, (COLOURS[1], COLOURS[5], COLOURS[4]), strict=True):
            figures = [run["figures"]["truth"] for run in by[arm.name].values()]
            places = [found["kl_to_sft_nats"][0] for found in figures]
            panel.scatter(places, [found[f"{name}_gain"][0] for found in figures], label=arm.name, color=colour)
        _dress(panel, name, "KL to SFT, nats per response")
        panel.set_ylabel("gain over SFT on held-out prompts, logits")
    return drawing


def betas(by: By) -> Figure:
    """KL to the SFT model and beta, update by update."""
    drawing = Figure(figsize=(11, 4.4), layout="constrained")
    panels = drawing.subplots(1, 2)
    for panel, name, title in zip(panels, ("update_kl", "update_beta"), ("KL to SFT of rollouts", "beta"), strict=True):
        for arm, colour in zip(BETAS, (COLOURS[1], COLOURS[0], COLOURS[5], COLOURS[4]), strict=True):
            runs = [np.array(run["updates"][name]) for run in by[arm.name].values()]
            if runs:
                _band(panel, np.arange(1, len(runs[0]) + 1), runs, arm.name, colour)
        _dress(panel, title, "update")
    panels[0].axhline(TARGET_NATS, color="grey", linestyle=":", label="target")
    panels[0].set_ylabel("nats per response")
    panels[0].legend(fontsize="small")
    if any(by[arm.name] for arm in BETAS):
        panels[1].set_yscale("log")
    return drawing


def monitors(by: By) -> Figure:
    """Gold of each run that nothing stops, and where the monitor's result is on it."""
    drawing = Figure(figsize=(15, 8.0), layout="constrained")
    panels = drawing.subplots(2, math.ceil(len(MONITORS) / 2), sharey=True).ravel()
    for panel in panels[len(MONITORS) :]:
        panel.remove()
    for panel, (annotators, (free, monitored)) in zip(panels, MONITORS.items(), strict=False):
        for place, (seed, run) in enumerate(sorted(by[free.name].items())):
            colour = COLOURS[place % len(COLOURS)]
            panel.plot(distances(run["curve"]), gains(run["curve"]), color=colour, linewidth=1.0, label=f"seed {seed}")
            if stopped := by[monitored.name].get(seed):
                marker = "o" if turned(stopped) else "x"
                at = stopped["result"]
                panel.plot(distances(stopped["curve"])[at], gains(stopped["curve"])[at], marker, color=colour)
        _dress(panel, annotators, "sqrt(KL to SFT), KL in nats per response")
    drawing.supylabel("gold gain over SFT, logits; dot: kept where a watch stopped it, cross: never stopped")
    return drawing


def refreshes(by: By) -> Figure:
    """Agreement on the newest policy's answers by round, with labels of the annotators and of the truth."""
    drawing = Figure(figsize=(11, 4.4), layout="constrained")
    for panel, who in zip(drawing.subplots(1, 2), ("annotators", "gold"), strict=True):
        runs = list(by[rounds.NAME].values())
        turns = np.arange(1, min((len(run["rounds"]) for run in runs), default=0) + 1)
        for name, title, colour in (
            ("never", "never refreshed", COLOURS[5]),
            ("last", "not this time", COLOURS[4]),
            ("refreshed", "refreshed", COLOURS[1]),
        ):
            values = [np.array([turn[f"by_{who}"][name][0] for turn in run["rounds"][: len(turns)]]) for run in runs]
            _band(panel, turns, values, title, colour)
        _dress(panel, f"agreement with {who} on the newest policy's answers", "round")
        panel.set_xticks(turns)
        panel.set_ylim(bottom=0.45)
    return drawing


FIGURES: Mapping[str, Callable[[By], Figure]] = {
    "rewards": rewards,
    "methods": methods,
    "betas": betas,
    "monitors": monitors,
    "refreshes": refreshes,
}


def _band(panel: Axes, places: NDArray[Any], runs: Sequence[Array], label: str, colour: str) -> None:
    """Median and range over seeds, as far as every seed goes."""
    if not runs:
        return
    rows = np.stack(runs)
    seen = ~np.isnan(rows).any(axis=0)
    panel.plot(places[seen], np.median(rows[:, seen], axis=0), color=colour, label=label)
    panel.fill_between(places[seen], rows[:, seen].min(axis=0), rows[:, seen].max(axis=0), color=colour, alpha=0.12)


def _dress(panel: Axes, title: str, below: str) -> None:
    panel.set(title=title, xlabel=below)
    panel.axhline(0.0, color="grey", linewidth=0.8)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize="small")
