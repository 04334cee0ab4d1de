"""Film reviews: `python -m benchmarks.quality.movies prepare` writes the data of `configs/movies.yaml`.

`study` climbs by arm and seed, and `table` prints what came of it. Each climb is kept as soon as it is over, and its
stages are in the storage, so a study that was cut goes on.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.common.machine import machine
from benchmarks.quality.movies.prepare import MissingData
from benchmarks.quality.movies.prepare import prepare as write_tables
from benchmarks.quality.movies.study import ARMS, CONFIG, climb

RESULTS = Path(__file__).parents[2] / "results" / "movies.json"

FIGURES = (
    ("sft", "held_out_loss_gain"),
    ("sft", "eos_rate"),
    ("reward-model", "agreement"),
    ("reward-model", "ceiling"),
    ("reward-model", "share_of_ceiling"),
    ("reward-model", "agreement_bag_of_words"),
    ("reward-model", "ece"),
    ("judge", "agreement"),
    ("policy", "kl_to_sft_nats"),
    ("policy", "reward_gain"),
    ("policy", "judge_reward_gain"),
    ("policy", "judge_win_rate"),
    ("policy", "distinct_2_ratio"),
    ("policy", "duplicate_share"),
    ("policy", "length_ratio"),
    ("outside", "sft_vader"),
    ("outside", "policy_vader"),
    ("outside", "policy_vader_gain"),
    ("outside", "policy_vader_win_rate"),
    ("outside", "policy_textblob_gain"),
    ("outside", "policy_textblob_win_rate"),
)
"""Stage and figure; `outside` is what no gate and no training sees."""

app = typer.Typer(add_completion=False)
Results = Annotated[Path, typer.Option(help="JSON of the climbs.")]


@app.command()
def prepare(
    data: Annotated[Path, typer.Option(help="Folder with the raw files.", envvar="RLHF_DATA")],
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = Path(".movies"),
) -> None:
    """Write pairs and sentences."""
    try:
        rows = write_tables(data, out)
    except MissingData as missing:
        raise typer.BadParameter(str(missing)) from None
    typer.echo("; ".join(f"{out / name}: {count} rows" for name, count in rows.items()))


@app.command()
def study(
    storage: Annotated[Path, typer.Option(help="Folder of all climbs.")] = Path(".movies/study"),
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="0, 1 and 2, unless some are named.")] = None,
    arms: Annotated[list[str] | None, typer.Option("--arm", help=f"Of {', '.join(ARMS)}.")] = None,
    results: Results = RESULTS,
) -> None:
    """Make every climb that the results do not hold yet."""
    climbs = _read(results)
    done = {(item["arm"], item["seed"]) for item in climbs}
    for seed in seeds or (0, 1, 2):
        for arm in arms or ARMS:
            if (arm, seed) in done:
                continue
            climbs.append(climb(arm, seed, storage))
            kept = {"machine": machine(), "config": CONFIG, "climbs": climbs}
            results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            typer.echo(f"{arm}, seed {seed}: exit {climbs[-1]['exit']} after {climbs[-1]['seconds']:.0f} s")


@app.command()
def table(results: Results = RESULTS) -> None:
    """Print figures, verdicts and curves of all climbs as Markdown."""
    for arm in ARMS:
        climbs = sorted((item for item in _read(results) if item["arm"] == arm), key=lambda item: item["seed"])
        if climbs:
            _print_arm(arm, climbs)


def _print_arm(arm: str, climbs: list[dict[str, Any]]) -> None:
    _row(arm, *(f"seed {item['seed']}" for item in climbs), "mean")
    _row(*["---"] * (len(climbs) + 2))
    _row("exit, minutes", *(f"{item['exit']}, {item['seconds'] / 60:.0f}" for item in climbs), "")
    for stage, name in FIGURES:
        found = [(_figures(item, stage) or {}).get(name) for item in climbs]
        values = [figure["value"] for figure in found if figure]
        _row(f"{stage} `{name}`", *map(_cell, found), f"{np.mean(values):.3f}" if values else "")
    for item in climbs:
        judged = item["verdicts"].items()
        stopping = [f"{stage} {gate} {status}" for stage, gates in judged for gate, status in gates.items()]
        not_passed = ", ".join(line for line in stopping if not line.endswith(" pass")) or "none"
        typer.echo(f"\nseed {item['seed']}: gates that did not pass: {not_passed}. {item['outcome']}\n")
        _row("step", "KL", "reward", "judge", "VADER", "TextBlob", "words")
        _row(*["---"] * 7)
        for point in item.get("curve", ()):
            means = (point[name] for name in ("kl", "reward", "judge", "vader", "textblob", "words"))
            _row(str(point["step"]), *(f"{value:.2f}" for value in means))
    typer.echo()


def _figures(item: dict[str, Any], stage: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = item["outside"] if stage == "outside" else item["estimates"].get(stage)
    return found


def _cell(figure: dict[str, Any] | None) -> str:
    """A figure with its interval; a dash where the climb did not get so far."""
    if figure is None:
        return "-"
    if figure["lower"] is None or figure["upper"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['lower']:.3f}, {figure['upper']:.3f}]"


def _read(results: Path) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = json.loads(results.read_text(encoding="utf-8"))["climbs"] if results.exists() else []
    return kept


def _row(*cells: str) -> None:
    typer.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    app()
