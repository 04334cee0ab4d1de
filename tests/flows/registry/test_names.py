"""One vocabulary: every stage is in every table, and what is stored is called as ever."""

from typing import get_args

import pytest

from flows.config.compute import ComputeConfig
from flows.config.deploy import Deployable
from flows.config.gates import GatesConfig
from flows.config.ladder import LadderConfig
from flows.deploy.deployments import FLOWS
from flows.pipeline import evaluate
from flows.promotion import comparison
from flows.registry import names
from flows.registry.model_card import KEY_FIGURES
from flows.stages.base import make_base
from flows.stages.policy import train_policy
from flows.stages.reward_model import train_judge, train_reward_model
from flows.stages.sft import train_sft

STORED = {
    "APPROVED_TAG": "promotion.approved",
    "RATERS_RECORD": "data/raters.json",
    "REASON_TAG": "promotion.reason",
    "CARD_TAG": "model_card.name",
    "LICENCE_TAG": "model_card.licence",
    "CHALLENGER": "challenger",
    "CHAMPION": "champion",
    "GATE_PREFIX": "gate.",
    "STATUS_TAG": "gate.status",
    "LEFT_OUT": "left out",
    "LABELLED_BY": "labelled-by",
    "SAMPLED_FROM": "sampled-from",
    "PASSED": "passed",
    "FAILED": "failed",
    "HELD_TAG": "promotion.held",
    "TEMPLATE_DAY_TAG": "chat_template.pinned_to",
    "STAGE_TAG": "rlhf.stage",
    "KEY_TAG": "rlhf.key",
    "CODE_TAG": "rlhf.code",
    "OUTCOME_TAG": "rlhf.outcome",
    "LADDER_KEY_TAG": "rlhf.climb",
    "ALIASED_TAG": "rlhf.alias",
    "STAGE_PREFIX": "stage.",
    "INPUT_PREFIX": "input.",
    "PROCESS_TAG": "rlhf.process",
    "FLOW_RUN_TAG": "prefect.flow_run",
    "PARENT_RUN_TAG": "mlflow.parentRunId",
    "IMPORTED_TAG": "imported.from",
    "TRAINED_BY_TAG": "imported.trained_by",
    "REPEATED_TAG": "rlhf.repeats",
    "RESUMED_TAG": "rlhf.resumed",
    "COMMIT_TAG": "mlflow.source.git.commit",
    "DIRTY_TAG": "mlflow.source.git.dirty",
    "PACKAGES_TAG": "rlhf.packages",
    "HARDWARE_TAG": "rlhf.hardware",
    "SECONDS_TAG": "rlhf.seconds",
    "COST_TAG": "rlhf.cost",
    "DIGEST_TAG": "rlhf.digest",
    "PARENT_PREFIX": "parent.",
    "DATASET_PREFIX": "dataset.",
    "SOURCE_PREFIX": "source.",
    "ORIGIN_PREFIX": "origin.",
    "ANNOTATOR_PREFIX": "annotator.",
    "EVIDENCE": "evidence",
    "EVIDENCE_PREFIX": "evidence.",
    "ENDS_TAG": "rlhf.ends",
    "STATEMENT": "statement.json",
    "WITHDRAWN_PREFIX": "withdrawn.",
    "WITHDRAWN_REASON": "withdrawn: ",
    "DATA_TAG": "rlhf.data",
    "CONTRIBUTORS_PREFIX": "contributors.",
    "EVIDENCE_PRUNED_TAG": "evidence.pruned",
    "PROMPT_NUMBER": "prompt_number",
    "BESIDE_CHAMPION": "-beside-champion-",
    "CONFIGURATION": "config.json",
    "EVALUATION": "evaluate",
    "NAME_TAG": "dataset.name",
    "SNAPSHOT_TAG": "dataset.digest",
    "CONTRACT_TAG": "dataset.contract",
}


def as_field(stage: str) -> str:
    return stage.replace("-", "_")


def test_stored_names_stay_as_they_are() -> None:
    assert {name: value for name, value in vars(names).items() if isinstance(value, str) and name.isupper()} == STORED


@pytest.mark.parametrize("stage", names.STAGES)
def test_every_stage_is_in_every_table(stage: str) -> None:
    assert stage in names.MODELS
    assert stage in KEY_FIGURES
    assert as_field(stage) in LadderConfig.model_fields
    assert ComputeConfig.model_validate({"time_outs": {stage: 5.0}}).time_out(stage) == 5.0
    assert stage in {flow.name for flow in (make_base, train_sft, train_reward_model, train_judge, train_policy)}


def test_no_table_has_a_stage_that_there_is_not() -> None:
    assert set(KEY_FIGURES) == set(names.STAGES)
    assert {*names.ANSWERING, *names.GATED} <= set(names.STAGES)
    assert {*names.PROMOTABLE, *comparison.MEASURES} <= set(names.MODELS)


@pytest.mark.parametrize("stage", names.GATED)
def test_every_stage_with_gates_can_be_run_alone_measured_and_promoted(stage: str) -> None:
    assert as_field(stage) in GatesConfig.model_fields
    assert as_field(stage) in get_args(Deployable)
    assert as_field(stage) in FLOWS
    assert stage in evaluate.MEASURES
    assert stage in comparison.MEASURES
    assert stage in names.PROMOTABLE


@pytest.mark.parametrize("model", names.MODELS)
def test_a_registered_name_leads_back_to_its_project(model: str) -> None:
    assert names.project_of_model(names.registered_name("a-policy-b", model)) == "a-policy-b"


def test_models_of_others_belong_to_no_project() -> None:
    assert names.project_of_model("somebody-else") is None
    assert names.project_of_model("tiny-judge", names.PROMOTABLE) is None
    assert names.registered_name("tiny", "reward-model") == "tiny-reward-model"
