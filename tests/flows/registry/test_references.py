"""What stages hand to each other."""

from flows.registry.references import ModelRef, StageRecord


def version(name: str) -> ModelRef:
    return ModelRef(name=name, version="1", model_id="m-1", uri=f"models:/{name}/1", digest="d", run_id="r")


def record(stage: str, *names: str) -> StageRecord:
    models = {name: version(name) for name in names}
    return StageRecord(stage=stage, key="k", ladder_run="l", run_id="r", models=models, estimates={})


def test_the_main_model_of_a_stage_has_its_name_wherever_it_stands() -> None:
    assert record("policy", "tiny-policy", "tiny-value").model.name == "tiny-policy"
    assert record("policy", "tiny-value", "tiny-policy").model.name == "tiny-policy"
    assert record("reward-model", "tiny-reward-model").model.name == "tiny-reward-model"


def test_a_version_that_somebody_renamed_is_the_main_one_of_its_stage() -> None:
    assert record("sft", "production").model.name == "production"
