"""Annotators of fresh answers: simulated ones, a reward model, people."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from data_contracts.formats.convert import SourceRow, convert_rows
from flows.config.data import EmbeddedData
from flows.config.ladder import LadderConfig
from flows.config.pretrained import TAKEN
from flows.config.relabel import ByAnnotators, ByJudge, ByPeople, Relabel
from flows.data.columnar import BATCH_ROWS
from flows.data.relabel.label_tasks import SEEDS_APART, Asked, labelled_file, read_labels
from flows.data.sources import Read, Spare, as_it_is
from flows.registry.context import RunContext
from flows.registry.external_models import day_of, digests_taken, files_of, name_of, registered
from flows.registry.references import ModelRef, RoundModels
from rlhf_core.annotation import ask_reward_model
from rlhf_core.data.records import VoteCounts, decide
from rlhf_core.embedded_world.annotators import annotate


@dataclass(frozen=True)
class Annotator:
    """Who labels choices.

    Attributes:
        name: in words.
        digest: of what it is made of that no configuration says.
        version: where it is a registered reward model.
        label: reads or makes the labels.
    """

    name: str
    digest: str
    version: ModelRef | None
    label: Callable[[Sequence[Asked]], Iterator[Read]]


def annotator_of(
    config: LadderConfig,
    settings: Relabel,
    path: Path,
    newest: RoundModels,
    context: RunContext,
    spare: Spare = as_it_is,
) -> Annotator | None:
    """Who labels; None while people have not. Withdrawn votes are taken out by `spare`."""
    seed = context.seed + SEEDS_APART * newest.round
    source = newest.policy.label
    match settings:
        case ByAnnotators():
            return _simulated(config, settings, source, seed)
        case ByJudge():
            return _judge(config, settings, source, seed, context)
        case ByPeople():
            labels = labelled_file(path)
            if labels is None:
                return None
            return Annotator(
                f"people, {labels.name}", file_digest(labels), None, lambda choices: read_labels(labels, choices, spare)
            )


def _simulated(config: LadderConfig, settings: ByAnnotators, source: str, seed: int) -> Annotator:
    if not isinstance(config.data, EmbeddedData):
        raise TypeError("simulated annotators know only the embedded world")
    annotators = config.data.annotators
    biases = {name: getattr(annotators, name) for name in ("length_bias", "flattery_bias", "careless_share")}
    strengths = ", ".join(f"{name} {value:g}" for name, value in biases.items() if value)

    def votes(choices: Sequence[Asked]) -> Iterator[Read]:
        counts = annotate(annotators, [item.choice for item in choices], votes=settings.votes, seed=seed)
        return _as_reads(choices, counts, source)

    name = f"{settings.votes} simulated annotators{f' ({strengths})' if strengths else ''}"
    return Annotator(name, "", None, votes)


def _judge(config: LadderConfig, settings: ByJudge, source: str, seed: int, context: RunContext) -> Annotator:
    registry = context.registry()
    version = registered(settings.model, registry)

    def votes(choices: Sequence[Asked]) -> Iterator[Read]:
        counts = ask_reward_model(
            files_of(settings.model, registry),
            [item.choice for item in choices],
            config.reward_model,
            votes=settings.votes,
            drawn=settings.labels == "drawn",
            seed=seed,
            day=day_of(settings.model),
        )
        return _as_reads(choices, counts, source)

    name = f"{name_of(settings.model)}, {settings.labels} labels"
    digest = version.digest if version else digests_taken(settings.model).get(TAKEN, "")
    return Annotator(name, digest, version, votes)


def _as_reads(choices: Sequence[Asked], votes: Sequence[VoteCounts], source: str) -> Iterator[Read]:
    """Labels as batches of records; their source is the policy that gave the answers."""
    rows = iter(
        SourceRow(source, number, _record(item, cast))
        for number, (item, cast) in enumerate(zip(choices, votes, strict=True), start=1)
    )
    while chunk := list(islice(rows, BATCH_ROWS)):
        yield Read(convert_rows("preferences", lambda record: [record], chunk), is_label=False)


def _record(item: Asked, votes: VoteCounts) -> dict[str, Any]:
    pair = decide(item.choice, votes)
    texts = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected, "group": item.group}
    return {**texts, "votes_chosen": max(votes), "votes_rejected": min(votes)}


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
