"""Names of stages, registered models, aliases and tags: the vocabulary of the registry, each word once.

What MLflow stores is called by these names, so their values stay as they are.
"""

from collections.abc import Iterable
from typing import get_args

from flows.config.compute import TrainedStage

STAGES: tuple[TrainedStage, ...] = get_args(TrainedStage)
"""In the order of the ladder; the main model of each is registered as `<project>-<stage>`."""

MODELS = (*STAGES, "value")
"""What a project registers; the value model comes with the policy."""

GATED: tuple[str, ...] = ("sft", "reward-model", "policy")
"""Stages with gates of their own, whose versions get the alias of a challenger."""

ANSWERING: tuple[str, ...] = ("base", "sft", "policy")
"""Stages whose models answer prompts."""

PROMOTABLE = (*GATED, "value")
"""Models that become champion."""

CHALLENGER, CHAMPION = "challenger", "champion"
"""Aliases: of the versions that passed all gates, and of those that a person chose."""

GATE_PREFIX = "gate."
"""Of a version: status by gate."""

LEFT_OUT = "left out"
"""Of a gate that judged a version once, and that the configuration by which it was judged again does not have."""

STATUS_TAG, PASSED, FAILED = "gate.status", "passed", "failed"
"""Of a version: what all of its gates say together."""

HELD_TAG = "promotion.held"
"""Of a champion: why nobody is told of it."""

APPROVED_TAG = "promotion.approved"
"""Of a version: who signed for it, the last who did by `rlhf approve`; what counts is the log of statements."""

REASON_TAG = "promotion.reason"
"""Of a version: why somebody made it champion in MLflow's page, where a reason is wanted."""

STAGE_TAG, KEY_TAG, CODE_TAG, OUTCOME_TAG = "rlhf.stage", "rlhf.key", "rlhf.code", "rlhf.outcome"
"""Of a run: which stage or flow it is, its content key, the version of the code, how it ended."""

EVALUATION = "evaluate"
"""What a run that only measures says that it is, in `STAGE_TAG`; those below it add the stage."""

LADDER_KEY_TAG, ALIASED_TAG = "rlhf.climb", "rlhf.alias"
"""Of a ladder's run: its identity, and the versions to which it gave the alias."""

REPEATED_TAG = "rlhf.repeats"
"""Of a ladder's run that had nothing to do: the run that it would only repeat."""

STAGE_PREFIX, INPUT_PREFIX = "stage.", "input."
"""Of a ladder's run: versions by the stage that made them, and by the role in which they went in."""

PROCESS_TAG, FLOW_RUN_TAG, PARENT_RUN_TAG = "rlhf.process", "prefect.flow_run", "mlflow.parentRunId"
"""Of a run: the process and the flow run that it is of, and the run around it."""

ENDS_TAG = "rlhf.ends"
"""Of a run of which a statement is made: the status that it gets next, and when, in milliseconds since the epoch."""

RESUMED_TAG = "rlhf.resumed"
"""Of a run that was cut off and went on: when, and after which event, such as `2026-11-29T17:54:57+00:00 after 12`."""

COMMIT_TAG, DIRTY_TAG = "mlflow.source.git.commit", "mlflow.source.git.dirty"
"""Of a run; MLflow's page shows the commit."""

PACKAGES_TAG, HARDWARE_TAG, SECONDS_TAG, COST_TAG = "rlhf.packages", "rlhf.hardware", "rlhf.seconds", "rlhf.cost"
"""Of a run: what it ran on, and what it took."""

DIGEST_TAG = "rlhf.digest"
"""Of a version: digest of its files."""

PARENT_PREFIX, DATASET_PREFIX, SOURCE_PREFIX = "parent.", "dataset.", "source."
"""Of a version: what it was made from, by role, use and name."""

ORIGIN_PREFIX, ANNOTATOR_PREFIX = "origin.", "annotator."
"""Of a version or a snapshot: who made and who labelled the rows of a dataset."""

SAMPLED_FROM, LABELLED_BY = "sampled-from", "labelled-by"
"""Versions that made the rows of a dataset, by role: the policy whose answers they are, and the model that compared
them."""

EVIDENCE = "evidence"
"""Of a run: the folder of held-out rows that its figures rest on, and what MLflow calls the use of these."""

EVIDENCE_PREFIX = f"{EVIDENCE}."
"""Of a version: SHA-256 of each file in that folder, by its name."""

BESIDE_CHAMPION = "-beside-champion-"
"""Between the registered name and the table, in the names of evidence of a ladder's run."""

EVIDENCE_PRUNED_TAG = "evidence.pruned"
"""Of a run: when its rows were removed, in UTC."""

HASHED = {"texts": "hashed"}
"""Of a file of rows, among the metadata of its schema: digests stand in it instead of texts."""

PROMPT_NUMBER = "prompt_number"
"""Column of such a file: place of the prompt in the order of all texts of prompts, in which intervals resample them."""

STATEMENT = "statement.json"
"""Of a run that made a version: a copy of its statement, for people; what counts is the log."""

CONFIGURATION = "config.json"
"""Of a ladder's run: its whole configuration, thresholds of gates among it."""

RATERS_RECORD = "data/raters.json"
"""Of a ladder's run: what is known of each who labelled its preferences under a name."""

TEMPLATE_DAY_TAG = "chat_template.pinned_to"
"""Of a version: the day that its chat template is told, where that reads the clock."""

CARD_TAG, LICENCE_TAG = "model_card.name", "model_card.licence"
"""Of a version that was taken with its model card: what that says."""

IMPORTED_TAG, TRAINED_BY_TAG = "imported.from", "imported.trained_by"
"""Of a policy that was trained elsewhere: where it was taken from, and what trained it."""

WITHDRAWN_PREFIX = "withdrawn."
"""Of a version: what of its data was withdrawn, when and why, by the id of the withdrawal."""

WITHDRAWN_REASON = "withdrawn: "
"""Begins why a row is left out whose data were withdrawn; what was withdrawn follows."""

DATA_TAG = "rlhf.data"
"""Of a run that read data: digest of all of its tables."""

CONTRIBUTORS_PREFIX = "contributors."
"""Of the run that keeps a snapshot: who gave its rows, as JSON in parts, by ingestion and number of the part."""

NAME_TAG, SNAPSHOT_TAG, CONTRACT_TAG = "dataset.name", "dataset.digest", "dataset.contract"
"""Of the run that keeps a snapshot."""


def registered_name(project: str, model: str) -> str:
    """Registered name of a model of a project."""
    return f"{project}-{model}"


def project_of_model(name: str, models: Iterable[str] = MODELS) -> str | None:
    """The project whose model is registered by a name; None if it is none of these models."""
    suffix = next((f"-{model}" for model in models if name.endswith(f"-{model}")), None)
    return None if suffix is None else name.removesuffix(suffix)


def data_experiment(project: str) -> str:
    """Name of the experiment that keeps the snapshots of a project."""
    return f"{project}-data"


def ledger_experiment(project: str) -> str:
    """Where the record of champions of a project is kept."""
    return f"{project}-promotions"


def withdrawals_experiment(project: str) -> str:
    """Name of the experiment that keeps what was withdrawn of the data of a project."""
    return f"{project}-withdrawals"


def verdicts_record(judged: str) -> str:
    """Where a ladder's run keeps what gates said of the data or of a stage."""
    return f"gates/{judged}.json"


def champion_record(name: str) -> str:
    """Where a ladder's run keeps the comparison of its version of a registered name with the champion of that name."""
    return f"champion/{name}.json"


def champion_evidence(name: str, table: str) -> str:
    """What a ladder's run calls a table of rows that such a comparison rests on, among its evidence."""
    return f"{name}{BESIDE_CHAMPION}{table}"


def compared_name(evidence: str) -> str:
    """The registered name whose comparison a table of evidence is of; empty for other evidence."""
    name, beside, _ = evidence.partition(BESIDE_CHAMPION)
    return name if beside else ""


def outside_evidence(table: str) -> str:
    """What a ladder's run calls the answers of all stages that are measured from outside, among its evidence."""
    return f"outside-{table}"
