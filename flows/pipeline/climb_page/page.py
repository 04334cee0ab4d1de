"""The page of a climb as one file of HTML: no request leaves it, and text of the data stays text."""

import re
from typing import Any

from markupsafe import Markup, escape
from mlflow import MlflowClient
from prefect.artifacts import create_link_artifact

from flows.config.redaction import redact
from flows.lineage.page import Servers, picture, servers
from flows.lineage.story import when
from flows.pipeline.climb_page.answers import side_by_side
from flows.pipeline.climb_page.champion import champion_part
from flows.pipeline.climb_page.climb import Climb, read_climb
from flows.pipeline.climb_page.data import data_part
from flows.pipeline.climb_page.decision import Decision, decide, gates
from flows.pipeline.climb_page.drawing import draw
from flows.pipeline.climb_page.economics import economics_part
from flows.pipeline.climb_page.failure_table import lights
from flows.pipeline.climb_page.parts import Part
from flows.pipeline.climb_page.policy import policy_part
from flows.pipeline.climb_page.reward_model import reward_model_part
from flows.registry.client import Registry
from flows.registry.names import REPEATED_TAG
from flows.report import templates, verbatim, warn
from rlhf_core.gates.gate import chance_of_stop

FILE = "report.html"
"""What the page is called among the artifacts of the climb's run."""


def climb_page(client: MlflowClient, run_id: str) -> str:
    """The page of a climb, made of what the tracking server keeps of it."""
    climb = read_climb(client, run_id)
    return as_page(climb, decide(climb), servers())


def publish_page(registry: Registry, run_id: str, repeated: str | None) -> None:
    """Keep the page of a climb with a run, and link it from the flow run; what it cannot show ends no climb.

    Args:
        registry: where both are.
        run_id: the run that keeps it.
        repeated: the climb that this one would only repeat, whose page it then is.
    """
    of = repeated or run_id
    if repeated is not None:
        registry.tag_run(run_id, {REPEATED_TAG: repeated})
    try:
        registry.client.log_text(run_id, climb_page(registry.client, of), FILE)
        link = f"{servers().run(registry.experiment_id, run_id)}/artifacts/{FILE}"
        create_link_artifact(link, link_text="report of the climb", key="report", description="What the climb came to")
    except Exception as error:
        warn(redact(f"no page was kept of this climb, {type(error).__name__}: {error}; try `rlhf report {of}`"))


def as_page(climb: Climb, decision: Decision, at: Servers) -> str:
    """The page of a climb that was read back.

    Args:
        climb: what is kept of it.
        decision: what stands at the top.
        at: where the pages of MLflow and Prefect are.
    """
    environment = templates("flows.pipeline.climb_page")
    environment.filters["code"] = _in_code
    beside = {name: verbatim(environment, name) for name in ("climb.css", "answers.js")}
    unclear, passed = gates(climb)
    answers, champion, parts = side_by_side(climb), champion_part(climb), _parts(climb)
    charts = [*answers.charts, *(chart for part in (champion, *parts) for chart in part.charts)]
    return environment.get_template("climb.html").render(
        climb=climb,
        style=beside["climb.css"],
        script=beside["answers.js"],
        started=when(climb.run.info.start_time / 1000),
        run=at.run(climb.run.info.experiment_id, climb.run_id),
        decision=decision,
        unclear=unclear,
        passed=passed,
        luck=chance_of_stop([verdict for found in climb.verdicts.values() for verdict in found]),
        answers=answers,
        champion=champion,
        parts=parts,
        pictures=draw(chart.specification for chart in charts),
        lights=lights(climb),
        command=_command(climb),
        lineage=picture(climb.story, at) if climb.story else "",
        stored=_stored(climb, answers.rows),
    )


def _parts(climb: Climb) -> list[Part]:
    return [reward_model_part(climb), policy_part(climb), data_part(climb), economics_part(climb)]


def _stored(climb: Climb, rows: Any) -> dict[str, Any]:
    """What the page shows, as numbers for whoever computes with them; the answers are drawn from it."""
    return {
        "run_id": climb.run_id,
        "verdicts": {
            judged: [item.model_dump(mode="json") for item in found] for judged, found in climb.verdicts.items()
        },
        "figures": {
            stage: {name: figure.as_json() for name, figure in made.figures.items()}
            for stage, made in climb.stages.items()
        },
        "answers": rows,
    }


def _command(climb: Climb) -> str:
    """What makes the same climb again from what is stored."""
    run = f"mlflow artifacts download --run-id {climb.run_id} --artifact-path config.json --dst-path again"
    return f"{run}\nrlhf run again/config.json"


def _in_code(text: str) -> Markup:
    """A sentence whose words between backticks are code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 escaped before
