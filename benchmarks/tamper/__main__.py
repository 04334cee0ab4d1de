"""Tamper with a finished ladder: `python -m benchmarks.tamper run`, then `fill` for the page."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.places import NoPlace, fill_places
from benchmarks.tamper.kinds import BEYOND
from flows.deploy.environment import QUIET, quiet

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "tamper.json"
PAGE = ROOT / "docs" / "evidence" / "audit.md"
FAILING = (
    "gates.policy=[{name: kl-budget, metric: kl_to_sft_nats, direction: below, threshold: -1.0, min_samples: 5,"
    " failure: left the budget, reason: No divergence is below nothing.}]"
)
"""A gate that no policy passes."""

app = typer.Typer(add_completion=False)


@app.command()
def run(
    home: Annotated[Path | None, typer.Option(help="Folder of the ladder; made if it holds none.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Kinds; all by default.")] = None,
    out: Annotated[Path, typer.Option(help="JSON of what was noticed.")] = RESULT,
) -> None:
    """Tamper, audit, and print what was noticed; exit code 1 if anything was not that a signature can know."""
    folder = (home or Path(tempfile.mkdtemp(prefix="tamper-"))).absolute()
    os.environ |= {**QUIET, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    quiet()
    if not (folder / "storage" / "mlflow.db").exists():
        climb(folder)
    from benchmarks.tamper.bench import try_tamper  # noqa: PLC0415  imports MLflow, which reads what is set by now
    from benchmarks.tamper.every_tamper import EVERY_TAMPER  # noqa: PLC0415

    notices = [try_tamper(None, folder)]
    for tamper in EVERY_TAMPER:
        if only is None or tamper.kind in only:
            notices.append(try_tamper(tamper, folder))
            typer.echo(f"{'noticed' if notices[-1].witnessed else 'NOT NOTICED'}  {tamper.kind}: {tamper.what}")
    out.write_text(json.dumps([notice.as_json() for notice in notices], indent=1) + "\n", encoding="utf-8")
    typer.echo(counted([notice.as_json() for notice in notices]))
    if notices[0].witnessed or any(not it.deep for it in notices[1:] if it.kind != BEYOND):
        raise typer.Exit(1)


@app.command()
def fill(result: Annotated[Path, typer.Option(help="JSON of what was noticed.")] = RESULT, page: Path = PAGE) -> None:
    """Put the table into the page."""
    notices = json.loads(result.read_text(encoding="utf-8"))
    try:
        fill_places(page, {"tampers": table(notices), "counts": [counted(notices)]})
    except NoPlace as error:
        raise typer.BadParameter(str(error)) from None


def climb(folder: Path) -> None:
    """A ladder that passed, was promoted and approved, and one whose policy failed its gate, beside a witness.

    The last statement retires the key of who approved.
    """
    from benchmarks.tamper.ladder import EARLIER, LEFT_BEHIND  # noqa: PLC0415  imports MLflow, as above
    from flows.attestation.keys import read_public_key  # noqa: PLC0415  the same

    settings = ("--set", f"storage={folder / 'storage'}", "--set", f"audit.witness={folder / 'witness'}")
    again = ("--set", "policy.updates=1", "--set", FAILING)
    tiny = str(ROOT / "configs" / "tiny.yaml")
    folder.mkdir(parents=True, exist_ok=True)
    type_rlhf("run", tiny, *settings)
    for model in ("sft", "reward-model", "policy"):
        type_rlhf("promote", f"tiny-{model}", "--yes", "--why", "first", "--config", tiny, *settings)
    ada = folder / "ada.pem"
    type_rlhf("keys", "new", str(ada))
    type_rlhf("keys", "trust", str(ada.with_suffix(".pub")), "--name", "Ada", "--config", tiny, *settings)
    as_ada = {"RLHF_OWN_KEY": str(ada)}
    type_rlhf("approve", "tiny-policy", "--yes", "--why", "looked", "--config", tiny, *settings, variables=as_ada)
    shutil.copytree(folder / "storage", folder / EARLIER, ignore=LEFT_BEHIND)
    type_rlhf("run", tiny, *settings, *again, code=3)
    keyid = read_public_key(ada.with_suffix(".pub")).keyid
    type_rlhf("keys", "retire", keyid, "--config", tiny, *settings)


def type_rlhf(*arguments: str, code: int = 0, variables: Mapping[str, str] = os.environ) -> None:
    """Type a command, which must end by an exit code."""
    command = [Path(sys.executable).with_name("rlhf"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    if done.returncode != code:
        raise RuntimeError(f"rlhf {' '.join(arguments)} ended by {done.returncode}: {done.stderr[-2000:]}")


def counted(notices: Sequence[dict[str, Any]]) -> str:
    """How many of how many."""
    tried = [notice for notice in notices if notice["kind"]]
    signed = [notice for notice in tried if notice["kind"] != BEYOND]
    quick, deep = (sum(bool(notice[name]) for notice in signed) for name in ("quick", "deep"))
    beyond = [notice for notice in tried if notice["kind"] == BEYOND]
    witnessed = sum(bool(notice["witnessed"]) for notice in beyond)
    return (
        f"{deep} of {len(signed)} tampers without the key are noticed, {quick} of them without reading a file; of "
        f"{len(beyond)} that no signature can know, {witnessed} beside a witness"
    )


def table(notices: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Lines of a table in Markdown."""
    yield "| of | tamper | noticed | first finding |"
    yield "|---|---|---|---|"
    for notice in notices:
        if notice["kind"]:
            how = next((name for name, key in HOW.items() if notice[key]), "no")
            finding = notice["witnessed"].replace("|", "\\|")
            yield f"| {notice['kind']} | {notice['what']} | {how} | {finding[:160]} |"


HOW = {"at once": "quick", "`--deep`": "deep", "`--witness`": "witnessed"}
"""How an audit notices, by the field that says so."""

if __name__ == "__main__":
    app()
