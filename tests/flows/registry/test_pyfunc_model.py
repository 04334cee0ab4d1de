"""What MLflow loads from the registry, in a process that has none of this project, says what the project says."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import mlflow
import mlflow.pyfunc
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.families.configurations import configuration
from flows.registry.client import Registry
from flows.registry.packaging import CODE, Serving, package
from flows.registry.references import ModelRef
from flows.storage.digests import folder_digest
from rlhf_core.base import from_text
from rlhf_core.base.language_model import build
from rlhf_core.config.base import LanguageModelConfig
from rlhf_core.config.reward_model import Aggregate, RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.records import Demonstration
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.evaluators.reward_model import score
from rlhf_core.generation.sampling import generate
from rlhf_core.models.classifiers import CODE as WRITTEN
from rlhf_core.models.ensembles import Aggregation, store_aggregation
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.loading import load_reward_model, save
from tests.rlhf_core.planted import payload

Packaged = Callable[[Path, Serving], Path]
Register = Callable[..., ModelRef]

LENGTHS = {"max_prompt_tokens": 12, "max_response_tokens": 9}
TALK = [
    {"role": "user", "content": "hi ."},
    {"role": "assistant", "content": "hello ."},
    {"role": "user", "content": "why ?"},
]
PROMPTS = [
    "how do i mend a kettle ?",
    "why ?",
    "hello there , how can i fix a plant that wilts ? i think i should buy another . a short answer please .",
    json.dumps(TALK),
    '[{"role": "user"} is no list of messages',
    *(f"{'please ' * count}explain why ." for count in range(1, 36)),
]
RESPONSES = ["no .", "check the kettle .", "please " * 20, "", "you should check the bike every two weeks ."] * 8

WITHOUT_THE_PROJECT = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rlhf_core", "flows", "data_contracts"):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Blocker())
uri, tracking, rows, params = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
import mlflow, pandas, torch
torch.set_num_threads(1)
mlflow.set_tracking_uri(tracking)
made = mlflow.pyfunc.load_model(uri).predict(pandas.DataFrame(rows), params=params)
print(made.to_json(orient="columns"))
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
kind = AutoModelForCausalLM if "response" in made else AutoModelForSequenceClassification
print(type(kind.from_pretrained(mlflow.artifacts.download_artifacts(uri))).__name__)
"""


def alone(uri: str, rows: dict[str, list[str]], folder: Path, **params: float) -> tuple[pd.DataFrame, str]:
    """What `predict` says in a process of its own, and the class that `transformers` makes of the same artifact."""
    arguments = [uri, mlflow.get_tracking_uri(), json.dumps(rows), json.dumps(params or None)]
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_THE_PROJECT, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table, kind = done.stdout.splitlines()
    return pd.DataFrame(json.loads(table)).reset_index(drop=True), kind


def test_scores_by_alias_without_the_project_are_those_of_rlhf_score(
    desk: Registry, register: Register, scorer: Path, packaged: Packaged, name: str, tmp_path: Path
) -> None:
    ref = register(name, packaged(scorer, Serving(task="score", **LENGTHS)))
    desk.set_alias(ref, "champion")
    made, kind = alone(f"models:/{name}@champion", {"prompt": PROMPTS, "response": RESPONSES}, tmp_path)
    items = [Demonstration(*both) for both in zip(PROMPTS, RESPONSES, strict=True)]
    expected = score(scorer, items, RewardModelConfig(**LENGTHS))
    assert made["score"].tolist() == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 0.1
    assert kind == "GPT2ForSequenceClassification"


def test_what_texts_write_is_served_as_the_text_that_was_trained_on(packaged: Packaged, tmp_path: Path) -> None:
    """No special token that a user or an answer writes becomes one, and what is no number is an error here too."""
    tokenizer = from_text.build_tokenizer(["why so"], vocabulary=300)
    torch.manual_seed(4)
    base = build(LanguageModelConfig(width=32, layers=2, heads=2), tokenizer, seed=0)
    save(base, tokenizer, tmp_path / "base")
    tokenizer = load_tokenizer(str(tmp_path / "base"))
    model = load_reward_model(tmp_path / "base", tokenizer)
    setattr(model.config, TEMPERATURE, 1.0)
    lengths = {"max_prompt_tokens": 50, "max_response_tokens": 50}
    items = [Demonstration("why <|end|><|user|>", "so <|end|> it"), Demonstration("why", "so")]
    use = Serving(task="score", **lengths)
    served = mlflow.pyfunc.load_model(str(packaged(save(model, tokenizer, tmp_path / "sound" / "rm"), use)))
    asked = pd.DataFrame([item._asdict() for item in items])
    expected = score(tmp_path / "sound" / "rm", items, RewardModelConfig(**lengths))
    assert served.predict(asked)["score"].tolist() == pytest.approx(expected, abs=1e-4)
    torch.nn.init.constant_(model.score.weight, float("inf"))
    broken = mlflow.pyfunc.load_model(str(packaged(save(model, tokenizer, tmp_path / "broken" / "rm"), use)))
    with pytest.raises(ValueError, match="the model's scores are not finite"):
        broken.predict(asked)


@pytest.mark.parametrize("how", ["mean", "min", "uncertainty"])
def test_an_ensemble_is_served_with_the_score_that_its_members_make_together(
    speaker: Path, packaged: Packaged, tmp_path: Path, how: Aggregate
) -> None:
    tokenizer = load_tokenizer(str(speaker))
    torch.manual_seed(3)
    model = load_reward_model(speaker, tokenizer, heads=3)
    setattr(model.config, TEMPERATURE, 1.7)
    store_aggregation(model.config, Aggregation(how, uncertainty_lambda=0.6, centre=0.4))
    folder = save(model, tokenizer, tmp_path / how / "model")
    asked = pd.DataFrame({"prompt": PROMPTS, "response": RESPONSES})
    made = mlflow.pyfunc.load_model(str(packaged(folder, Serving(task="score", **LENGTHS)))).predict(asked)
    items = [Demonstration(*both) for both in zip(PROMPTS, RESPONSES, strict=True)]
    assert made["score"].tolist() == pytest.approx(score(folder, items, RewardModelConfig(**LENGTHS)), abs=1e-4)
    assert list(made.columns) == ["score"]


def with_own_code(speaker: Path, tmp_path: Path) -> Path:
    """A reward model of a family that `transformers` has no classifier for."""
    tokenizer = load_tokenizer(str(speaker))
    torch.manual_seed(3)
    config = configuration("olmoe", vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    model = load_reward_model(tmp_path / "base", tokenizer)
    setattr(model.config, TEMPERATURE, 1.7)
    return save(model, tokenizer, tmp_path / "saved" / "model")


def test_a_reward_model_with_code_of_its_own_is_served(speaker: Path, packaged: Packaged, tmp_path: Path) -> None:
    folder = with_own_code(speaker, tmp_path)
    served = mlflow.pyfunc.load_model(str(packaged(folder, Serving(task="score", **LENGTHS))))
    made = served.predict(pd.DataFrame({"prompt": PROMPTS, "response": RESPONSES}))
    items = [Demonstration(*both) for both in zip(PROMPTS, RESPONSES, strict=True)]
    assert made["score"].tolist() == pytest.approx(score(folder, items, RewardModelConfig(**LENGTHS)), abs=1e-4)


def test_answers_by_version_without_the_project_take_the_likeliest_token(
    register: Register, speaker: Path, packaged: Packaged, name: str, tmp_path: Path
) -> None:
    register(name, packaged(speaker, Serving(task="generate", **LENGTHS)))
    compact = json.dumps(TALK, separators=(",", ":"))
    made, kind = alone(f"models:/{name}/1", {"prompt": [*PROMPTS, compact]}, tmp_path)
    expected = generate(speaker, [*PROMPTS, json.dumps(TALK)], SamplingConfig(temperature=0.0, **LENGTHS), seed=0)
    assert list(zip(made["response"], made["finished"], strict=True)) == expected
    assert made["response"].tolist()[:3] == [by_transformers(speaker, prompt) for prompt in PROMPTS[:3]]
    assert len(set(made["response"])) > 5
    assert kind == "GPT2LMHeadModel"


@torch.inference_mode()
def by_transformers(folder: Path, prompt: str) -> str:
    """The likeliest answer by stock `transformers`, one prompt at a time."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    talk = [{"role": "user", "content": prompt}]
    ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = ids["input_ids"][:, -LENGTHS["max_prompt_tokens"] :]
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=LENGTHS["max_response_tokens"],
        do_sample=False,
    )
    return str(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def test_sampling_follows_its_seed(speaker: Path, packaged: Packaged) -> None:
    model = mlflow.pyfunc.load_model(str(packaged(speaker, Serving(task="generate", **LENGTHS))))
    asked = pd.DataFrame({"prompt": PROMPTS})
    first, again, other = (model.predict(asked, params={"temperature": 1.0, "seed": seed}) for seed in (3, 3, 4))
    assert first.equals(again) and not first.equals(other)
    assert not first.equals(model.predict(asked))


@torch.inference_mode()
def test_values_are_the_head_after_what_is_written_so_far(scorer: Path, packaged: Packaged) -> None:
    model = mlflow.pyfunc.load_model(str(packaged(scorer, Serving(task="value", **LENGTHS))))
    made = model.predict(pd.DataFrame({"prompt": ["why ?", "why ?"], "response": ["", "check the"]}))
    tokenizer = AutoTokenizer.from_pretrained(scorer)
    stock = AutoModelForSequenceClassification.from_pretrained(scorer)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "why ?"}], tokenize=False, add_generation_prompt=True
    )
    for value, written in zip(made["value"], ("", "check the"), strict=True):
        ids = (
            tokenizer(prompt, add_special_tokens=False)["input_ids"]
            + tokenizer(written, add_special_tokens=False)["input_ids"]
        )
        assert value == pytest.approx(float(stock(input_ids=torch.tensor([ids])).logits), abs=1e-5)


@pytest.mark.parametrize("task", ["score", "generate"])
def test_the_page_of_a_version_finds_signature_and_an_example_that_works(
    register: Register, scorer: Path, speaker: Path, packaged: Packaged, name: str, task: str
) -> None:
    use = Serving.model_validate({"task": task, **LENGTHS})
    register(name, packaged(scorer if task == "score" else speaker, use))
    model = mlflow.pyfunc.load_model(f"models:/{name}/1")
    signature = mlflow.models.get_model_info(f"models:/{name}/1").signature
    outputs = {"score": ["score"], "generate": ["response", "finished"]}[task]
    assert signature.inputs.input_names() == ["prompt", "response"][: 2 if task == "score" else 1]
    assert signature.outputs.input_names() == outputs
    assert list(model.predict(model.input_example).columns) == outputs
    with pytest.raises(mlflow.MlflowException, match="missing inputs"):
        model.predict(pd.DataFrame({"question": ["why ?"]}))


def test_the_same_model_is_packaged_the_same_and_its_code_is_under_the_digest(scorer: Path, packaged: Packaged) -> None:
    use = Serving(task="score", **LENGTHS)
    folder = packaged(scorer, use)
    digest = folder_digest(folder)
    package(folder, use)
    assert folder_digest(folder) == digest
    (folder / CODE.name).write_text("print('other code')")
    assert folder_digest(folder) != digest


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not loaded any code of a folder yet, after which that of no other is run."""
    monkeypatch.setattr(AutoModelForSequenceClassification._model_mapping, "_extra_content", {})


def planted(marker: Path) -> str:
    """Python that leaves a mark, under every name that something could ask for."""
    return f"open({str(marker)!r}, 'w').write('it ran')\nclass Planted: pass\ngenerate = Planted\n"


def change(folder: Path, name: str, **settings: object) -> None:
    path = folder / name
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | settings))


def name_code(folder: Path, marker: Path) -> None:
    for path in ("planted.py", "custom_generate/generate.py", "sitecustomize.py"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(planted(marker))
    kinds = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    maps = {**dict.fromkeys(kinds, "planted.Planted"), "AutoTokenizer": ["planted.Planted", "planted.Planted"]}
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        change(folder, name, auto_map=maps, custom_generate="planted")


def name_code_of_a_new_family(folder: Path, marker: Path) -> None:
    name_code(folder, marker)
    change(folder, "config.json", model_type="planted")
    change(folder, "tokenizer_config.json", tokenizer_class="Planted")


def write_beside(folder: Path, marker: Path) -> None:
    (folder / WRITTEN).write_text(planted(marker))
    change(folder, "config.json", auto_map={"AutoModelForSequenceClassification": f"{WRITTEN.stem}.Planted"})


def name_other_code(folder: Path, marker: Path) -> None:
    (folder / "planted.py").write_text(planted(marker))
    change(folder, "config.json", auto_map={"AutoModelForSequenceClassification": "planted.Planted"})


def pickle_weights(folder: Path, marker: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(payload(marker))


def pickle_weights_as_safetensors(folder: Path, marker: Path) -> None:
    (folder / "model.safetensors").write_bytes(payload(marker))


PLANTS = (
    name_code, name_code_of_a_new_family, write_beside, name_other_code, pickle_weights, pickle_weights_as_safetensors
)  # fmt: skip


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("model", ["answers", "scores", "scores by code of its own"])
def test_what_somebody_plants_runs_nowhere_when_a_model_is_served(
    plant: Callable[[Path, Path], None], model: str, speaker: Path, scorer: Path, packaged: Packaged, tmp_path: Path
) -> None:
    marker, made = tmp_path / "ran", {"answers": speaker, "scores": scorer}
    folder = packaged(made[model] if model in made else with_own_code(speaker, tmp_path), Serving(
        task="generate" if model == "answers" else "score", **LENGTHS
    ))  # fmt: skip
    plant(folder, marker)
    with suppress(ValueError, OSError, SafetensorError):
        mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame({"prompt": ["why ?"], "response": ["no ."]}))
    assert not marker.exists()


@pytest.mark.usefixtures("fresh")
def test_code_that_is_planted_beside_a_model_would_run_where_it_is_trusted(speaker: Path, tmp_path: Path) -> None:
    folder = with_own_code(speaker, tmp_path)
    write_beside(folder, tmp_path / "ran")
    with pytest.raises(AttributeError):
        AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    assert (tmp_path / "ran").exists()
