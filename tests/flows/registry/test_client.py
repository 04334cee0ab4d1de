"""The registry on a real MLflow with SQLite; a folder with two small files stands for a model."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from flows.config.errors import InputError
from flows.registry.client import Registry, open_registry
from flows.registry.references import DatasetRef, ModelRef
from flows.storage.digests import folder_digest
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.training.stage import Event


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")  # one for the module: making the tables takes seconds


@pytest.fixture
def registry(shelf: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    assert storage != shelf  # the test's own storage is set first, and replaced here
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shelf / 'mlflow.db'}")
    return open_registry("toy", shelf)


@pytest.fixture
def run_id(registry: Registry) -> str:
    return registry.start_run("stage")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "weights").write_bytes(b"\x00\x01")
    return folder


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"toy-{request.node.name}".replace("_", "-")[:100]


def register(
    registry: Registry, files: Path, name: str, run_id: str, parents: dict[str, ModelRef] | None = None
) -> ModelRef:
    return registry.register(
        files, name, run_id=run_id, parents=parents or {}, tags={"colour": "blue"}, description="A toy."
    )


def versions(registry: Registry, name: str) -> list[str]:
    return sorted(str(found.version) for found in registry.client.search_model_versions(f"name='{name}'"))


def test_registering_twice_in_one_run_gives_one_version(
    registry: Registry, files: Path, name: str, run_id: str
) -> None:
    first = register(registry, files, name, run_id)
    assert register(registry, files, name, run_id) == first
    assert versions(registry, name) == ["1"]
    outputs = registry.client.get_run(run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [first.model_id]


def test_another_run_or_other_content_gives_another_version(
    registry: Registry, files: Path, name: str, run_id: str
) -> None:
    first = register(registry, files, name, run_id)
    second = register(registry, files, name, registry.start_run("again"))
    (files / "config.json").write_text("{ }")
    third = register(registry, files, name, run_id)
    assert [first.version, second.version, third.version] == versions(registry, name) == ["1", "2", "3"]
    assert first.digest == second.digest != third.digest


def test_what_is_registered_is_what_was_in_the_folder(registry: Registry, files: Path, name: str, run_id: str) -> None:
    ref = register(registry, files, name, run_id)
    kept = registry.folder(ref)
    assert kept != files and folder_digest(kept) == folder_digest(files) == ref.digest
    assert (kept / "deep" / "weights").read_bytes() == b"\x00\x01"
    version = registry.client.get_model_version(name, ref.version)
    assert version.description == "A toy." and version.tags["colour"] == "blue"
    assert registry.reference(name, ref.version) == ref
    assert ref.run_id == run_id and ref.label == f"{name}/1" and ref.uri == f"models:/{name}/1"


def test_parents_become_inputs_of_the_run(registry: Registry, files: Path, name: str, run_id: str) -> None:
    parent = register(registry, files, name, run_id)
    child_run = registry.start_run("child")
    register(registry, files, f"{name}-child", child_run, {"base": parent})
    found = registry.client.get_run(child_run)
    assert [given.model_id for given in found.inputs.model_inputs] == [parent.model_id]


@pytest.mark.parametrize("change", ["content", "added", "removed", "renamed"])
def test_changed_files_are_refused(registry: Registry, files: Path, name: str, run_id: str, change: str) -> None:
    name = name.replace("[", "-").replace("]", "")
    ref = register(registry, files, name, run_id)
    kept = registry.folder(ref)
    if change == "content":
        (kept / "config.json").write_text("[]")
    elif change == "added":
        (kept / "extra").write_text("")
    elif change == "removed":
        (kept / "deep" / "weights").unlink()
    else:
        (kept / "config.json").rename(kept / "configuration.json")
    named = {"content": "altered: config.json", "added": "added: extra", "removed": "missing: deep/weights"}
    what = named.get(change, "missing: config.json; added: configuration.json")
    for ask in (registry.folder, registry.verify):
        with pytest.raises(InputError, match=rf"{name}/1: files in .* do not match the registered digest \({what}\)"):
            ask(ref)
    assert not registry.intact(ref)


def test_a_deleted_version_is_not_intact(registry: Registry, files: Path, name: str, run_id: str) -> None:
    ref = register(registry, files, name, run_id)
    assert registry.intact(ref)
    registry.client.delete_model_version(name, ref.version)
    assert not registry.intact(ref)


def test_a_version_whose_files_are_gone_is_not_intact(registry: Registry, files: Path, name: str, run_id: str) -> None:
    ref = register(registry, files, name, run_id)
    kept = registry.folder(ref)
    kept.rename(kept.with_name("elsewhere"))
    assert not registry.intact(ref)
    with pytest.raises(InputError, match=f"{name}/1: its files are not at {kept}: the storage was moved, or they were"):
        registry.folder(ref)


def test_a_version_whose_model_was_deleted_in_mlflow_is_told(
    registry: Registry, files: Path, name: str, run_id: str
) -> None:
    ref = register(registry, files, name, run_id)
    registry.client.delete_logged_model(ref.model_id)
    with pytest.raises(InputError, match=f"model {ref.model_id} was deleted in MLflow"):
        registry.folder(ref)


def test_a_deleted_experiment_is_named_with_what_restores_it(registry: Registry) -> None:
    gone = open_registry("gone", registry.storage)
    registry.client.delete_experiment(gone.experiment_id)
    with pytest.raises(
        InputError, match=f"'gone' was deleted.* restore --experiment-id {gone.experiment_id}`, or give"
    ):
        open_registry("gone", registry.storage)
    registry.client.restore_experiment(gone.experiment_id)
    assert open_registry("gone", registry.storage).experiment_id == gone.experiment_id


def test_unknown_versions_are_named(registry: Registry, files: Path, name: str, run_id: str) -> None:
    register(registry, files, name, run_id)
    with pytest.raises(InputError, match=f"{name}/7 is not in the registry"):
        registry.reference(name, "7")
    with pytest.raises(InputError, match="nobody/1 is not in the registry"):
        registry.reference("nobody", "1")


def test_a_version_that_no_ladder_registered_is_refused(registry: Registry, files: Path, name: str) -> None:
    registry.client.create_registered_model(name)
    registry.client.create_model_version(name, files.as_uri())
    with pytest.raises(InputError, match="has no digest tag: it was not registered by a ladder"):
        registry.reference(name, "1")


def test_a_model_is_found_by_version_by_alias_and_by_folder(
    registry: Registry, files: Path, name: str, run_id: str
) -> None:
    first = register(registry, files, name, run_id)
    second = register(registry, files, name, registry.start_run("again"))
    registry.set_alias(first, "champion")
    assert registry.resolve(f"{name}/1") == registry.resolve(f"{name}@champion") == registry.folder(first)
    assert registry.resolve(f"{name}/2") == registry.folder(second) != registry.folder(first)
    registry.set_alias(second, "champion")
    assert registry.resolve(f"{name}@champion") == registry.folder(second)
    assert registry.resolve(str(files)) == files


@pytest.mark.parametrize("garbage", ["model", "model/", "model/one", "/1", "model/-1", "models:/model/1.0"])
def test_garbage_is_told_how_to_name_a_model(registry: Registry, garbage: str) -> None:
    with pytest.raises(InputError):
        registry.resolve(garbage)


def test_an_unknown_alias_is_named(registry: Registry, files: Path, name: str, run_id: str) -> None:
    register(registry, files, name, run_id)
    with pytest.raises(InputError, match=f"{name} has no alias 'best'"):
        registry.resolve(f"{name}@best")
    with pytest.raises(InputError, match="nobody has no alias 'best'"):
        registry.resolve("nobody@best")


def test_params_are_dotted_and_may_be_many_and_long(registry: Registry, run_id: str) -> None:
    many = {f"p{index}": index for index in range(250)}
    registry.log_params(run_id, {"stage": {"lr": 0.1, "deep": {"betas": (0.9, 0.95)}, "none": None}, "many": many})
    registry.log_params(run_id, {"long": "x" * 7000})
    params = registry.client.get_run(run_id).data.params
    assert (
        params["stage.lr"] == "0.1" and params["stage.deep.betas"] == "(0.9, 0.95)" and params["stage.none"] == "None"
    )
    assert {params[f"many.p{index}"] for index in range(250)} == {str(index) for index in range(250)}
    assert params["long"] == "x" * 6000


def test_more_metrics_than_one_call_takes_are_all_logged_by_step(registry: Registry, run_id: str) -> None:
    registry.log_events(run_id, [Event(step, {"loss": step / 2, "lr": 1.0}) for step in range(1300)])
    history = registry.client.get_metric_history(run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(step, step / 2) for step in range(1300)]
    registry.log_events(run_id, [])


def test_estimates_are_metrics_with_their_bounds(registry: Registry, run_id: str) -> None:
    registry.log_estimates(run_id, {"agreement": Estimate(0.7, 0.6, 0.8, 100)})
    metrics = registry.client.get_run(run_id).data.metrics
    assert metrics == {"final/agreement": 0.7, "final/agreement/lower": 0.6, "final/agreement/upper": 0.8}


@pytest.mark.parametrize("figure", [(np.nan, 0.6, 0.8), (0.7, np.nan, 0.8), (0.7, 0.6, np.nan)])
def test_a_figure_that_is_no_number_is_refused_and_nothing_logged(
    registry: Registry, run_id: str, figure: tuple[float, float, float]
) -> None:
    with pytest.raises(ValueError, match=r"no numbers \(NaN\): ece;"):
        registry.log_estimates(run_id, {"agreement": Estimate(0.7, 0.6, 0.8, 9), "ece": Estimate(*figure, 9)})
    assert registry.client.get_run(run_id).data.metrics == {} and registry.estimates(run_id) == {}


def test_datasets_are_inputs_with_their_use_source_and_report(registry: Registry, run_id: str, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "quarantine.csv").write_text("source,row\n")
    ref = DatasetRef(
        name="prompts",
        digest="d" * 64,
        path="/data/prompts.parquet",
        rows=3,
        splits={"train": 3},
        sources=("a.jsonl",),
        contract="7",
        report=str(tmp_path / "report"),
    )
    registry.log_datasets(run_id, {"training": ref})
    assert [item.path for item in registry.client.list_artifacts(run_id, "data/prompts")] == [
        "data/prompts/quarantine.csv"
    ]
    (found,) = registry.client.get_run(run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("prompts", "d" * 36)
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]
    assert json.loads(found.dataset.source)["made_from"] == ["a.jsonl"]
    profile = json.loads(found.dataset.profile)
    assert (profile["contract_version"], profile["digest"], profile["num_rows_train"]) == ("7", "d" * 64, 3)


def test_the_data_of_champions_are_known_by_their_tags(registry: Registry, run_id: str, tmp_path: Path) -> None:
    assert registry.champion_data("toy") == {}
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    tags = {"dataset.training": "preferences:abc"}
    ref = registry.register(folder, "toy-reward-model", run_id=run_id, parents={}, tags=tags, description="")
    assert registry.champion_data("toy") == {}
    registry.set_alias(ref, "champion")
    assert registry.champion_data("toy") == {"preferences": "abc"}


def test_running_runs_and_their_children_are_found_until_they_end(registry: Registry) -> None:
    parent = registry.start_run("parent", tags={"mark": "here"})
    child = registry.start_run("child", parent=parent)
    assert [run.info.run_id for run in registry.running("mark")] == [parent]
    assert registry.children(parent) == [child]
    registry.end_run(child, "KILLED")
    registry.end_run(parent, "FAILED")
    assert registry.running("mark") == [] and registry.children(parent) == []


def test_a_registry_is_opened_again_on_the_same_experiment(registry: Registry) -> None:
    assert open_registry("toy", registry.storage).experiment_id == registry.experiment_id
    assert [found.name for found in registry.client.search_experiments()].count("toy") == 1


def test_two_who_tag_a_version_at_once_both_succeed(registry: Registry, files: Path, name: str, run_id: str) -> None:
    ref = register(registry, files, name, run_id)
    tags = {f"gate.{number}": "pass" for number in range(20)}
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(registry.tag_versions, [ref], tags) for _ in range(4)]:
            done.result()
    assert tags.items() <= registry.client.get_model_version(name, ref.version).tags.items()


def test_two_who_give_the_same_alias_at_once_both_succeed(
    registry: Registry, files: Path, name: str, run_id: str
) -> None:
    ref = register(registry, files, name, run_id)
    for number in range(10):
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(registry.set_alias, ref, f"alias-{number}") for _ in range(4)]:
                done.result()
    assert len(registry.client.get_registered_model(name).aliases) == 10


def test_two_who_name_the_same_data_at_once_both_succeed(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    runs = [registry.start_run(f"climb {number}") for number in range(4)]
    for number in range(5):
        data = DatasetRef(
            name="prompts",
            digest=str(number) * 64,
            path="/data/prompts.parquet",
            rows=3,
            splits={"train": 3},
            sources=("a.jsonl",),
            report=str(tmp_path / "report"),
        )
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(registry.log_datasets, run, {"training": data}) for run in runs]:
                done.result()
    assert all(len(registry.client.get_run(run).inputs.dataset_inputs) == 5 for run in runs)
