"""A whole ladder by adapters through the command line, and what configurations of adapters are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from mlflow import MlflowClient
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from flows.config.errors import InputError
from flows.config.loading import load_config
from flows.registry.client import open_registry
from tests.conftest import TINY

LORA = "{rank: 4, alpha: 16}"
LADDER = (
    f"sft.adapter={LORA}",
    "sft.optimiser={lr: 0.01, gradient_checkpointing: true}",
    f"reward_model.adapter={LORA}",
    f"judge.adapter={LORA}",
    f"policy.adapter={LORA}",
    "policy.optimiser={lr: 0.003, gradient_checkpointing: true}",
)


@pytest.mark.slow
def test_a_ladder_by_adapters_leaves_stock_models_and_one_trunk_under_the_reward_models(
    climb: Callable[..., CompletedProcess[str]],
    client_of: Callable[[Path], MlflowClient],
    runs_of: Callable[..., list],  # type: ignore[type-arg]
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = climb(storage, *LADDER)
    assert done.returncode == 0, done.stderr
    client = client_of(storage)
    registry = open_registry("tiny", storage)
    folders = {
        name: registry.folder(registry.pin(f"tiny-{name}/1"))
        for name in ("sft", "reward-model", "judge", "policy", "value")
    }
    for name, folder in folders.items():
        kind = AutoModelForCausalLM if name in ("sft", "policy") else AutoModelForSequenceClassification
        _, told = kind.from_pretrained(folder, output_loading_info=True)
        assert not any(told.values())
    trunks = {}
    for name, folder in folders.items():
        with safe_open(folder / "adapter" / "adapter_model.safetensors", framework="pt") as file:
            trunks[name] = file.metadata()["trunk_sha256"]
    assert trunks["reward-model"] == trunks["judge"] == trunks["policy"] == trunks["value"] != trunks["sft"]
    (policy,) = runs_of(storage, "policy")
    first = client.get_metric_history(policy.info.run_id, "eval_kl_to_sft_nats")[0]
    assert first.step == 0 and first.value == pytest.approx(0.0, abs=1e-5)
    assert policy.data.params["policy.adapter.rank"] == "4"


def refused(tmp_path: Path, *overrides: str) -> str:
    path = tmp_path / "ladder.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(TINY.read_text())))
    with pytest.raises(InputError) as error:
        load_config(path, overrides=overrides)
    return str(error.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("policy.adapter={}", "compute={processes: 2, strategy: fsdp}"), "set compute.strategy to ddp"),
        (("policy.adapter={dropout: 0.1}",), "adapter.dropout 0.1"),
        (("sft.adapter={rank: 0}",), "field 'sft.adapter.rank'"),
        (("sft.optimiser={compiled: true, gradient_checkpointing: true}",), "set it or compiled to false"),
        (("judge.adapter={modules: [q_proj]}",), "field 'judge.adapter.modules' is unknown"),
        (("reward_model={from: models:/other/1, adapter: {}}",), "adapter is for training"),
    ],
)
def test_what_cannot_work_is_refused_with_its_field(tmp_path: Path, overrides: tuple[str, ...], said: str) -> None:
    assert said in refused(tmp_path, *overrides)


def test_an_adapter_of_other_stages_may_be_sharded() -> None:
    shards = "compute={processes: 2, strategy: fsdp}"
    found = load_config(TINY, overrides=("sft.adapter={}", "policy={method: dpo, adapter: {}}", shards))
    assert json.loads(found.model_dump_json())["policy"]["adapter"] == {
        "rank": 16,
        "alpha": 32.0,
        "dropout": 0.0,
        "target_modules": None,
    }
