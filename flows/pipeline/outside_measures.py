"""Held-out prompts answered by the base, the SFT model and the policy, and what the answers are worth from outside.

That is the gold reward, which only the embedded world knows, and the outside measures that a configuration names. All
of it comes after the last verdict, so no gate and no training can see it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from flows.config.data import EmbeddedData
from flows.config.ladder import LadderConfig
from flows.config.redaction import redact
from flows.pipeline.kept_rows import keep_rows
from flows.registry.context import RunContext
from flows.registry.names import ANSWERING, outside_evidence
from flows.registry.references import DataRefs, StageRecord
from flows.storage.records import read_prompts
from rlhf_core.config.outside_measures import OutsideMeasureConfig
from rlhf_core.data.records import Response
from rlhf_core.embedded_world.audit import audit
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.generation.sampling import generate
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.outside_measures import compare_models
from rlhf_core.metrics.policy_evidence import ANSWERS
from rlhf_core.rewards.functions import FunctionError, ask, load_function

KEPT = 10
"""Prompts whose answers stand in the summary that a run keeps."""

MEASURED_PROMPTS = 400

StageAnswers = Mapping[str, Sequence[Response]]
"""Responses of each stage to the same prompts."""

Measure = Callable[[Sequence[str], Sequence[Response]], Sequence[float]]
"""Of N prompts and the responses to them: N numbers."""


NO_ROWS = pa.table({})


class Answer(NamedTuple):
    """One answer of one stage, with what each measure says of it."""

    stage: str
    text: str
    scores: Mapping[str, float]


class OutsideView(NamedTuple):
    """Answers to prompts that no stage has learned from, and figures over more of them.

    Attributes:
        prompts: a few prompts with one answer for each stage.
        gold: gold figures over all measured prompts, by name; nothing where nobody knows the truth.
        measures: figures of the outside measures, by name.
        rows: every answer, by `answered_by`, with `outside_<measure>`.
        failures: what could not be measured, a sentence each.
    """

    prompts: list[tuple[str, list[Answer]]]
    gold: Mapping[str, Estimate] = {}
    measures: Mapping[str, Estimate] = {}
    failures: Sequence[str] = ()
    rows: pa.Table = NO_ROWS


def view_answers(
    config: LadderConfig, data: DataRefs, records: Mapping[str, StageRecord], context: RunContext
) -> OutsideView | None:
    """Answer held-out prompts with every stage and measure the answers; None where nothing would measure them.

    Args:
        config: the climb's configuration.
        data: its snapshots.
        records: finished stages by name.
        context: where the registry is.
    """
    measures: dict[str, Measure] = {"gold": _gold} if isinstance(config.data, EmbeddedData) else {}
    measures |= {measure.name: _asking(measure) for measure in config.outside_measures}
    if not measures:
        return None
    prompts = read_prompts(data.prompts, "test")[:MEASURED_PROMPTS]
    registry = context.registry()
    answers = {
        stage: generate(registry.folder(records[stage].model), prompts, config.policy.sampling, seed=context.seed)
        for stage in ANSWERING
    }
    view = measure_answers(prompts, answers, measures)
    keep_rows({ANSWERS: view.rows}, outside_evidence, [data.prompts], records["policy"].model, context)
    return view


def measure_answers(prompts: Sequence[str], answers: StageAnswers, measures: Mapping[str, Measure]) -> OutsideView:
    """Measure answers; a measure that fails is left out and said, as a climb that is over cannot be stopped by it.

    Args:
        prompts: N texts.
        answers: of each stage to all of them.
        measures: by name; that called `gold` is the gold reward.
    """
    scores: dict[str, dict[str, Sequence[float]]] = {}
    failures = []
    for name, measure in measures.items():
        try:
            scores[name] = {stage: measure(prompts, responses) for stage, responses in answers.items()}
        except FunctionError as error:
            failures.append(redact(f"outside measure '{name}' failed: {error}"))
    shown = [
        (
            prompt,
            [
                Answer(stage, said[row].text, {name: by_stage[stage][row] for name, by_stage in scores.items()})
                for stage, said in answers.items()
            ],
        )
        for row, prompt in enumerate(prompts[:KEPT])
    ]
    gold = audit(prompts, answers) if "gold" in scores else {}
    measured = compare_models({name: scores[name] for name in scores if name != "gold"})
    return OutsideView(shown, gold, measured, failures, _rows(prompts, answers, scores))


def _rows(
    prompts: Sequence[str], answers: StageAnswers, scores: Mapping[str, Mapping[str, Sequence[float]]]
) -> pa.Table:
    tables = [
        pa.table(
            {
                "answered_by": [stage] * len(prompts),
                "prompt": list(prompts),
                "response": [response.text for response in responses],
                "finished": [response.finished for response in responses],
                **{f"outside_{name}": pa.array(by_stage[stage], pa.float64()) for name, by_stage in scores.items()},
            }
        )
        for stage, responses in answers.items()
    ]
    return pa.concat_tables(tables)


def _gold(prompts: Sequence[str], responses: Sequence[Response]) -> list[float]:
    return [gold_reward(prompt, *response) for prompt, response in zip(prompts, responses, strict=True)]


def _asking(config: OutsideMeasureConfig) -> Measure:
    def measure(prompts: Sequence[str], responses: Sequence[Response]) -> list[float]:
        texts = [response.text for response in responses]
        scores: list[float] = ask(config.function, load_function(config.function), prompts, texts).tolist()
        return scores

    return measure
