"""Test a reader who gets only reports: `python -m benchmarks.quality.decisions make OUT --key FILE`, then `grade`.

The reader opens the six pages of OUT and answers for each: promote, or do not promote. Which page is of which case, and
what is right, stands in the key, which lies elsewhere; the gold reward, by which the key was checked, is in no page.
"""

import json
import os
import random
import tempfile
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from benchmarks.quality.decisions.cases import CASES, Answer, ReaderCase
from flows.deploy.environment import QUIET, quiet

app = typer.Typer(add_completion=False)

Key = Annotated[Path, typer.Option(help="File of what is right; not in the folder of the pages.")]


@app.command()
def make(
    out: Annotated[Path, typer.Argument(help="Folder of the pages.")],
    key: Key,
    storage: Annotated[Path | None, typer.Option(help="Folder of all climbs; what was cut off there goes on.")] = None,
    order: Annotated[int | None, typer.Option(help="Seed of the order of the pages.")] = None,
) -> None:
    """Climb all cases, which takes minutes, and write a page of each and the key."""
    if key.absolute().is_relative_to(out.absolute()):
        raise typer.BadParameter("the key lies beside the pages; name another folder", param_hint="--key")
    home = (storage or Path(tempfile.mkdtemp(prefix="decisions-"))).absolute()
    home.mkdir(parents=True, exist_ok=True)
    os.environ |= {**QUIET, "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}
    quiet()
    from benchmarks.quality.decisions.climbs import Climbed, climb  # noqa: PLC0415  MLflow reads what is set by now

    numbers = random.Random(order).sample(range(1, len(CASES) + 1), len(CASES))
    out.mkdir(parents=True, exist_ok=True)
    found: dict[int, tuple[ReaderCase, Climbed]] = {}
    for number, case in zip(numbers, CASES, strict=True):
        found[number] = case, climb(case, home)
        (out / f"{number}.html").write_text(found[number][1].page, encoding="utf-8")
        typer.echo(f"{len(found)} of {len(CASES)} reports are written")
    answers = {str(number): _as_json(*found[number]) for number in sorted(found)}
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    if doubtful := [number for number, (case, climbed) in found.items() if _doubtful(case, climbed)]:
        typer.echo(f"{len(doubtful)} of the climbs came out otherwise than the key says, which names them", err=True)
        raise typer.Exit(1)


@app.command()
def grade(
    answers: Annotated[list[str], typer.Argument(help="For each page `NUMBER=promote` or `NUMBER=do not promote`.")],
    key: Key,
) -> None:
    """Hold a reader's answers against the key; exit code 1 if any is wrong or missing."""
    right: dict[str, dict[str, Any]] = json.loads(key.read_text(encoding="utf-8"))
    given = dict(answer.split("=", 1) for answer in answers if "=" in answer)
    if unknown := [answer for answer in given.values() if answer not in get_args(Answer)]:
        raise typer.BadParameter(f"{unknown[0]} is no answer; {' or '.join(get_args(Answer))}")
    wrong = [number for number in right if given.get(number) != right[number]["right"]]
    for number in wrong:
        typer.echo(f"{number}: {given.get(number, 'no answer')}, but {right[number]['right']}: {right[number]['why']}")
    typer.echo(f"{len(right) - len(wrong)} of {len(right)} right")
    if wrong:
        raise typer.Exit(1)


def _as_json(case: ReaderCase, climbed: Any) -> dict[str, Any]:
    gain = climbed.gold_gain
    said = {"case": case.name, "right": case.right, "why": case.why, "gold_gain": gain and gain.as_json()}
    return {**said, "doubtful": _doubtful(case, climbed)}


def _doubtful(case: ReaderCase, climbed: Any) -> bool:
    """Whether the truth speaks against the key: what is to be promoted must be better in gold, beyond noise."""
    gain = climbed.gold_gain
    if case.right == "promote":
        return gain is None or gain.lower <= 0
    return gain is not None and gain.lower > 0


if __name__ == "__main__":
    app()
