"""The study as Markdown: medians with ranges over seeds, and differences by seed where two arms are compared."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from benchmarks.quality.mitigations import best_of_n, rounds
from benchmarks.quality.mitigations.arms import BETAS, METHODS, MONITORS, NATS, PPO, REWARDS, SINGLE, TARGET_NATS
from benchmarks.quality.mitigations.curves import Point, gain_at, kept, paired, peak, spread, within_budget
from benchmarks.quality.mitigations.record import Record
from rlhf_core.metrics.best_of_n import affordable_n

BUDGET_NATS = 3.5
"""Of the bench's recipe and of configs/embedded.yaml."""
SETTLED = 8
"""Updates at the end of a run over which its KL is averaged."""
TARGET_SHARE = 0.9
By = Mapping[str, dict[int, Record]]


def by_arm(records: Iterable[Record]) -> By:
    """Records that have no error, by arm and seed."""
    found: dict[str, dict[int, Record]] = defaultdict(dict)
    for record in records:
        if not record.get("error"):
            found[record["arm"]][record["seed"]] = record
    return found


def rewards(by: By) -> Iterator[str]:
    """Gold at the same KL by what PPO maximises, and beside one reward model."""
    yield from _head("gold gain over SFT at", *(f"{nats:g} nats" for nats in NATS), "at its peak", "nats there")
    for arm in REWARDS:
        found = by[arm.name]
        peaks = {seed: peak(run["curve"]) for seed, run in found.items()}
        yield _row(
            arm.name,
            *(told(_at(found, nats).values(), of=len(found)) for nats in NATS),
            told(point["gold"] - found[seed]["curve"][0]["gold"] for seed, point in peaks.items()),
            told((point["kl"] for point in peaks.values()), digits=1),
        )
    yield ""
    yield from _head(f"less {SINGLE.name}, by seed", *(f"{nats:g} nats" for nats in NATS))
    for arm in REWARDS[1:]:
        yield _row(arm.name, *(signed(paired(_at(by[arm.name], nats), _at(by[SINGLE.name], nats))) for nats in NATS))
    yield ""
    yield from _head(
        "at 4 nats", "words", "answers with filler", "proxy gain", "judge gain", "RM agreement", "its r with length"
    )
    for arm in REWARDS:
        found = by[arm.name]
        yield _row(
            arm.name,
            told(
                (float(gain_at(run["curve"], 4.0, "words")[0]) + run["curve"][0]["words"] for run in found.values()),
                digits=1,
            ),
            told(float(gain_at(run["curve"], 4.0, "filler")[0]) + run["curve"][0]["filler"] for run in found.values()),
            told(_at(found, 4.0, "reward").values()),
            told(_at(found, 4.0, "judge").values()),
            told(_figures(found, "reward_model", "agreement"), digits=3),
            told(_figures(found, "reward_model", "length_correlation")),
        )


def methods(by: By) -> Iterator[str]:
    """PPO, DPO and best-of-n: gold, judge, KL and time, then differences by seed."""
    yield from _head("method", "gold gain", "judge gain", "KL, nats", "training, core-s", "of it reward model")
    for arm in METHODS:
        found = by[arm.name]
        scorer = [run["seconds"]["reward_model"] if arm == PPO else 0.0 for run in found.values()]
        yield _row(
            arm.name,
            told(_figures(found, "truth", "gold_gain")),
            told(_figures(found, "truth", "judge_gain")),
            told(_figures(found, "truth", "kl_to_sft_nats"), digits=1),
            told(
                (run["seconds"]["policy"] + spent for run, spent in zip(found.values(), scorer, strict=True)), digits=0
            ),
            told(scorer, digits=0),
        )
    for n in (4, best_of_n.MOST):
        found = {seed: run["by_n"][n - 1] for seed, run in by[best_of_n.NAME].items()}
        scorer = [by[PPO.name][seed]["seconds"]["reward_model"] for seed in found if seed in by[PPO.name]]
        yield _row(
            f"best of {n}",
            told(row["gold_gain"][0] for row in found.values()),
            told(row["judge_gain"][0] for row in found.values()),
            told((row["kl"] for row in found.values()), digits=1),
            told(scorer, digits=0),
            told(scorer, digits=0),
        )
    yield ""
    yield from _head("by seed", "gold", "judge", "KL, nats")
    beside = [(f"PPO - {arm.name}", _worth(by, PPO.name), _worth(by, arm.name)) for arm in METHODS if arm != PPO]
    best = [(f"{arm.name} - best of n at no more KL", _worth(by, arm.name), _beside(by, arm.name)) for arm in METHODS]
    for name, first, second in (*beside, *best):
        yield _row(name, *(signed(paired(one, other)) for one, other in zip(first, second, strict=True)))


def betas(by: By) -> Iterator[str]:
    """Adaptive beside fixed beta: the KL that a run settles at, how far from its target, beta, gold."""
    yield from _head(
        "beta",
        f"KL of the last {SETTLED} updates",
        f"off {TARGET_NATS:g} nats by",
        "beta at the end",
        "gold gain",
        "KL, held out",
    )
    for arm in BETAS:
        found = by[arm.name]
        settled = [settled_kl(run) for run in found.values()]
        yield _row(
            arm.name,
            told(settled),
            told((abs(kl / TARGET_NATS - 1.0) for kl in settled), shape="{:.0%}"),
            told((run["updates"]["update_beta"][-1] for run in found.values()), digits=3),
            told(_figures(found, "truth", "gold_gain")),
            told(_figures(found, "truth", "kl_to_sft_nats"), digits=1),
        )
    yield ""
    yield from _head("adaptive - fixed, by seed", "gold gain", "KL, held out")
    for fixed, adaptive in (BETAS[:2], BETAS[2:]):
        pairs = zip(_worth(by, adaptive.name), _worth(by, fixed.name), strict=True)
        gold, _, kl = (signed(paired(*both)) for both in pairs)
        yield _row(f"{adaptive.name} - {fixed.name}", gold, kl)


def monitors(by: By) -> Iterator[str]:
    """Where the monitor stopped, and what it kept of the gain that the same run without it reaches."""
    yield from _head(
        "annotators",
        "seed",
        "peak gain (nats)",
        "end gain (nats)",
        "stopped after update",
        "kept (nats)",
        "share of the peak",
        f"a budget of {BUDGET_NATS:g} nats",
    )
    shares: dict[str, list[float]] = {}
    for annotators, (free, monitored) in MONITORS.items():
        shares[annotators] = []
        for seed in sorted(by[free.name].keys() & by[monitored.name].keys()):
            curve, stopped = by[free.name][seed]["curve"], by[monitored.name][seed]
            result = stopped["curve"][stopped["result"]]
            mine, budgeted = kept(curve, result), kept(curve, within_budget(curve, BUDGET_NATS))
            if mine.share is not None:
                shares[annotators].append(mine.share)
            yield _row(
                annotators,
                str(seed),
                f"{mine.peak:+.2f} ({mine.peak_nats:.1f})",
                _reached(curve, curve[-1]),
                str(stopped["curve"][-1]["step"]) if turned(stopped) else "never",
                _reached(curve, result),
                _share(mine.share),
                _share(budgeted.share),
            )
    yield ""
    yield from _head("annotators", "share of the peak kept", f"seeds with at least {TARGET_SHARE:.0%}")
    for annotators, found in shares.items():
        yield _row(
            annotators, told(found, shape="{:.0%}"), f"{sum(share >= TARGET_SHARE for share in found)} of {len(found)}"
        )


def refreshes(by: By) -> Iterator[str]:
    """Agreement on the newest policy's answers by round, with and without a refresh, and what policies are worth."""
    found = by[rounds.NAME]
    last = max((len(run["rounds"]) for run in found.values()), default=0)
    for who in ("annotators", "gold"):
        yield from _head(
            f"agreement with {who}",
            "never refreshed",
            "not this time",
            "refreshed",
            "refreshed - never, by seed",
            "refreshed - last, by seed",
        )
        for turn in range(last):
            told_by = [run["rounds"][turn][f"by_{who}"] for run in found.values() if turn < len(run["rounds"])]
            yield _row(
                f"round {turn + 1}",
                *(told((row[name][0] for row in told_by), digits=3) for name in ("never", "last", "refreshed")),
                *(signed((row[f"gain_over_{name}"][0] for row in told_by), digits=3) for name in ("never", "last")),
            )
        yield ""
    yield from _head("policy", "gold gain", "judge gain", "KL, nats")
    for turn in range(last + 1):
        rows = [
            run["rounds"][max(turn - 1, 0)]["after" if turn else "before"]
            for run in found.values()
            if max(turn - 1, 0) < len(run["rounds"])
        ]
        yield _row(
            f"after {turn} refreshes",
            *(
                told((row[name][0] for row in rows), digits=digits)
                for name, digits in (("gold_gain", 2), ("judge_gain", 2), ("kl_to_sft_nats", 1))
            ),
        )


TABLES: Mapping[str, Callable[[By], Iterator[str]]] = {
    "rewards": rewards,
    "methods": methods,
    "betas": betas,
    "monitors": monitors,
    "refreshes": refreshes,
}


def settled_kl(run: Record) -> float:
    """Mean KL to the SFT model of the last rollouts of a run, nats per response."""
    return float(np.mean(run["updates"]["update_kl"][-SETTLED:]))


def turned(run: Record) -> bool:
    """Whether it is a watch that ended a run, and not its budget."""
    return bool(run["outcome"]) and "budget" not in run["outcome"]


def told(values: Iterable[float], *, digits: int = 2, shape: str = "", of: int = 0) -> str:
    """Median [lowest, highest] of a figure over seeds; how many seeds have it, where not all `of` them do."""
    found = spread(value for value in values if not math.isnan(value))
    if found is None:
        return "not reached" if of else "-"
    form = shape or f"{{:.{digits}f}}"
    median, low, high = (form.format(value) for value in found[:3])
    return f"{median} [{low}, {high}]" + (f", {found.n} of {of} seeds" if found.n < of else "")


def signed(values: Iterable[float], *, digits: int = 2) -> str:
    """Median [lowest, highest] of differences by seed, and on how many seeds they are above 0."""
    found = list(values)
    if not found:
        return "-"
    above = sum(value > 0 for value in found)
    return f"{told(found, shape=f'{{:+.{digits}f}}')}, above 0 on {above} of {len(found)}"


def _at(found: Mapping[int, Record], nats: float, name: str = "gold") -> dict[int, float]:
    """Gain at a KL by seed; NaN where it was not reached."""
    return {seed: float(gain_at(run["curve"], nats, name)[0]) for seed, run in found.items()}


def _figures(found: Mapping[int, Record], stage: str, name: str) -> list[float]:
    return [run["figures"][stage][name][0] for run in found.values()]


def _worth(by: By, arm: str) -> tuple[dict[int, float], ...]:
    """Gold gain, judge gain and KL of a policy by seed, on held-out prompts."""
    names = ("gold_gain", "judge_gain", "kl_to_sft_nats")
    return tuple({seed: run["figures"]["truth"][name][0] for seed, run in by[arm].items()} for name in names)


def _beside(by: By, arm: str) -> tuple[dict[int, float], ...]:
    """The same of the best of the largest n at no more KL than a policy's."""
    rows = {
        seed: run["by_n"][affordable_n(by[arm][seed]["figures"]["truth"]["kl_to_sft_nats"][0], len(run["by_n"])) - 1]
        for seed, run in by[best_of_n.NAME].items()
        if seed in by[arm]
    }
    gold, judge = ({seed: row[name][0] for seed, row in rows.items()} for name in ("gold_gain", "judge_gain"))
    return gold, judge, {seed: row["kl"] for seed, row in rows.items()}


def _reached(curve: Sequence[Point], point: Point) -> str:
    return f"{point['gold'] - curve[0]['gold']:+.2f} ({point['kl']:.1f})"


def _share(share: float | None) -> str:
    return "gold never rose" if share is None else f"{share:.0%}"


def _head(*cells: str) -> Iterator[str]:
    yield _row(*cells)
    yield _row(*["---"] * len(cells))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
