"""Hundreds of bad configurations through the entries of `rlhf config check` and `rlhf run`: refused in words, or valid.

Each is drawn by its own seed, which a failure names; `BAD_CONFIGS=first:count` draws others, such as one again.
"""

import os
import re
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from pydantic import ValidationError
from typer.main import get_command

from flows.cli import app
from flows.config.errors import InputError
from flows.config.gates import GatesConfig
from flows.config.loading import load_config
from flows.config.misread import misread
from flows.config.plain_yaml import load_yaml
from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.gates.gate import Gate
from tests.flows.config.bad_configs import BadConfig, draw

FIRST, COUNT = (int(number) for number in os.environ.get("BAD_CONFIGS", "0:500").split(":"))

SHIPPED = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))

RLHF = get_command(app)  # once, as that takes longer than most commands here

COMMANDS = (("config", "check", "--offline"), ("run",), ("config", "show"), ("ingest",), ("deploy",))

LONGEST_LINE = 1200

MOST_SECONDS = 5.0

NAMED = re.compile(
    r"field '[^\n]+'|is not valid YAML at line \d+: |key '[^\n]+' stands twice, in lines|must be a mapping of fields"
)
"""What a message says is wrong: a field, or a line."""

MENDED = re.compile(
    r"[;:,] (it takes|did you mean|or|one of|add|change|check|close|drop|give|install|keep|leave|let|lower|make|mend|"
    r"name|put|raise|remove|rename|replace|save|set|take|there are|unset|use|write)\b"
)
"""How a message says what is to be done."""


class Reached(Exception):
    """A configuration that would be climbed."""


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which commands end where they would make or train anything."""

    def reach(*_: object) -> None:
        raise Reached

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.cli.run.start_orchestrator", reach)
    monkeypatch.setattr("flows.cli.deploy.connect", reach)
    monkeypatch.setattr("flows.cli.run._has_tokens", lambda settings: False)
    return tmp_path / "ladder.yaml"


def complaints(path: Path, *command: str) -> list[str]:
    """What is wrong with how a command takes a configuration."""
    started = time.process_time()
    done = CliRunner().invoke(RLHF, [*command, str(path)])
    wrong = [f"took {time.process_time() - started:.1f} s"] if time.process_time() - started > MOST_SECONDS else []
    if isinstance(done.exception, Reached) or done.exit_code == 0:
        return wrong
    if done.exit_code != 2 or not isinstance(done.exception, SystemExit):
        return [*wrong, f"ended with {done.exit_code}, {done.exception!r}"]
    lines = done.stderr.removesuffix("\n").removeprefix("error: ").split("\n")
    for line in lines:
        said = line.removeprefix(f"{path}: ")
        if not (NAMED.search(said) and MENDED.search(said)):
            wrong.append(f"names no field or no mend: {line}")
        if len(line) > LONGEST_LINE or not line.isprintable():
            wrong.append(f"is no line to read: {line[:LONGEST_LINE]!r}")
    return wrong


def test_bad_configurations_are_told_by_field_and_mend(entries: Path) -> None:
    print(f"BAD_CONFIGS={FIRST}:{COUNT}")
    shipped = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in SHIPPED]
    found = []
    for seed in range(FIRST, FIRST + COUNT):
        config: BadConfig = draw(seed, shipped)
        entries.write_bytes(config.content)
        for problem in complaints(entries, *COMMANDS[seed % len(COMMANDS)]):
            found.append(f"BAD_CONFIGS={seed}:1 ({'; '.join(config.faults)}) {problem}")
    assert not found, "\n".join(found)


LAUGHS = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 30)
)

MERGED_LAUGHS = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 30)
)

EXPLODING = {
    "lists of lists": (LAUGHS, r"line 5: holds more than 20,000 values, counting what \* repeats"),
    "merges of merges": (MERGED_LAUGHS, r"line \d: holds more than 20,000 values, counting what \* repeats"),
    "a list in itself": ("a: &a [*a]", r"line 1: an anchor \(&\) is repeated by \* inside of itself"),
    "a merge of itself": ("a: &a {<<: *a}", r"line 1: an anchor \(&\) is repeated by \* inside of itself"),
    "brackets": ("a: " + "[" * 100_000, "line 1: nested more than 40 levels deep"),
    "braces": ("{a: " * 30_000, "line 1: nested more than 40 levels deep"),
    "dashes": ("- " * 90_000, "line 1: nested more than 40 levels deep"),
    "a long file": ("project: a\n" + "#" * 200_000, "has more than 200 kB"),
    "a Python object": ("a: !!python/object/apply:os.system [ls]", "'!!python/object/apply:os.system' stands for more"),
    "a set": ("a: !!set {b, c}", "'!!set' stands for more than a plain value"),
    "an equals sign": ("a: =", "'=' stands for more than a plain value; put it in quotation marks"),
    "the 31st of April": ("a: 1\nb: 2024-04-31", "line 2: '2024-04-31' is written like a value of type timestamp"),
    "5,000 digits": ("a: " + "1" * 5000, "line 1: '1+… is written like a value of type int"),
    "a NUL": ("a: b\nc: \0", "line 2: character 0x0000 cannot stand in it; remove it"),
}


@pytest.mark.parametrize("name", EXPLODING)
def test_yaml_that_grows_or_is_more_than_values_is_refused_at_once(name: str, tmp_path: Path) -> None:
    text, told = EXPLODING[name]
    path = tmp_path / "ladder.yaml"
    path.write_text(text, encoding="utf-8")
    started = time.process_time()
    tracemalloc.start()
    with pytest.raises(InputError, match=told) as refused:
        load_config(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(refused.value).startswith(f"{path}: ") and str(refused.value).isprintable()
    assert time.process_time() - started < 1.0 and peak < 20_000_000


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda path: path.mkdir(), r"cannot be read \(Is a directory\); give the path of a YAML file"),
        (lambda path: None, r"cannot be read \(No such file or directory\); give the path"),
        (lambda path: path.symlink_to(path), r"cannot be read \(Too many levels of symbolic links\); give"),
        (lambda path: path.symlink_to("/dev/zero"), "has more than 200 kB, and no configuration has; name"),
        (lambda path: path.write_bytes(b"a: 1\nb: \xe9"), "line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (lambda path: path.write_text("a: 1", encoding="utf-16"), "line 1: byte 0xff is not UTF-8; save"),
        (lambda path: path.write_bytes(b""), r"must be a mapping of fields \(now null\); write"),
    ],
)
def test_what_is_no_file_of_text_is_told(made: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    path = tmp_path / "ladder.yaml"
    made(path)
    with pytest.raises(InputError, match=told):
        load_config(path)


GATE = "{name: N, metric: kl_to_sft_nats, direction: D, threshold: T, failure: f, reason: r}"


def gates(*limits: tuple[str, str, float]) -> str:
    listed = (
        GATE.replace("N", name).replace("D", direction).replace("T", str(bound)) for name, direction, bound in limits
    )
    return f"gates: {{policy: [{', '.join(listed)}]}}"


TABLES = "data: {kind: files, demonstrations: [{path: a}], preferences: [{path: a}], prompts: [{path: a}]}"

CONTRADICTIONS = [
    ("base: {kind: embedded, width: 130, heads: 4}", "'base': width 130 is no multiple of heads 4"),
    ("base: {kind: embedded, window: 256}", "'base': window 256 is longer than max_positions 128"),
    ("base: {kind: embedded, layers: 100000}", "'base.layers': must be less than or equal to 256 (now 100000)"),
    ("policy: {rollout_size: 16}", "'policy': minibatch_size 32 is more than rollout_size 16"),
    (
        "policy: {kl_control: {kind: adaptive, target_nats: 9}}",
        "'policy': kl_control.target_nats 9.0 lies above kl_budget_nats 6.0, where training stops",
    ),
    ("policy: {cliprange: 0}", "'policy.cliprange': must be greater than 0 (now 0); it takes number > 0"),
    ("policy: {sampling: {temperature: 1.0e-9}}", "'policy.sampling': temperature 1e-09 leaves one token all"),
    ("shares: {test: 0.6, judge: 0.5}", "'shares': test and judge shares leave nothing to train on"),
    ("seed: -1", "'seed': must be greater than or equal to 0 (now -1)"),
    ("seed: 10000000000", "'seed' is 10000000000, more than anything here is counted to"),
    ("sft: {epochs: yes}", "'sft.epochs' is true, as YAML also reads yes, no, on and off; write a number"),
    ("sft: {optimiser: {lr: 1.0e-60}}", "'sft.optimiser.lr' is 1e-60, which float32 cannot hold"),
    (
        f"base: {{kind: folder, path: x, date: 0}}\n{TABLES}",
        "'base.date' is 0, which is no date as 2026-01-31 is; write one",
    ),
    (
        'base: {kind: folder, path: "a\\0b"}\n' + TABLES,
        "'base.path' holds the control letter '\\x00'; write it without",
    ),
    ("data: {kind: files, demonstrations: [{path: ''}]}", "'data.demonstrations.0.path': must have at least 1"),
    ("data: {kind: embedded, prompts: 99999}", "'data': the help desk has 30240 prompts, fewer than prompts 99999"),
    ("storage: ''", "'storage' is empty; name a file or folder"),
    ("compute: {address: 'node:99999'}", "'compute': address node:99999 has no port from 1 to 65535"),
    ("compute: {processes: 1000000}", "'compute.processes': must be less than or equal to 1024"),
    (gates(("a", "above", 3), ("b", "below", 2)), "'gates.policy': kl_to_sft_nats cannot be above 3.0 for gate a"),
    (gates(("'what?'", "above", 3)), "'gates.policy.0.name': must match pattern"),
]


@pytest.mark.parametrize(("text", "told"), CONTRADICTIONS)
def test_settings_that_cannot_work_are_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "ladder.yaml"
    path.write_text(f"project: contradicts\n{text}\n")
    with pytest.raises(InputError) as refused:
        load_config(path)
    assert told in str(refused.value) and len(str(refused.value).splitlines()) == 1


def refusal(work: Callable[[], object]) -> str:
    try:
        work()
    except (InputError, ValidationError) as error:
        return str(error)
    return ""


def test_what_anchors_repeat_counts_as_often_as_it_is_repeated() -> None:
    four = "a: &a [1, 2, 3]\nb: &b [*a, *a]\nc: [*b, *b]"  # 1 + 3 keys + 4 + 9 + 19 values
    assert load_yaml(four)["c"] == [[[1, 2, 3]] * 2] * 2
    assert "holds more than 20,000 values" in refusal(lambda: load_yaml(LAUGHS))


def test_yes_is_no_number() -> None:
    assert [place for place, _ in misread({"sft": {"epochs": True}}, {"sft": {"epochs": 1}})] == [("sft", "epochs")]
    assert not list(misread({"sft": {"epochs": 1}, "on": True}, {"sft": {"epochs": 1}, "on": True}))


def test_gates_that_no_interval_passes_are_refused() -> None:
    above = Gate(name="a", metric="judge_gain", direction="above", threshold=3.0, failure="f", reason="r")
    below = Gate(name="b", metric="judge_gain", direction="below", threshold=2.0, failure="f", reason="r")
    told = refusal(lambda: GatesConfig(policy=(above, below)))
    assert "judge_gain cannot be above 3.0 for gate a and below 2.0 for gate b" in told
    assert GatesConfig(policy=tuple(gate.model_copy(update={"in_doubt": "pass"}) for gate in (above, below))).policy
    assert GatesConfig(policy=(above, below.model_copy(update={"metric": "reward_gain"}))).policy


@pytest.mark.parametrize(
    ("stage", "metric", "mend"),
    [
        ("policy", "kl_to_sft_nat", "did you mean 'kl_to_sft_nats'?"),
        ("reward_model", "agreemnt", "did you mean 'agreement'?"),
        ("sft", "judge_gain", "it is one of gates.policy"),
        ("data", "zzz", "there are least_source_agreement, prompt_near_duplicate_share, prompt_shift_auc"),
    ],
)
def test_a_gate_on_a_figure_that_nobody_measures_is_refused(stage: str, metric: str, mend: str) -> None:
    gate = Gate(name="a", metric=metric, direction="above", threshold=0.0, failure="f", reason="r")
    told = refusal(lambda: GatesConfig.model_validate({stage: (gate,)}))
    assert f"a: metric '{metric}' is no figure of {stage}, so its gate could never be judged; {mend}" in told


def test_gates_that_one_figure_can_pass_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "ladder.yaml"
    path.write_text("project: passes\n" + gates(("a", "above", 1), ("b", "below", 2)))
    assert [gate.threshold for gate in load_config(path).gates.policy] == [1.0, 2.0]


def test_a_section_that_is_null_may_be_filled_by_an_override(tmp_path: Path) -> None:
    path = tmp_path / "ladder.yaml"
    path.write_text("project: fills\nsft:\n")
    assert load_config(path, overrides=["sft.adapter.rank=3"]).sft.adapter == AdapterConfig(rank=3)


@pytest.mark.parametrize("override", ["=5", "a..b=1", ".a=1", "sft.=1", "sft", "sft epochs", ""])
def test_an_override_without_a_field_is_told(override: str, tmp_path: Path) -> None:
    path = tmp_path / "ladder.yaml"
    path.write_text("project: overridden")
    with pytest.raises(InputError, match=r"^--set .*: write it as field\.name=value$"):
        load_config(path, overrides=[override])
