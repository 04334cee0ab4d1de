"""What a reward names is looked for before any work, pinned, and part of what a stage is."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from flows.cli import app
from flows.config.errors import InputError
from flows.config.loading import load_config
from flows.lineage.archive import Archive
from flows.lineage.audit import audit
from flows.lineage.finding import DOUBTS, AuditFinding
from flows.lineage.story import tell
from flows.pipeline.reuse import run_key
from flows.registry.client import open_registry
from flows.registry.differences import differences
from flows.registry.keys import identify, inputs_of
from flows.registry.references import DataRefs, ModelRef
from flows.stages.reward_inputs import RewardInputs, resolve_reward
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.config.reward import ModelConfig, PythonConfig, RewardConfig
from tests.conftest import ROOT, TINY
from tests.flows.toys import Toys

WORDS = "def words(prompts, responses):\n    return [float(len(text.split())) for text in responses]\n"
OWN = PythonConfig(name="own", function="own_rules:words")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of a user's, in a folder that Python looks into."""
    path = tmp_path / "own" / "own_rules.py"
    path.parent.mkdir()
    path.write_text(WORDS)
    monkeypatch.syspath_prepend(str(path.parent))
    sys.modules.pop("own_rules", None)
    importlib.invalidate_caches()
    yield path
    sys.modules.pop("own_rules", None)


def checked(*terms: str) -> tuple[int, str]:
    """Exit code of `rlhf config check` on a reward with these terms, and all that it said."""
    listed = f"policy.reward.terms=[{', '.join(terms)}]"
    done = CliRunner().invoke(app, ["config", "check", "--offline", str(TINY), "--set", listed])
    assert "Traceback" not in done.output
    return done.exit_code, done.output


# Checking a configuration


def test_a_reward_that_can_be_had_is_valid(own: Path) -> None:
    code, said = checked(
        "{kind: python, name: own, function: own_rules:words}",
        "{kind: length, name: brevity, target: 20, weight: 0.02}",
        "{kind: model, name: second, reward_model: models:/other-reward-model/3}",
    )
    assert code == 0
    first, line, *_ = said.splitlines()
    assert first.endswith("valid; project tiny, data embedded, base embedded")
    assert line == (
        "not asked for, in the registry: model other-reward-model/3 of field 'policy.reward.terms.2.reward_model'"
    )


@pytest.mark.parametrize(
    ("source", "term", "expected"),
    [
        (WORDS, "{kind: length, name: brevity, taget: 3}", "field 'policy.reward.terms.1.taget' is unknown; did you"),
        (
            WORDS,
            "{kind: lenght, name: brevity}",
            "field 'policy.reward.terms.1.kind': must be one of contains, regex, length",
        ),
        (WORDS, "{kind: regex, name: x, pattern: '('}", "field 'policy.reward.terms.1.pattern': is no regular expres"),
        (
            WORDS,
            "{kind: python, name: own, function: own_rules:wrods}",
            "field 'policy.reward.terms.1.function': own_rules:wrods: own_rules has no 'wrods'; correct its name",
        ),
        (
            "def words(prompts, responses):\n    raise OSError('no such list')\n",
            "{kind: python, name: own, function: own_rules:words}",
            "field 'policy.reward.terms.1.function': own_rules:words: raised OSError: no such list",
        ),
        (
            "def words(prompts, responses):\n    return 0.5\n",
            "{kind: python, name: own, function: own_rules:words}",
            "returned shape [] for 3 responses; return one number for each",
        ),
        (
            WORDS,
            "{kind: model, name: second, reward_model: absent/folder}",
            "field 'policy.reward.terms.1.reward_model': absent/folder is no folder with a model",
        ),
    ],
)
def test_what_cannot_be_had_is_named_by_field_and_mend(own: Path, source: str, term: str, expected: str) -> None:
    own.write_text(source)
    code, said = checked("{kind: format, name: form, max_lines: 3}", term)
    assert code == 2 and expected in said


# Pinning


@pytest.fixture
def toys(storage: Path) -> Toys:
    return Toys("toy", storage)


def model(reward_model: str) -> RewardConfig:
    return RewardConfig(terms=(ModelConfig(name="second", reward_model=reward_model),))


def test_a_registered_reward_model_is_a_parent_at_the_version_that_it_had(toys: Toys) -> None:
    first, second = (toys.stage("reward-model", text) for text in ("first", "second"))
    toys.registry.set_alias(first, "champion")
    by_alias, by_version = (
        resolve_reward(model(f"models:/toy-reward-model{which}"), toys.registry) for which in ("@champion", "/2")
    )
    assert by_alias.parents == {"reward-second": first} and by_version.parents == {"reward-second": second}
    folders = by_version.model_folders(toys.registry)
    assert (folders["second"] / "weights").read_text() == "second"
    assert by_alias.sources == by_version.sources == {}


def test_a_version_that_is_not_registered_is_named_by_its_field(toys: Toys) -> None:
    expected = r"field 'policy\.reward\.terms\.0\.reward_model': toy-reward-model/7 is not in the registry"
    with pytest.raises(InputError, match=expected):
        resolve_reward(model("models:/toy-reward-model/7"), toys.registry)


def test_a_folder_is_known_by_its_content(toys: Toys, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    first = resolve_reward(model(str(folder)), toys.registry)
    assert first.model_folders(toys.registry) == {"second": folder} and first.parents == {}
    (folder / "config.json").write_text('{"a": 1}')
    assert resolve_reward(model(str(folder)), toys.registry).sources != first.sources


# Identity and lineage


def test_a_changed_rule_is_another_stage(own: Path, toys: Toys) -> None:
    def key(reward: RewardConfig) -> str:
        resolved = resolve_reward(reward, toys.registry)
        return identify("policy", PPOConfig(reward=reward), inputs_of({}, {}, resolved.sources), 1).key

    first = key(RewardConfig(terms=(OWN,)))
    assert key(RewardConfig(terms=(OWN,))) == first
    assert key(RewardConfig(terms=(OWN.model_copy(update={"weight": 2.0}),))) != first
    own.write_text(WORDS.replace("len(text.split())", "len(text)"))
    assert key(RewardConfig(terms=(OWN,))) != first


def test_a_changed_rule_is_another_climb() -> None:
    config, nothing = load_config(TINY), DataRefs(datasets={}, counts={}, report="", ladder_run="", seconds=0.0)
    first, again, second = (run_key("ladder", config, nothing, {}, {"own": digest}) for digest in "112")
    assert first == again != second


def test_sources_are_in_the_lineage_and_audited(own: Path, toys: Toys) -> None:
    def policy() -> ModelRef:
        sources = resolve_reward(RewardConfig(terms=(OWN,)), toys.registry).sources
        return toys.stage("policy", "same", {"sft": sft}, sources=sources)

    sft = toys.stage("sft", "same")
    first = policy()
    own.write_text(f"{WORDS}# another\n")
    second = policy()
    archive = Archive(MlflowClient())
    story = tell(archive, first.label)
    digests = [archive.find(ref.label).sources["own"] for ref in (first, second)]
    assert story.root.sources == {"own": digests[0]} and len(set(digests)) == 2
    assert [line.partition(":")[0] for line in differences(toys.registry.client, second, first)] == ["source.own"]
    assert not any(finding.status in DOUBTS for finding in audit(archive, [story.root]))
    MlflowClient().set_model_version_tag(first.name, first.version, "source.own", digests[1])
    altered = [finding for finding in audit(archive, [archive.find(first.label)]) if finding.status in DOUBTS]
    why = "the version's tags name other code or inputs than its key"
    assert altered == [AuditFinding(first.label, "key", "altered", why)]


# A whole climb


@pytest.mark.slow
def test_a_changed_rule_retrains_the_policy_and_nothing_else(
    climb: Callable[..., CompletedProcess[str]],
    copied_home: Path,
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
    client_of: Callable[[Path], MlflowClient],
    runs_of: Callable[[Path, str], list[Run]],
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{own.parent}")
    rule = "{kind: python, name: own, function: own_rules:words, weight: 0.1, normalise: whiten}"
    second = "{kind: model, name: second, reward_model: models:/tiny-judge/1}"
    reward = f"policy.reward.terms=[{rule}, {second}]"
    done = climb(copied_home, reward)
    assert done.returncode == 0, done.stderr
    assert "trained policy" in done.stdout
    repeated = climb(copied_home, reward)
    assert repeated.returncode == 0 and "nothing to retrain" in repeated.stdout, repeated.stderr
    own.write_text(WORDS.replace("len(text.split())", "len(text)"))
    changed = climb(copied_home, reward)
    assert changed.returncode == 0 and "trained policy" in changed.stdout, changed.stderr

    client = client_of(copied_home)
    tags = [client.get_model_version("tiny-policy", version).tags for version in ("2", "3")]
    assert [found["parent.reward-second"] for found in tags] == ["tiny-judge/1"] * 2
    assert tags[0]["source.own"] != tags[1]["source.own"]
    metrics = [run.data.metrics for run in runs_of(copied_home, "policy")[1:]]
    for found in metrics:
        assert found["final/reward_second_gain"] == pytest.approx(found["final/judge_reward_gain"])
        assert {"reward_own", "reward_total", "eval_reward_own", "final/reward_own"} <= set(found)
    assert metrics[1]["final/reward_own"] > metrics[0]["final/reward_own"] > 0.0  # letters and spaces, then words


@pytest.mark.slow
def test_a_climb_whose_reward_cannot_be_had_does_nothing(
    climb: Callable[..., CompletedProcess[str]], storage: Path
) -> None:
    done = climb(storage, "policy.reward.terms=[{kind: python, name: own, function: absent_rules:words}]")
    assert done.returncode == 2
    assert "field 'policy.reward.terms.0.function': absent_rules:words: absent_rules cannot be imported" in done.stderr
    registry = open_registry("tiny", storage)
    assert registry.client.search_runs([registry.experiment_id]) == []


def test_the_examples_of_the_documentation_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "guide" / "rewards.md").read_text(), flags=re.DOTALL)
    terms, ensemble, gates, measures = blocks
    path = tmp_path / "example.yaml"
    path.write_text(f"project: example\n{ensemble}")
    joined = load_config(path).policy
    assert isinstance(joined, PPOConfig) and joined.disagreement_limit == 0.3
    assert joined.reward.ensemble is not None and joined.reward.ensemble.aggregate == "min"
    path.write_text(f"project: example\n{terms}{gates}{measures}")
    config = load_config(path)
    kinds = {term.kind for term in config.policy.reward.terms}
    assert kinds == {"length", "contains", "regex", "format", "python", "model"}
    assert [gate.metric for gate in config.gates.policy] == ["reward_apology"]
    assert [measure.name for measure in config.outside_measures] == ["vader"]


def test_nothing_is_resolved_where_nothing_is_named(toys: Toys) -> None:
    assert resolve_reward(load_config(TINY).policy.reward, toys.registry) == RewardInputs()


def test_a_limit_on_disagreement_needs_somebody_to_disagree() -> None:
    limit = "policy.disagreement_limit=0.1"
    with pytest.raises(InputError, match=r"a single head disagrees with nobody; set reward_model\.heads to 2 or more"):
        load_config(TINY, overrides=[limit])
    found = load_config(TINY, overrides=[limit, "reward_model.heads=2"]).policy
    assert isinstance(found, PPOConfig) and found.disagreement_limit == 0.1
