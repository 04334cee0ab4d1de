"""What the stages of a run share."""

from pathlib import Path

from flows.registry.context import RunContext


def test_a_run_has_one_connection_to_the_registry_and_another_run_its_own(storage: Path) -> None:
    run = RunContext(project="toy", seed=0, storage=storage, threads=None, run_id="first")
    again = RunContext.model_validate(run.model_dump())
    assert run.registry() is run.registry() is again.registry()
    assert run.model_copy(update={"run_id": "second"}).registry() is not again.registry()
