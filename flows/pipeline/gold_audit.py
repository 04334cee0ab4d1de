"""Held-out prompts answered by the base, the SFT model and the policy, with their gold scores."""

from collections.abc import Mapping
from typing import NamedTuple

from flows.config.data import EmbeddedData
from flows.config.ladder import LadderConfig
from flows.registry.context import RunContext
from flows.registry.names import ANSWERING
from flows.registry.references import DataRefs, StageRecord
from flows.storage.records import read_prompts
from rlhf_core.embedded_world.audit import audit
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.generation.sampling import generate
from rlhf_core.metrics.estimates import Estimate

SHOWN = 3

AUDITED_PROMPTS = 400


class Answer(NamedTuple):
    """One answer of one stage, with its gold score."""

    stage: str
    text: str
    gold: float


class GoldAudit(NamedTuple):
    """Answers to a few prompts that no stage has seen, and the gold reward over more of them.

    Attributes:
        prompts: the prompts with one answer per stage.
        gold: gold figures over all audited prompts, by name.
    """

    prompts: list[tuple[str, list[Answer]]]
    gold: dict[str, Estimate]


def compare_answers(
    config: LadderConfig, data: DataRefs, records: Mapping[str, StageRecord], context: RunContext
) -> GoldAudit | None:
    """Answer held-out prompts with every stage; only the embedded world knows the truth about them.

    Args:
        config: the climb's configuration.
        data: its snapshots.
        records: finished stages by name.
        context: where the registry is.

    Returns:
        The comparison, or None for data whose gold reward nobody knows.
    """
    if not isinstance(config.data, EmbeddedData):
        return None
    prompts = read_prompts(data.prompts, "test")[:AUDITED_PROMPTS]
    registry = context.registry()
    answers = {
        stage: generate(registry.folder(records[stage].model), prompts, config.policy.sampling, seed=context.seed)
        for stage in ANSWERING
    }
    shown = [
        (
            prompt,
            [Answer(stage, answers[stage][row].text, gold_reward(prompt, *answers[stage][row])) for stage in ANSWERING],
        )
        for row, prompt in enumerate(prompts[:SHOWN])
    ]
    return GoldAudit(shown, audit(prompts, answers))
