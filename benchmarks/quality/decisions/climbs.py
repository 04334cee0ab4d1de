"""A case climbed by the commands that a team types; its page without the truth, and the truth beside it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from mlflow import MlflowClient

from benchmarks.quality.decisions.cases import BASIS, PROJECT, ReaderCase
from flows.lineage.archive import Archive
from flows.lineage.page import servers
from flows.pipeline.climb_page.climb import Climb, find_climb, read_climb, read_rows
from flows.pipeline.climb_page.decision import decide
from flows.pipeline.climb_page.page import as_page
from flows.registry.client import open_registry
from flows.registry.names import outside_evidence
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.generation.sampling import generate
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.policy_evidence import ANSWERS
from rlhf_core.metrics.win_rate import paired_gain

RLHF = str(Path(sys.executable).with_name("rlhf"))

SEED = 7
"""Of the answers by which the truth is asked."""


class Climbed(NamedTuple):
    """What came of a case.

    Attributes:
        page: what its reader gets.
        gold_gain: gold reward of its policy less that of what it would replace, on the same held-out prompts; None
            where it made no policy.
    """

    page: str
    gold_gain: Estimate | None


def climb(case: ReaderCase, storage: Path) -> Climbed:
    """Climb a case, and read it back before anybody acts on it; what an earlier call has done is not done again.

    Args:
        case: which.
        storage: of all of them, which the environment names to MLflow too.

    Raises:
        RuntimeError: if a command ends as it should not.
    """
    config, done = storage / "ladder.yaml", storage / "decisions" / case.name.replace(" ", "-")
    done.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump({**BASIS, "storage": str(storage)}, sort_keys=False), encoding="utf-8")
    for number, command in enumerate(case.before):
        _once(done / f"before-{number}", [*command, "--config", str(config)])
    if not (done / "gain.json").exists():
        _rlhf(["run", str(config), *(part for override in case.overrides for part in ("--set", override))], {0, 3})
        client = MlflowClient()
        known = read_climb(client, find_climb(client, None, PROJECT))
        gain = _gold_gain(known, client, storage)
        (done / "page.html").write_text(page_without_truth(known), encoding="utf-8")
        (done / "gain.json").write_text(json.dumps(gain and gain.as_json()), encoding="utf-8")
    for number, command in enumerate(case.after):
        _once(done / f"after-{number}", [*command, "--config", str(config)])
    figure = json.loads((done / "gain.json").read_text(encoding="utf-8"))
    page = (done / "page.html").read_text(encoding="utf-8")
    return Climbed(page, None if figure is None else Estimate.from_json(figure))


def page_without_truth(known: Climb) -> str:
    """The page of a climb without what nobody knows outside the embedded world."""
    shown = known._replace(outside={})
    return as_page(shown, decide(shown), servers())


def _gold_gain(known: Climb, client: MlflowClient, storage: Path) -> Estimate | None:
    if "policy" not in known.stages:
        return None
    table = read_rows(Archive(client), known.run_id, outside_evidence(ANSWERS))
    rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
    ours = {row["prompt"]: row["outside_gold"] for row in rows if row["answered_by"] == "policy"}
    champion = known.champions.get("policy")
    if champion is None:
        theirs = {row["prompt"]: row["outside_gold"] for row in rows if row["answered_by"] == "sft"}
    else:
        registry = open_registry(PROJECT, storage)
        folder = registry.folder(registry.pin(champion.version.label))
        answers = generate(folder, list(ours), SamplingConfig(), seed=SEED)
        theirs = {prompt: gold_reward(prompt, *said) for prompt, said in zip(ours, answers, strict=True)}
    return paired_gain([*ours.values()], [theirs[prompt] for prompt in ours])


def _once(mark: Path, arguments: list[str]) -> None:
    """Type a command, unless the mark says that it was typed before."""
    if not mark.exists():
        _rlhf(arguments)
        mark.touch()


def _rlhf(arguments: list[str], allowed: set[int] | None = None) -> None:
    done = subprocess.run([RLHF, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode not in (allowed or {0}):
        raise RuntimeError(f"rlhf {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
