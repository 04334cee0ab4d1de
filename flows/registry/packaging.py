"""MLflow packaging of a `transformers` folder: code, signature, input example, requirements."""

import hashlib
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import mlflow.pyfunc
import yaml
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from rlhf_core.config import Frozen
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.models.classifiers import CODE as WRITTEN

CODE = Path(__file__).with_name("pyfunc_model.py")

IMPORTED = ("mlflow", "pandas", "torch", "transformers")

MANIFEST, REQUIREMENTS, ENVIRONMENT = "MLmodel", "requirements.txt", "python_env.yaml"

EXAMPLE, SERVED_EXAMPLE = "input_example.json", "serving_input_example.json"

OF_ONE_WRITING = ("utc_time_created", "model_uuid", "model_id")


Task = Literal["generate", "score", "value"]


class Serving(Frozen):
    """What a model does for who asks it, and the tokens that it keeps of what it is asked."""

    task: Task
    max_prompt_tokens: int
    max_response_tokens: int

    @classmethod
    def within(cls, task: Task, lengths: SamplingConfig | RewardModelConfig) -> "Serving":
        """A task within the lengths that the model was trained with."""
        return cls(
            task=task,
            max_prompt_tokens=lengths.max_prompt_tokens,
            max_response_tokens=lengths.max_response_tokens,
        )


class Form(NamedTuple):
    """What goes into `predict` and comes out of it."""

    signature: ModelSignature
    example: dict[str, str]


PROMPT, RESPONSE = ColSpec(DataType.string, "prompt"), ColSpec(DataType.string, "response")

SAMPLING = ParamSchema([ParamSpec("temperature", DataType.double, 0.0), ParamSpec("seed", DataType.long, 0)])

QUESTION, ANSWER = "how do i mend a kettle ?", "check the plug first ."

FORMS = {
    "generate": Form(
        ModelSignature(Schema([PROMPT]), Schema([RESPONSE, ColSpec(DataType.boolean, "finished")]), SAMPLING),
        {"prompt": QUESTION},
    ),
    "score": Form(
        ModelSignature(Schema([PROMPT, RESPONSE]), Schema([ColSpec(DataType.double, "score")])),
        {"prompt": QUESTION, "response": ANSWER},
    ),
    "value": Form(
        ModelSignature(Schema([PROMPT, RESPONSE]), Schema([ColSpec(DataType.double, "value")])),
        {"prompt": QUESTION, "response": "check the"},
    ),
}


def package(folder: Path, use: Serving) -> None:
    """Put MLflow's files beside those of `transformers`; the same model gets the same files each time.

    Args:
        folder: a model and its tokenizer, as `save_pretrained` wrote them.
        use: what `predict` does.
    """
    form = FORMS[use.task]
    requirements = [f"{name}=={version(name).partition('+')[0]}" for name in IMPORTED]
    environment = {"python": platform.python_version(), "dependencies": [f"-r {REQUIREMENTS}"]}
    example = {"columns": list(form.example), "data": [list(form.example.values())]}
    shutil.copyfile(CODE, folder / CODE.name)
    (folder / REQUIREMENTS).write_text("".join(f"{line}\n" for line in requirements))
    (folder / ENVIRONMENT).write_text(yaml.safe_dump(environment))
    (folder / EXAMPLE).write_text(json.dumps(example))
    (folder / SERVED_EXAMPLE).write_text(json.dumps({"dataframe_split": example}))
    written = folder / WRITTEN
    digest = hashlib.sha256(written.read_bytes()).hexdigest() if written.exists() else None
    (folder / MANIFEST).write_text(yaml.safe_dump(_manifest({**use.model_dump(), "code": digest}, form)))


def _manifest(settings: dict[str, Any], form: Form) -> dict[str, Any]:
    """What MLflow reads first, without what would differ between two writings of the same model."""
    model = Model(
        signature=form.signature,
        saved_input_example_info={
            "type": "dataframe",
            "pandas_orient": "split",
            "artifact_path": EXAMPLE,
            "serving_input_path": SERVED_EXAMPLE,
        },
    )
    mlflow.pyfunc.add_to_model(
        model,
        loader_module="mlflow.pyfunc.loaders.code_model",
        model_code_path=CODE.name,
        model_config=settings,
        python_env=ENVIRONMENT,
    )
    return {name: value for name, value in model.to_dict().items() if name not in OF_ONE_WRITING}
