"""The recipes for models of the hub, climbed as they stand by tiny models of the same family on real text.

The cache of the hub holds a tiny model under the name and revision that a recipe pins, so that its own base is taken;
data come from files of the form that the hub has.
"""

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlparse

import pytest
import torch
import yaml
from mlflow import MlflowClient
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from data_contracts.formats.registry import FORMATS
from rlhf_core.base.from_text import build_tokenizer
from tests.conftest import ROOT, Finished

pytestmark = pytest.mark.slow
ROWS = 200
CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "tie_word_embeddings": True,
    "max_position_embeddings": 1024,
}
SHORT = {
    "shares.test": 0.35,
    "gates.mode": "advisory",
    "sft.evaluation_prompts": 8,
    "sft.sampling.max_prompt_tokens": 64,
    "sft.sampling.max_response_tokens": 16,
    "reward_model.max_prompt_tokens": 64,
    "reward_model.max_response_tokens": 16,
    "judge.max_prompt_tokens": 64,
    "judge.max_response_tokens": 16,
    "policy.sampling.max_prompt_tokens": 64,
    "policy.sampling.max_response_tokens": 16,
    "policy.evaluation_prompts": 8,
}
"""What makes any recipe small."""


class Recipe(NamedTuple):
    """A recipe and its twin.

    Attributes:
        family: of the model.
        rows: the data as the hub has them.
        changes: what makes this one smaller still.
    """

    family: str
    rows: Callable[[], list[dict[str, Any]]]
    changes: dict[str, object]


def hh_rows() -> list[dict[str, Any]]:
    with gzip.open(Path(os.environ["RLHF_DATA"]) / "hh-rlhf" / "harmless-base-sample.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines][:ROWS]


def ultrafeedback_rows() -> list[dict[str, Any]]:
    """Ranked answers of OpenAssistant in the form of UltraFeedback: one pair a prompt, which both sides repeat."""
    rows: dict[str, dict[str, Any]] = {}
    with (Path(os.environ["RLHF_DATA"]) / "oasst" / "en_100_tree.jsonl").open() as lines:
        pairs = [item for line in lines for item in FORMATS["oasst"]["preferences"].convert(json.loads(line))]
    for pair in pairs:
        if isinstance(pair, dict) and len(pair["prompt"]) == 1:
            [turn] = pair["prompt"]
            said = {side: [turn, {"role": "assistant", "content": pair[side]}] for side in ("chosen", "rejected")}
            scores = {"score_chosen": 8.0, "score_rejected": 5.0}
            rows.setdefault(turn["content"], {"prompt": turn["content"], **said, "messages": said["chosen"], **scores})
    return list(rows.values())


RECIPES = {
    "hh_0_5b": Recipe("qwen2", hh_rows, {"policy.updates": 1, "policy.rollout_size": 8, "policy.minibatch_size": 8}),
    "ultrafeedback_8b": Recipe("qwen3", ultrafeedback_rows, {"compute.processes": 1, "policy.best_of_n": 2}),
}


def put_in_cache(cache: Path, settings: dict[str, str], family: str, texts: Iterable[str]) -> None:
    """A tiny base as the hub's cache holds a model at a revision: ChatML, one token for padding and end."""
    folder = cache / f"models--{settings['model'].replace('/', '--')}" / "snapshots" / settings["revision"]
    tokenizer = build_tokenizer(list(texts), vocabulary=600)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]})
    tokenizer.eos_token = tokenizer.pad_token = "<|endoftext|>"
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    end = tokenizer.eos_token_id
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), eos_token_id=end, pad_token_id=end, **SHAPE)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=end, do_sample=True, top_p=0.8)
    model.save_pretrained(folder)


@pytest.mark.skipif("RLHF_DATA" not in os.environ, reason="RLHF_DATA names no folder with the real files")
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_climbs_with_a_tiny_twin(
    name: str, climb: Callable[..., Finished], tmp_path: Path, hub_models: Path
) -> None:
    recipe, path = RECIPES[name], ROOT / "configs" / f"{name}.yaml"
    written = yaml.safe_load(path.read_text())
    rows = recipe.rows()
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    put_in_cache(hub_models, written["base"], recipe.family, map(json.dumps, rows[:50]))
    source = {"path": str(data), "format": written["data"]["preferences"][0]["format"]}
    tables = {"kind": "files", **{kind: [source] for kind in ("demonstrations", "preferences", "prompts")}}
    settings = SHORT | recipe.changes | {"data": json.dumps(tables), "threads": 1}
    done = climb(tmp_path / "storage", *(f"{field}={value}" for field, value in settings.items()), config=path)
    assert done.returncode == 0, done.stderr
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'storage' / 'mlflow.db'}")
    policy = client.get_model_version(f"{written['project']}-policy", "1")
    model = client.get_logged_model(str(policy.source).removeprefix("models:/"))
    folder = Path(urlparse(model.artifact_location).path)
    tokenizer, ends = AutoTokenizer.from_pretrained(folder), GenerationConfig.from_pretrained(folder).eos_token_id
    assert AutoConfig.from_pretrained(folder).model_type == recipe.family
    assert tokenizer.convert_ids_to_tokens(ends) == ["<|im_end|>", "<|endoftext|>"]
    assert tokenizer.pad_token not in ("<|im_end|>", "<|endoftext|>")


class Hub(BaseHTTPRequestHandler):
    """Knows every repository but has none of its files, and gives models of Meta to nobody."""

    def do_GET(self) -> None:
        gated = "meta-llama" in self.path and self.path.endswith("auth-check")
        body = b"[]" if "/tree/" in self.path else b"{}" if gated else b'{"id": "some/name", "siblings": []}'
        self.send_response(403 if gated else 200)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_behind_terms_is_told_before_any_work(
    rlhf: Callable[..., Finished], hub: None, hub_models: Path
) -> None:
    path = ROOT / "configs" / "ultrafeedback_8b.yaml"
    put_in_cache(hub_models, yaml.safe_load(path.read_text())["base"], "qwen3", ["a text"])
    assert rlhf("config", "check", path).returncode == 0
    done = rlhf("config", "check", path, "--set", "base.model=meta-llama/Llama-3.1-8B")
    assert done.returncode == 2
    refused = "field 'base': the hub gives model meta-llama/Llama-3.1-8B@49e3418f only to who accepted its terms"
    assert refused in done.stderr
