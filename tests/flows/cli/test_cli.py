"""`rlhf` as people type it: mistakes end with code 2 and a line that says how to mend them, models answer and score."""

import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from flows.cli import app, main
from flows.cli.promotion import user
from tests.conftest import ROOT
from tests.rlhf_core.conftest import llama

Rlhf = Callable[..., CompletedProcess[str]]

PROMPT = "how do i mend a kettle ?"
GOOD, BAD = "check the kettle .", "no ."


def refusal(*arguments: str | Path) -> str:
    """What is said on stderr about arguments that end with code 2."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 2, done.output
    assert done.stdout == "" and "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("temperature", ["-1", "nan", "inf"])
def test_a_temperature_is_a_number_from_0(temperature: str, storage: Path) -> None:
    asked = ("generate", "m/1", "why ?", "--temperature", temperature, "--set", f"storage={storage}")
    said = refusal(*asked, "--config", "configs/tiny.yaml")
    assert said.startswith(f"error: --temperature {float(temperature)}: must be a number from 0")


def test_numbers_that_nothing_can_be_drawn_by_are_named_by_their_option() -> None:
    asked = ("generate", "m/1", "why ?", "--config", "configs/tiny.yaml")
    said = refusal(*asked, "--temperature", "1e-320")
    assert said.startswith("error: --temperature 1e-320: leaves one token all probability; take 0, or 0.001 or more")
    for seed in ("-1", "99999999999999999999999"):
        said = refusal(*asked, "--seed", seed)
        assert "'--seed': Input should be" in said and ("to 0" in said or "to 2147483647" in said)


@pytest.mark.parametrize("model", ["tiny-policy/latest", "tiny-policy/1.0", "models:/tiny-reward-model/newest"])
def test_a_mistyped_version_is_not_asked_of_the_hub(model: str) -> None:
    for asked in (("generate", model, "why ?"), ("score", model, "--prompt", "p", "--response", "r")):
        said = refusal(*asked)
        assert (
            "no number: write tiny-policy/1 or tiny-policy@challenger" in said or "is no folder; name a model" in said
        )


def test_a_model_without_a_name_is_not_the_working_folder() -> None:
    assert refusal("generate", "", "why ?").startswith("error: the name of the model is empty; name a folder")


@pytest.mark.parametrize("model", ["../storage", "tiny-policy/-1", "./x/", ".x/y"])
def test_what_no_repository_can_be_called_is_not_asked_of_the_hub(model: str) -> None:
    assert refusal("generate", model, "why ?") == (
        f"error: {model} is no folder; name a model as name/version or name@alias\n"
    )


def test_a_setting_of_prefect_that_is_none_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from flows.cli import main; main()", "ingest", "configs/tiny.yaml"]
    done = subprocess.run(
        [*command, "--set", f"storage={tmp_path / 'fresh'}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_LOGGING_LEVEL": "NONSENSE"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: Prefect's setting level: Input should be 'DEBUG', 'INFO'" in done.stderr
    assert done.stderr.endswith("; mend the variable PREFECT_... that sets it\n")


def test_prompts_that_are_not_utf_8_are_told(tmp_path: Path) -> None:
    model = tmp_path / "model"
    llama().save_pretrained(model)
    done = CliRunner().invoke(app, ["generate", str(model)], input=b"hi\n\xff\xfehi\n")
    assert (done.exit_code, done.stderr) == (2, "error: stdin is not UTF-8 (0xff); convert it by `iconv`\n")


def test_a_terminal_that_is_not_utf_8_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "où " * 100, "chosen": "é", "rejected": "日"}))
    command = [sys.executable, "-c", "from flows.cli import main; main()", "data", "inspect", str(tmp_path)]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\\u65e5" in done.stdout and "o\\xf9" in done.stdout


@pytest.fixture(params=["run", "check", "generate", "score"])
def command(request: pytest.FixtureRequest) -> Callable[[Path], list[str | Path]]:
    """Every command that reads a configuration."""
    ask = {
        "run": lambda path: ["run", path],
        "check": lambda path: ["config", "check", path],
        "generate": lambda path: ["generate", "m/1", "why ?", "--config", path],
        "score": lambda path: ["score", "m/1", "--prompt", "p", "--response", "r", "--config", path],
    }
    return ask[request.param]


def test_a_missing_file_is_named(command: Callable[[Path], list[str | Path]], tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    said = refusal(*command(path))
    assert said == f"error: {path}: cannot be read (No such file or directory); give the path of a YAML file\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("project: [tiny", "is not valid YAML"),
        ("- project", "must be a mapping of fields (now a list of 1); write such as `project: my-ladder`"),
        ("seed: 1", "field 'project' is missing; add it"),
        ("project: tiny\nsead: 1", "field 'sead' is unknown; did you mean 'seed'?"),
        ("project: tiny\npolicy: {update: 3}", "field 'policy.update' is unknown; did you mean 'updates'?"),
        ("project: tiny\nbase: {kind: embedded, widht: 3}", "field 'base.widht' is unknown; did you mean 'width'?"),
        (
            "project: tiny\nqqq: 1",
            "field 'qqq' is unknown; remove it; known fields here: audit, base, compute, contract",
        ),
        ("project: tiny\nseed: many", "field 'seed': must be a valid integer"),
        ("project: tiny\nsft: 3", "field 'sft': must be a section, which is a mapping of fields to values (now 3)"),
        (
            "project: tiny\nsft:",
            "field 'sft': must be a section, which is a mapping of fields to values (now null); leave it out, and its "
            "default holds; or write fields of it: adapter, batch_size",
        ),
        (
            "project: tiny\ngates: {data: null}",
            "field 'gates.data': must be a list (now null); leave it out, and its default holds; or write [] for none "
            "at all, or {NAME: null} to leave out one of them",
        ),
        (
            "project: tiny\npolicy: {reward: null}",
            "field 'policy.reward': must be a section, which is a mapping of fields to values (now null); leave it out",
        ),
        (
            "project: Tiny Ladder",
            "field 'project': must match pattern '^[a-z0-9][a-z0-9-]{0,99}$' (now 'Tiny Ladder'); it takes text like",
        ),
        ("project: tiny\ngates: {mode: strict}", "field 'gates.mode': must be 'enforce' or 'advisory' (now 'strict')"),
        (
            "project: tiny\nbase: {kind: fodler}",
            "field 'base.kind': must be one of embedded, from_text, hub, folder, gguf",
        ),
        (
            "project: tiny\npolicy: {method: grpo}",
            "field 'policy.method': must be one of ppo, dpo, imported (now 'grpo'); take one of them",
        ),
        (
            "project: tiny\npolicy: {method: dpo, updates: 3}",
            "field 'policy.updates' is unknown; remove it; known fields here: adapter, answers_per_prompt, batch_size",
        ),
        ("project: tiny\npolicy: {method: dpo, epoch: 3}", "field 'policy.epoch' is unknown; did you mean 'epochs'?"),
        (
            "project: tiny\nreward_model: {from: tiny-reward-model/1}",
            "field 'reward_model.from': 'tiny-reward-model/1' names no registered model; write models:/name/version",
        ),
        (
            "project: tiny\nreward_model: {from: {model: org/name, revision: main branch}}",
            "field 'reward_model.from.revision': must match",
        ),
        (
            "project: tiny\nreward_model: {form: 'models:/a/1'}",
            "field 'reward_model.form' is unknown; did you mean 'from'",
        ),
        (
            "project: tiny\nreward_model: {from: 'models:/a/1', balance: length}",
            "field 'reward_model': balance 'length' weighs pairs of training",
        ),
        (
            "project: tiny\nreward_model: {from: 'models:/a/1'}\njudge: {from: 'models:/a/1'}",
            "field 'judge.from' is reward_model.from, but a judge must be another model; take or train one",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_and_field(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    said = refusal("config", "check", path)
    assert said.startswith(f"error: {path}: ") and expected in said
    assert len(said.splitlines()) == 1


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"project: \xff\xfe")
    assert refusal("config", "check", path).startswith(f"error: {path}: is not valid YAML")


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("project: tiny\nsead: 1\nthreads: 0\n")
    lines = refusal("config", "check", path).splitlines()
    assert len(lines) == 2 and "'sead'" in "".join(lines) and "'threads'" in "".join(lines)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "--set seed: write it as field.name=value"),
        ("seed.deep=1", "--set seed.deep=1: seed is not a section, but 1"),
        ("sft.epoch=1", "field 'sft.epoch' is unknown; did you mean 'epochs'?"),
        ("seed=soon", "field 'seed': must be a valid integer"),
        ("seed=[1", "--set seed=[1: is not valid YAML at line 1: "),
    ],
)
def test_a_bad_override_is_named(override: str, expected: str) -> None:
    said = refusal("config", "check", "configs/tiny.yaml", "--set", override)
    assert said.startswith("error: ") and expected in said


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("hh_rlhf", "hh-rlhf"),
        ("multi_node", "multi-node"),
        ("hh_0_5b", "hh-qwen-0-5b"),
        ("ultrafeedback_8b", "ultrafeedback-8b"),
        ("embedded", "helpdesk"),
        ("embedded_dpo", "helpdesk"),
        ("tiny", "tiny"),
    ],
)
def test_shipped_configurations_are_valid_without_a_network(name: str, project: str) -> None:
    done = CliRunner().invoke(app, ["config", "check", "--offline", f"configs/{name}.yaml"])
    assert done.exit_code == 0, done.output
    first, *others = done.stdout.splitlines()
    assert first.startswith(f"configs/{name}.yaml: valid; project {project}, data ")
    asked = [line.partition(" of field ")[2] for line in others if line.startswith("not asked for, offline: ")]
    assert any("which is taught" in line for line in others) == (project in ("helpdesk", "tiny"))
    on_hub = ["'base'", "'data.demonstrations'", "'data.preferences'", "'data.prompts'"]
    assert asked == (on_hub if name in ("hh_rlhf", "multi_node", "hh_0_5b", "ultrafeedback_8b") else [])


def test_a_check_reads_no_tokenizer_where_there_is_none_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor imports torch for it."""
    monkeypatch.setitem(sys.modules, "flows.pipeline.token_check", None)
    rows = (
        {"prompt": f"Is {n} even?", "completion": "Look.", "chosen": "Divide it.", "rejected": "No."} for n in range(60)
    )
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables = {table: [{"path": f"{tmp_path}/rows.jsonl"}] for table in ("demonstrations", "preferences", "prompts")}
    base = {"kind": "from_text", "vocabulary": 3000}
    (tmp_path / "own.yaml").write_text(json.dumps({"project": "own", "base": base, "data": {"kind": "files"} | tables}))
    done = CliRunner().invoke(app, ["config", "check", "--offline", str(tmp_path / "own.yaml")])
    assert done.exit_code == 0, done.output
    assert "base from_text: its tokenizer of 3,000 tokens is learned from the training text" in done.stdout


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("deploy.schedules.ladder=every monday",), "deploy.schedules.ladder 'every monday': Invalid cron string"),
        (("deploy.iterate=2", "relabel=null"), "field 'relabel' is missing, and another round needs someone to label"),
        (("storage=configs/tiny.yaml/deep",), "tiny.yaml is no folder; name another"),
        (("policy.sampling.engine=vllm",), "field 'policy.sampling.engine': vllm is not installed"),
        (
            ("reward_model.from=models:/other-reward-model/3",),
            "field 'reward_model.from': other-reward-model/3 is not in the registry: there is no ",
        ),
    ],
)
def test_what_would_fail_later_is_refused_by_the_check(overrides: tuple[str, ...], expected: str) -> None:
    settings = [part for override in overrides for part in ("--set", override)]
    assert expected in refusal("config", "check", "configs/tiny.yaml", *settings)


@pytest.mark.parametrize("command", [("run",), ("config", "check")])
def test_a_registered_model_that_is_not_there_is_said_before_anything_is_imported_or_made(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    arguments = [*command, str(ROOT / "configs" / "tiny.yaml"), "--set", "judge.from=models:/other-judge/3"]
    code = (
        "import sys; from typer.testing import CliRunner; from flows.cli import app\n"
        f"done = CliRunner().invoke(app, {arguments!r})\n"
        "print(done.exit_code, sorted({'torch', 'prefect', 'mlflow', 'transformers'} & set(sys.modules)), done.stderr)"
    )
    folder = tmp_path / "work"
    folder.mkdir()
    asked = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert asked.stdout.startswith("2 [] error: field 'judge.from': other-judge/3 is not in the registry: there is no")
    assert list(folder.iterdir()) == []


def test_functions_are_found_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "beside_the_yaml.py").write_text("def words(prompts, responses): return [1.0 for _ in responses]")
    measure = "outside_measures: [{name: words, function: 'beside_the_yaml:words'}]"
    (tmp_path / "own.yaml").write_text(f"project: own\nstorage: {tmp_path / 'storage'}\n{measure}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["rlhf", "config", "check", "--offline", "own.yaml"])
    monkeypatch.setattr(gc, "freeze", lambda: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("own.yaml: valid; project own, ")


def test_an_evaluation_set_that_is_not_there_is_refused_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    sources = ", ".join(f"{table}: [{{path: {tmp_path}/rows.jsonl}}]" for table in ("demonstrations", "preferences"))
    held_out = f"prompts: [{{path: {tmp_path}/rows.jsonl}}], held_out: [{{path: {tmp_path}/absent.jsonl}}]"
    path = tmp_path / "held-out.yaml"
    path.write_text(f"project: held\nbase: {{kind: from_text}}\ndata: {{kind: files, {sources}, {held_out}}}")
    assert "field 'data.held_out': " in refusal("config", "check", "--offline", path)


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "PREFECT_API_URL"])
def test_a_server_that_is_away_is_told_by_the_check_unless_offline(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert "server answers" in refusal("config", "check", "configs/tiny.yaml")
    assert CliRunner().invoke(app, ["config", "check", "--offline", "configs/tiny.yaml"]).exit_code == 0


def test_a_user_without_a_name_is_called_by_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 123456")

    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 123456)
    monkeypatch.setattr("socket.gethostname", lambda: "pod")
    assert user() == "123456@pod"


@pytest.fixture
def ask(rlhf: Rlhf, climbed: CompletedProcess[str], home: Path) -> Rlhf:
    """A command on the registry of the shared climb."""

    def typed(*arguments: str | Path, stdin: str = "") -> CompletedProcess[str]:
        return rlhf(*arguments, "--config", "configs/tiny.yaml", "--set", f"storage={home}", stdin=stdin)

    return typed


@pytest.fixture
def folder_of(
    climbed: CompletedProcess[str], home: Path, client_of: Callable[[Path], MlflowClient]
) -> Callable[[str], Path]:
    """Where the first version of a model lies."""
    client = client_of(home)

    def find(name: str) -> Path:
        source = str(client.get_model_version(name, "1").source).removeprefix("models:/")
        return Path(str(client.get_logged_model(source).artifact_location).removeprefix("file://"))

    return find


@pytest.mark.slow
def test_a_policy_answers_by_version_by_alias_and_from_a_folder(
    ask: Rlhf, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    copied = shutil.copytree(folder_of("tiny-policy"), tmp_path / "policy")
    answers = [ask("generate", model, PROMPT, "why ?") for model in ("tiny-policy/1", "tiny-policy@challenger", copied)]
    assert [done.returncode for done in answers] == [0, 0, 0], answers
    assert answers[0].stdout == answers[1].stdout == answers[2].stdout
    assert len(answers[0].stdout.splitlines()) == 2
    assert answers[0].stderr == "loading tiny-policy/1\n"
    assert {len(done.stderr.splitlines()) for done in answers} == {1}


@pytest.mark.slow
def test_prompts_come_from_stdin_where_none_is_given(ask: Rlhf) -> None:
    typed = ask("generate", "tiny-sft/1", PROMPT, "why ?", "--seed", "3")
    assert typed.returncode == 0 and len(typed.stdout.splitlines()) == 2
    assert ask("generate", "tiny-sft/1", "--seed", "3", stdin=f"{PROMPT}\n\n  why ?\n").stdout == typed.stdout
    assert ask("generate", "tiny-sft/1", PROMPT, "why ?", "--seed", "4").stdout != typed.stdout


@pytest.mark.slow
def test_a_reward_model_scores_by_version_by_alias_and_from_a_folder(
    ask: Rlhf, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    arguments = ("--prompt", PROMPT, "--response", GOOD, "--response", BAD)
    copied = shutil.copytree(folder_of("tiny-reward-model"), tmp_path / "reward-model")
    models = ("tiny-reward-model/1", "tiny-reward-model@challenger", copied)
    scored = [ask("score", model, *arguments) for model in models]
    assert [done.returncode for done in scored] == [0, 0, 0], scored
    assert scored[0].stdout == scored[1].stdout == scored[2].stdout
    assert [line.partition("  ")[2] for line in scored[0].stdout.splitlines()] == [GOOD, BAD]
    told = [float(line.partition("  ")[0]) for line in scored[0].stdout.splitlines()]
    assert told == pytest.approx([by_transformers(copied, text) for text in (GOOD, BAD)], abs=6e-4)


PLAIN = """
import sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
talk = [{"role": "user", "content": sys.argv[2]}]
text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True) + " " + sys.argv[3]
ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
with torch.no_grad():
    logit = float(model(torch.tensor([ids])).logits)
print(logit / model.config.reward_temperature)
"""


def by_transformers(folder: Path, response: str) -> float:
    """The calibrated score as README says that plain `transformers` gives it."""
    command = [sys.executable, "-I", "-c", PLAIN, str(folder), PROMPT, response]
    return float(subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("generate", "tiny-reward-model/1", "why ?"), "is a reward model, which answers no prompts"),
        (("score", "tiny-policy/1", "--prompt", "p", "--response", "r"), "is no reward model, so it scores no answers"),
        (("generate", "tiny-policy@best", "why ?"), "tiny-policy has no alias 'best'"),
        (("generate", "tiny-policy/9", "why ?"), "tiny-policy/9 is not in the registry"),
        (("generate", "policy", "why ?"), "policy is no folder; name a model as name/version or name@alias"),
        (("generate", "configs", "why ?"), "holds no config.json, so it is no model"),
    ],
)  # fmt: skip
def test_what_a_model_cannot_do_is_refused(ask: Rlhf, arguments: tuple[str, ...], expected: str) -> None:
    done = ask(*arguments)
    assert done.returncode == 2, done.stderr
    refusal = done.stderr.removeprefix(f"loading {arguments[1]}\n")
    assert done.stdout == "" and refusal.startswith("error: ") and expected in refusal
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_climb_on_a_bad_configuration_does_nothing(rlhf: Rlhf, tmp_path: Path) -> None:
    done = rlhf("run", "configs/tiny.yaml", "--set", f"storage={tmp_path / 'storage'}", "--set", "polici.updates=1")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: configs/tiny.yaml: field 'polici' is unknown; did you mean 'policy'?\n"
    assert not (tmp_path / "storage").exists()


@pytest.fixture
def champions(rlhf: Rlhf, copied_home: Path) -> Rlhf:
    """A command on a copy of the registry of the shared climb, which it may change."""

    def typed(*arguments: str | Path, stdin: str = "") -> CompletedProcess[str]:
        return rlhf(*arguments, "--config", "configs/tiny.yaml", "--set", f"storage={copied_home}", stdin=stdin)

    return typed


@pytest.mark.slow
def test_a_challenger_becomes_champion_after_a_yes_and_is_listed(champions: Rlhf) -> None:
    unasked = champions("promote", "tiny-reward-model")
    assert unasked.returncode == 2 and "nobody is here to be asked: type --yes" in unasked.stderr
    declined = champions("promote", "tiny-reward-model", stdin="n\n")
    assert declined.returncode == 1 and "champion  none yet" in declined.stdout
    assert json.loads(champions("history", "--json").stdout) == []
    done = champions("promote", "tiny-reward-model", "--why", "the first", "--by", "ann@desk", stdin="y\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("tiny-reward-model/1 is champion\n")
    (move,) = json.loads(champions("history", "tiny-reward-model", "--json").stdout)
    assert (move["previous"], move["version"], move["by"], move["why"]) == (None, "1", "ann@desk", "the first")
    assert "ann@desk" in champions("history").stdout
    refused = champions("rollback", "tiny-reward-model", "--yes")
    assert refused.returncode == 2 and "has no earlier champion" in refused.stderr


@pytest.mark.slow
def test_where_two_people_must_sign_each_signs_by_a_key_of_their_own(
    champions: Rlhf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ("--set", "promotion.two_people=true")
    monkeypatch.setenv("HOME", str(tmp_path))
    keyless = champions("promote", "tiny-policy", "--yes", *both)
    assert keyless.returncode == 2 and "rlhf keys new --own" in keyless.stderr
    for person in ("ada", "bob"):
        assert champions("keys", "new", tmp_path / f"{person}.pem").returncode == 0
        assert champions("keys", "trust", tmp_path / f"{person}.pub", "--name", person).returncode == 0
    monkeypatch.setenv("RLHF_OWN_KEY", str(tmp_path / "ada.pem"))
    promoted = champions("promote", "tiny-policy", "--yes", *both)
    assert promoted.returncode == 0, promoted.stderr
    assert "nothing starts from it yet: only ada signed for it" in promoted.stdout
    again = champions("approve", "tiny-policy", "--yes", *both)
    assert "nothing starts from it yet: only ada signed for it" in again.stdout
    held = champions("audit", *both)
    assert held.returncode == 1 and "tiny-policy/1: ada signed for it" in held.stdout
    monkeypatch.setenv("RLHF_OWN_KEY", str(tmp_path / "bob.pem"))
    approved = champions("approve", "tiny-policy", "--why", "read 50 answers", stdin="y\n")
    assert approved.returncode == 0 and approved.stdout.endswith("tiny-policy/1 is signed for by ada, bob\n")
    newest = json.loads(champions("history", "tiny-policy", "--json").stdout)[0]
    assert (newest["how"], newest["by"], newest["why"]) == ("rlhf approve", "bob", "read 50 answers")
    done = champions("audit", *both)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_version_whose_gates_failed_is_refused_with_code_3_and_forced_with_a_reason(
    champions: Rlhf, copied_home: Path, client_of: Callable[[Path], MlflowClient]
) -> None:
    client = client_of(copied_home)
    for gate, verdict in (("gate.status", "failed"), ("gate.measured", "fail")):
        client.set_model_version_tag("tiny-reward-model", "1", gate, verdict)
    refused = champions("promote", "tiny-reward-model/1", "--yes")
    assert refused.returncode == 3 and "gate measured says fail" in refused.stderr
    unreasoned = champions("promote", "tiny-reward-model/1", "--yes", "--force", "--why", "  ")
    assert unreasoned.returncode == 2 and "--why" in unreasoned.stderr
    assert "champion" not in client.get_registered_model("tiny-reward-model").aliases
    forced = champions("promote", "tiny-reward-model/1", "--yes", "--force", "--why", "a demonstration")
    assert forced.returncode == 0, forced.stderr
    assert "rlhf promote, forced" in champions("history").stdout


@pytest.mark.slow
def test_a_later_version_is_shown_beside_the_champion_and_can_be_gone_back_from(
    champions: Rlhf, climb: Rlhf, copied_home: Path
) -> None:
    assert champions("promote", "tiny-policy", "--yes").returncode == 0
    assert climb(copied_home, "policy.updates=3").returncode == 0
    done = champions("promote", "tiny-policy", "--yes")
    assert done.returncode == 0, done.stderr
    assert "policy.updates: 3, there 2" in done.stdout and "judge_win_rate " in done.stdout
    assert "judge by tiny-judge/1; reward by tiny-reward-model/1" in done.stdout
    back = champions("rollback", "tiny-policy/1", "--yes")
    assert back.returncode == 0 and back.stdout == "tiny-policy/1 is champion again\n"
    refused = champions("rollback", "tiny-policy/2", "--yes")
    assert refused.returncode == 2 and "tiny-policy/2 was no champion before the present one" in refused.stderr
