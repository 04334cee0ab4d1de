"""Held-out prompts answered by the base, the SFT model and the policy, with their gold scores."""

from collections.abc import Mapping
from typing import NamedTuple

from flows.config import LadderConfig
from flows.data_config import EmbeddedData
from flows.place import Place
from flows.references import DataRefs, StageRecord
from flows.rows import read_prompts
from rlhf_core.evaluation.estimates import Estimate
from rlhf_core.generation import generate
from rlhf_core.worlds.helpdesk.audit import audit
from rlhf_core.worlds.helpdesk.gold import gold_reward

STAGES = ("base", "sft", "policy")
SHOWN = 3
AUDITED_PROMPTS = 400


class Answer(NamedTuple):
    """One answer of one stage, with its gold score."""

    stage: str
    text: str
    gold: float


class Comparison(NamedTuple):
    """Answers to a few prompts that no stage has seen, and the gold reward over more of them.

    Attributes:
        prompts: the prompts with one answer per stage.
        gold: gold figures over all audited prompts, by name.
    """

    prompts: list[tuple[str, list[Answer]]]
    gold: dict[str, Estimate]


def compare_answers(
    config: LadderConfig, data: DataRefs, records: Mapping[str, StageRecord], place: Place
) -> Comparison | None:
    """Answer held-out prompts with every stage; only the embedded world knows the truth about them.

    Args:
        config: the climb's configuration.
        data: its snapshots.
        records: finished stages by name.
        place: where the registry is.

    Returns:
        The comparison, or None for data whose gold reward nobody knows.
    """
    if not isinstance(config.data, EmbeddedData):
        return None
    prompts = read_prompts(data.prompts, "test")[:AUDITED_PROMPTS]
    registry = place.registry()
    answers = {
        stage: generate(registry.folder(records[stage].model), prompts, config.policy.sampling, seed=place.seed)
        for stage in STAGES
    }
    shown = [
        (
            prompt,
            [Answer(stage, answers[stage][row].text, gold_reward(prompt, *answers[stage][row])) for stage in STAGES],
        )
        for row, prompt in enumerate(prompts[:SHOWN])
    ]
    return Comparison(shown, audit(prompts, answers))
