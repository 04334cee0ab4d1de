"""Climbs made by hand, as they are read back from MLflow: small, with every number known."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from flows.lineage.graph import Version
from flows.lineage.page import Servers
from flows.pipeline.climb_page.climb import Climb, StageRun
from flows.pipeline.climb_page.decision import decide
from flows.pipeline.climb_page.page import as_page
from flows.promotion.comparison import Comparison
from rlhf_core.gates.gate import Gate, Verdict, judge
from rlhf_core.metrics.estimates import Estimate

SERVERS = Servers("http://mlflow.example", "http://prefect.example")

PLANTED = "</script><script>document.title = 'planted'</script><img src=x onerror=\"document.title = 'planted'\">"

SCORES = {"good": (1.0, 3.0, 2.5), "bad": (2.0, 0.5, 3.0), "even": (1.0, 1.0, 1.0), PLANTED: (0.0, 0.25, 0.5)}
"""Of each prompt: what the judge gives the SFT model's answer and the policy's, and the reward model to the latter."""

WINS = Estimate(0.75, 0.6, 0.85, 120)


def version(stage: str, number: int = 1, **fields: Any) -> Version:
    empty: dict[str, Any] = {"gates": {}, "parents": {}, "parent_digests": {}, "datasets": {}, "aliases": ()}
    told = {"description": "", "digest": "d1", "key": "", "code": "", "model_id": "m-1", "run_id": "r", "created": 0.0}
    return Version(name=f"desk-{stage}", version=str(number), **{**empty, **told, **fields})


def stage_run(stage: str, number: int = 1, **parts: Any) -> StageRun:
    kept = {key: parts.pop(key, {}) for key in ("figures", "series", "curves", "rows")}
    return StageRun(version=version(stage, number, **parts), training=None, **kept)


def answers(scores: Mapping[str, tuple[float, float, float]] = SCORES, *, by: str = "the policy") -> pa.Table:
    rows = []
    for prompt, (sft, policy, reward) in scores.items():
        shared = {"prompt": prompt, "tokens": 4.0, "finished": True}
        ours = {
            "answered_by": "policy",
            "response": f"{by} says {prompt}",
            "judge_score": policy,
            "reward_score": reward,
        }
        theirs = {"answered_by": "sft", "response": f"the model says {prompt}", "judge_score": sft, "reward_score": 1.0}
        rows += [{**shared, **ours, "kl_to_sft_nats": 0.5}, {**shared, **theirs, "kl_to_sft_nats": float("nan")}]
    return pa.Table.from_pylist(rows)


def gate(name: str, metric: str, threshold: float, **fields: Any) -> Gate:
    told = {"direction": "above", "failure": "is worse", "reason": "Says `why`."}
    return Gate(name=name, metric=metric, threshold=threshold, **{**told, **fields})


def verdicts(gates: Sequence[Gate], figures: Mapping[str, Estimate]) -> dict[str, list[Verdict]]:
    return {"policy": judge(gates, figures)}


def climb(
    *,
    stages: Mapping[str, StageRun],
    judged: Mapping[str, list[Verdict]],
    champions: Mapping[str, StageRun] | None = None,
    comparisons: Mapping[str, Comparison] | None = None,
    **settings: Any,
) -> Climb:
    info = SimpleNamespace(run_id="0123456789abcdef", experiment_id="1", start_time=0, status="FINISHED")
    return Climb(
        run=SimpleNamespace(info=info, data=SimpleNamespace(tags={"rlhf.outcome": "trained policy"})),
        project="desk",
        settings=settings,
        verdicts=judged,
        stages=stages,
        champions=champions or {},
        comparisons=comparisons or {},
        worth=None,
        data={},
        outside={},
        story=None,
    )


def good_climb(**changes: Any) -> Climb:
    """A policy that wins, with one gate, and answers of which one is planted."""
    figures = {"judge_win_rate": WINS}
    policy = stage_run("policy", figures=figures, rows={"answers": answers()})
    return climb(
        **{
            "stages": {"policy": policy},
            "judged": verdicts([gate("judge-wins", "judge_win_rate", 0.5)], figures),
            **changes,
        }
    )


def page(of: Climb) -> str:
    return as_page(of, decide(of), SERVERS)
