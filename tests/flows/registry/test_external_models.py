"""Models from elsewhere are what they hold, wherever they lie, and what their branch meant when a run started."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from pydantic import TypeAdapter, ValidationError

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import FolderBase, FolderModel, GGUFBase, HubBase, HubModel, ModelSource
from flows.pipeline import preflight
from flows.registry.external_models import content_digest, files_of, name_of, pin, pin_base, pin_models
from flows.registry.hub import cached, download, resolve
from flows.registry.keys import content_key
from flows.registry.names import CARD_TAG, LICENCE_TAG
from flows.registry.tags import card_tags
from flows.stages.taken import taking
from rlhf_core.base.pretrained import adopt
from rlhf_core.training.stage import Stage, StageResult
from tests.rlhf_core.planted import payload

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = "---\nlicense: apache-2.0\n---\n# A small speaker\n"


@pytest.fixture
def folder(speaker: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(speaker, tmp_path / "model"))


@pytest.fixture
def hub_cache(speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the hub after someone/model was fetched at its branch main; no test reaches the hub itself."""
    home = tmp_path / "cache" / "models--someone--model"
    shutil.copytree(speaker, home / "snapshots" / COMMIT)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return home


def key(base: FolderBase | HubBase) -> str:
    return content_key("base", base, {}, 0)


def test_a_folder_is_what_it_holds_and_not_where_it_lies(folder: Path, tmp_path: Path) -> None:
    first = pin("base", FolderBase(path=folder))
    copied = shutil.copytree(folder, tmp_path / "copied")
    (copied / "README.md").write_text(CARD)
    (copied / "optimizer.pt").write_bytes(b"state")
    second = pin("base", FolderBase(path=copied))
    assert first.digest == second.digest
    assert first.path != second.path
    assert key(first) == key(second)
    (copied / "generation_config.json").write_text("{}")
    third = pin("base", FolderBase(path=copied))
    assert key(third) != key(second)
    assert third.model_dump()["path"] == copied  # which a run records


def test_a_digest_that_is_written_down_must_be_that_of_the_folder(folder: Path) -> None:
    digest = content_digest(FolderBase(path=folder))
    assert pin("base", FolderBase(path=folder, digest=digest)).digest == digest
    config = LadderConfig(project="toy", base=FolderBase(path=folder, digest="0" * 64))
    for check in (pin_base, lambda config: preflight.check_reachable(config, offline=True)):
        with pytest.raises(InputError, match=rf"field 'base': .*model has the digest {digest}, not the one that"):
            check(config)


def test_relative_paths_are_those_of_the_working_directory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert FolderBase(path=Path("model")).path == folder


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("models:/toy-judge/3", str),
        ({"path": "model"}, FolderModel),
        ({"model": "someone/model", "revision": "main"}, HubModel),
    ],
)
def test_a_reward_model_may_come_from_all_places(written: Any, kind: type) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ModelSource)
    source = adapter.validate_python(written)
    assert isinstance(source, kind)
    assert adapter.validate_python(adapter.dump_python(source, mode="json")) == source


def test_an_address_of_no_place_is_refused() -> None:
    with pytest.raises(ValidationError, match="names no registered model; write models:/name/version"):
        TypeAdapter(ModelSource).validate_python("model")


def test_the_judge_must_not_be_the_reward_model_under_another_path(scorer: Path, tmp_path: Path) -> None:
    other = shutil.copytree(scorer, tmp_path / "other")
    sections = {"reward_model": {"from": {"path": scorer}}, "judge": {"from": {"path": other}}}
    config = LadderConfig.model_validate({"project": "toy", "base": {"kind": "folder", "path": scorer}, **sections})
    with pytest.raises(InputError, match=r"field 'judge.from': .*other holds the same model as reward_model.from"):
        pin_models(config)
    (other / "vocab.txt").write_text("another")
    assert pin_models(config).judge.source != pin_models(config).reward_model.source


def test_whether_texts_may_write_special_tokens_is_part_of_what_a_base_is(speaker: Path) -> None:
    text, allow = (pin("base", FolderBase(path=speaker, special_tokens=value)) for value in ("text", "allow"))
    assert key(text) == key(pin("base", FolderBase(path=speaker))) != key(allow)


def test_a_branch_means_one_commit_in_a_run_and_says_that_it_may_move(
    hub_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = HubBase(model="someone/model", revision="main")
    pinned = pin("base", base)
    assert pinned.commit == COMMIT
    assert f"revision main may move; it is now {COMMIT}" in capsys.readouterr().out
    assert key(pinned) == key(HubBase(model="someone/model", revision=COMMIT))
    assert name_of(pinned) == "someone/model@01234567"
    moved = hub_cache / "snapshots" / ("f" * 40)
    (hub_cache / "snapshots" / COMMIT).rename(moved)
    (hub_cache / "refs" / "main").write_text(moved.name)
    assert resolve(pinned) == pinned
    assert key(pin("base", base)) != key(pinned)


def test_a_commit_is_taken_as_it_is_and_warns_nobody(hub_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = HubBase(model="someone/model", revision=COMMIT)
    assert pin("base", base) == base
    assert download(base) == hub_cache / "snapshots" / COMMIT
    assert capsys.readouterr().out == ""


def test_without_a_network_only_what_the_cache_has_is_there(hub_cache: Path) -> None:
    assert cached(HubBase(model="someone/model", revision="main")) == hub_cache / "snapshots" / COMMIT
    other = HubBase(model="someone/other", revision="main")
    assert cached(other) is None
    lacking = r"the hub cannot be reached \(HF_HUB_OFFLINE is set\), and its cache here lacks model someone/other@main"
    with pytest.raises(InputError, match=f"field 'base': {lacking}"):
        pin("base", other)
    with pytest.raises(InputError, match=lacking):
        download(other)


def test_pickled_weights_of_the_hub_are_refused_with_the_way_to_convert_them(hub_cache: Path, tmp_path: Path) -> None:
    weights = hub_cache / "snapshots" / COMMIT / "model.safetensors"
    weights.with_name("pytorch_model.bin").write_bytes(payload(tmp_path / "ran"))
    weights.unlink()
    with pytest.raises(InputError, match=r"model someone/model@01234567 has no weights as safetensors .* convert them"):
        download(HubBase(model="someone/model", revision="main", commit=COMMIT))
    assert not (tmp_path / "ran").exists()


def test_a_check_without_a_network_is_content_with_the_cache(hub_cache: Path) -> None:
    config = LadderConfig(project="toy", base=HubBase(model="someone/model", revision="main"))
    assert preflight.check_reachable(config, offline=False) == [
        "base: the hub was not reached, and the cache of this machine has someone/model@main",
        f"base: someone/model's revision main may move; it is now {COMMIT}, which is taken (write that as revision to "
        "keep it)",
    ]


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (shutil.rmtree, "model is not there; name a folder that `save_pretrained` wrote"),
    "adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "model holds an adapter on a base"),
    "weights": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "model.safetensors is cut short or da"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_without_a_model_is_told_by_check_and_run(fault: str, folder: Path) -> None:
    spoil, reason = FAULTS[fault]
    spoil(folder)
    config = LadderConfig(project="toy", base=FolderBase(path=folder))
    for check in (pin_base, lambda config: preflight.check_reachable(config, offline=True)):
        with pytest.raises(InputError, match=rf"^field 'base': \S*{reason}"):
            check(config)


def test_a_reward_model_without_its_head_is_refused_before_any_work(
    speaker: Path, scorer: Path, tmp_path: Path
) -> None:
    headless = shutil.copytree(scorer, tmp_path / "headless")
    shutil.copyfile(speaker / "model.safetensors", headless / "model.safetensors")
    sections = {"base": {"kind": "folder", "path": speaker}, "reward_model": {"from": {"path": headless}}}
    config = LadderConfig.model_validate({"project": "toy", **sections})
    with pytest.raises(InputError, match=r"field 'reward_model.from': \S*headless: .* not there: score.weight"):
        preflight.check_reachable(config, offline=True)


def test_a_gguf_file_is_its_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.gguf").write_bytes(b"GGUF bytes")
    first, second = (pin("base", GGUFBase(path=tmp_path / name, file=f"{name}.gguf")) for name in ("a", "b"))
    assert first.digest == second.digest == "9dd3548d704da1276a9c17bbe738991ebf246cdbd81cea1eedcc5049083518ff"
    with pytest.raises(InputError, match=r"field 'base': \S*/a/c.gguf is not there; beside it are a.gguf"):
        pin("base", GGUFBase(path=tmp_path / "a", file="c.gguf"))


def test_what_changes_while_it_is_read_is_refused(folder: Path, tmp_path: Path) -> None:
    base = pin("base", FolderBase(path=folder))

    def changing() -> Stage:
        result = yield from adopt(files_of(base, None), out=tmp_path / "out")  # type: ignore[arg-type]
        (folder / "generation_config.json").write_text("{}")
        return result

    with pytest.raises(InputError, match=r"field 'base': \S*model changed while the run read it"):
        list(taking(changing(), "base", base))


def test_a_refusal_names_the_model_once(folder: Path) -> None:
    def refusing(reason: str) -> Stage:
        yield from ()
        raise ValueError(reason)

    hub = HubModel(model="someone/model", revision=COMMIT)
    local = FolderModel(path=folder)
    for source, reason in ((hub, f"someone/model@{COMMIT[:8]}: reads"), (local, f"{folder}: reads")):
        for said in (f"{folder}: reads more than text", "reads more than text"):
            with pytest.raises(InputError, match=rf"^field 'judge.from': {reason} more than text$"):
                list(taking(refusing(said), "judge.from", source))


def test_a_card_and_a_licence_go_with_a_model(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text(CARD)
    (folder / "LICENSE").write_text("Apache License")
    list(adopt(folder, out=tmp_path / "out"))
    assert card_tags(tmp_path / "out") == {CARD_TAG: "A small speaker", LICENCE_TAG: "apache-2.0"}
    assert (tmp_path / "out" / "LICENSE").read_text() == "Apache License"
    for text, tags in (("no front matter", {}), ("---\n: : :\n---\n# Odd", {CARD_TAG: "Odd"}), ("---\n[", {})):
        (folder / "README.md").write_text(text)
        assert card_tags(folder).items() <= tags.items()


def test_a_stage_may_be_asked_to_take_a_registered_model(folder: Path) -> None:
    def done() -> Stage:
        yield from ()
        return StageResult(artifacts={"reward_model": folder})

    assert list(taking(done(), "reward_model.from", "models:/toy-judge/1")) == []
