"""Configuration files: keys written twice, folders that cannot be, time zones that are none."""

import json
import os
import re
from pathlib import Path

import pytest

from flows.config.errors import InputError
from flows.config.folders import check_folder, check_parts, make_folder
from flows.config.loading import load_config
from flows.config.plain_yaml import lines_of, load_yaml

MERGED = """
plain: &plain {epochs: 1, batch_size: 2}
deep: {deeper: {own: &own {<<: *plain, epochs: 7}}}
again: {<<: *own, batch_size: 3}
both: {<<: [*plain, *own]}
"""


def test_merge_keys_bring_in_what_a_mapping_does_not_say_itself() -> None:
    read = load_yaml(MERGED)
    assert read["deep"]["deeper"]["own"] == {"epochs": 7, "batch_size": 2}
    assert read["again"] == {"epochs": 7, "batch_size": 3}
    assert read["both"] == {"epochs": 1, "batch_size": 2}  # the first of several wins, as YAML's merge says


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("sft: {epochs: 7}\nseed: 1\nsft: {batch_size: 8}", "sft", "1 and 3"),
        ("sft:\n  epochs: 7\n  batch_size: 8\n  epochs: 7", "epochs", "2 and 4"),
        ("sft:\n  sampling: {top_k: 1, 'top_k': 2}", "top_k", "2 and 2"),
        ("gates:\n  sft:\n    - name: a\n      name: b", "name", "3 and 4"),
        ("sft: {<<: {epochs: 1}, <<: {epochs: 2}}", "<<", "1 and 1"),
    ],
)
def test_a_key_that_stands_twice_is_named_with_both_lines(tmp_path: Path, text: str, key: str, lines: str) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        load_config(path)
    assert str(refused.value) == f"{path}: key '{key}' stands twice, in lines {lines}; keep one"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("{1: tie, 2: second, 3: first, yes: first}", "'1' and 'yes', in lines 1 and 1"),
        ("A: first\nB: second\n0: tie\nno: skip", "'0' and 'no', in lines 3 and 4"),
        *((f"{{1: a, {key}: b}}", f"'1' and '{key}', in lines 1 and 1") for key in ("1.0", "01", "on", "0x1")),
        ("{~: a, null: b}", "'~' and 'null', in lines 1 and 1"),
        ("a: &a {1: tie}\nb: {<<: *a, yes: first}", "'1' and 'yes', in lines 1 and 2"),
    ],
)
def test_two_keys_that_are_one_value_are_named_with_both_lines(text: str, keys: str) -> None:
    for read in (load_yaml, lines_of):
        with pytest.raises(
            InputError, match=f"^keys {keys}, are one value without quotation marks; put what is a text"
        ):
            read(text)


def test_keys_that_only_look_alike_are_two() -> None:
    assert load_yaml("{1: a, '1': b, 'yes': c, '1.0': d}") == {1: "a", "1": "b", "yes": "c", "1.0": "d"}
    assert load_yaml("a: &a {1: b}\nc: {<<: *a, 01: d}")["c"] == {1: "d"}


def test_a_key_that_stands_twice_in_an_override_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "once.yaml"
    path.write_text("project: once")
    with pytest.raises(InputError, match=r"^--set sft=.*: key 'epochs' stands twice"):
        load_config(path, overrides=["sft={epochs: 1, epochs: 2}"])


@pytest.mark.parametrize(
    ("text", "line"),
    [("project: a\n\tseed: 1", 2), ("project: a\n---\nseed: 1", 2), ("seed: !!python/name:os.system", 1), ("a: [", 1)],
)
def test_what_is_no_yaml_is_named_by_its_line_in_one(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        load_config(path)
    assert str(refused.value).startswith(f"{path}: is not valid YAML at line {line}: ")
    assert re.search(r"; (mend it there|put it in quotation marks, or leave it out)$", str(refused.value))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("policy.beta=.inf", "policy.beta"),
        ("sft.optimiser.lr=1e999", "sft.optimiser.lr"),
        ("data={kind: embedded, annotators: {length_bias: .nan}}", "data.annotators.length_bias"),
        (
            "gates.policy=[{name: a, metric: eos_rate, direction: above, threshold: .nan, failure: c, reason: d}]",
            "gates.policy.0",
        ),
    ],
)
def test_a_setting_that_is_no_number_is_named(tmp_path: Path, override: str, field: str) -> None:
    path = tmp_path / "endless.yaml"
    path.write_text("project: endless")
    with pytest.raises(InputError, match=rf"field '{field}[.a-z]*' is not a finite number"):
        load_config(path, overrides=[override])


@pytest.mark.parametrize(
    "folder",
    [
        *("what?", "two\nlines", "~nobody-has-this-name/rlhf", "nul\0", "x" * 300, "/".join(["x" * 200] * 20)),
        *("s3://bucket/x", "file:/a/b", "sqlite:///x.db", f"{__file__}", f"{__file__}/deeper"),
    ],
)
def test_a_storage_that_no_database_can_have_is_refused(tmp_path: Path, folder: str) -> None:
    path = tmp_path / "storage.yaml"
    path.write_text("project: storage")
    with pytest.raises(InputError, match=r"field 'storage': .*; name a"):
        load_config(path, overrides=[f"storage={json.dumps(folder)}"])


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("here.yaml", "here.yaml is no folder; name another"),
        ("here.yaml/deeper", "here.yaml is no folder; name another"),
        ("x" * 300, "is no folder .File name too long.; name another"),
        ("/".join(["x" * 200] * 25), "is no folder .File name too long.; name another"),
        ("s3://bucket/x", "s3:/bucket/x is no folder, but an address; name a folder of this machine"),
        ("gs://bucket/x", "gs:/bucket/x is no folder, but an address"),
        ("sqlite:///x.db", "sqlite:/x.db is no folder, but an address"),
    ],
)
def test_a_storage_that_is_no_folder_is_refused(
    folder: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "here.yaml"
    path.write_text("project: storage")
    with pytest.raises(InputError, match=rf"here\.yaml: field 'storage': .*{words}") as refused:
        load_config(path, overrides=[f"storage={folder}"])
    assert len(str(refused.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("folder", ["a#b", "50%", "100%3F", "a b", "a;b", "it's", "日本", "a:b", "slash/"])
def test_a_storage_of_any_other_name_is_taken_as_it_is(tmp_path: Path, folder: str) -> None:
    path = tmp_path / "storage.yaml"
    path.write_text(f'project: storage\nstorage: "{tmp_path}/{folder}"', encoding="utf-8")
    assert load_config(path).storage == tmp_path.resolve() / folder


def test_a_time_zone_that_is_none_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "zone.yaml"
    path.write_text("project: zone\ndeploy: {timezone: Europe/Berlinn}")
    with pytest.raises(InputError, match=r"field 'deploy\.timezone': .*did you mean Europe/Berlin\?"):
        load_config(path)


def test_two_gates_of_one_name_are_refused(tmp_path: Path) -> None:
    gate = {"name": "a", "metric": "eos_rate", "direction": "above", "threshold": 0, "failure": "f", "reason": "r"}
    path = tmp_path / "gates.yaml"
    path.write_text(f"project: gates\ngates: {{sft: {json.dumps([gate, gate])}}}")
    with pytest.raises(InputError, match=r"field 'gates\.sft': two gates are called a, whose verdicts"):
        load_config(path)


def test_what_is_in_the_way_of_a_folder_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "deep" / "er"):
        with pytest.raises(InputError, match="file is no folder; name another"):
            check_folder(wrong)
    check_folder(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    make_folder(tmp_path / "new" / "deep")
    assert (tmp_path / "new" / "deep").is_dir()


def test_what_another_user_made_in_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = tmp_path / "storage"
    (storage / "work" / "deep").mkdir(parents=True)
    for name in ("mlflow.db", "work/a.lock"):
        (storage / name).write_text("")
    asked: list[tuple[Path, int]] = []

    def access(path: Path, mode: int, *, effective_ids: bool) -> bool:
        asked.append((path.relative_to(storage), mode))
        return path != storage / "work"

    monkeypatch.setattr("os.access", access)
    monkeypatch.setattr("os.supports_effective_ids", {access})
    check_parts(storage, "*.db", "work/*")
    with pytest.raises(InputError, match=r"work may not be written to; give this user the right"):
        check_parts(storage, "*", "work/*")
    writing, entering = os.W_OK, os.W_OK | os.X_OK
    seen = [(Path("mlflow.db"), writing), (Path("work/a.lock"), writing), (Path("work/deep"), entering)]
    assert asked == [*seen, (Path("mlflow.db"), writing), (Path("work"), entering)]
