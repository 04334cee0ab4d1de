"""How MLflow serves a registered model. A copy of this file lies beside the weights; it imports nothing of ours.

MLflow runs it when it loads the model (`mlflow.pyfunc.load_model`); nothing else imports it.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

ROWS_AT_ONCE = 32

ANSWER = "{{ messages[0]['content'] }}"
"""The chat template of an answer alone."""

ROLES = ("system", "user", "assistant")

CODE = "modeling_reward.py"
"""Lies beside a classifier that `transformers` has no class for; written with the model, as this file was."""


class RegisteredModel(PythonModel):
    """Answers prompts, scores answers, or values what is written so far, as `task` of the model's configuration says.

    The configuration also gives the lengths: `max_prompt_tokens` are kept from the end of a prompt,
    `max_response_tokens` from the start of a response.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load tokenizer and weights from the folder of this file."""
        folder = Path(__file__).parent
        self.settings: dict[str, Any] = context.model_config
        kind = AutoModelForCausalLM if self.settings["task"] == "generate" else AutoModelForSequenceClassification
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.allows = self.tokenizer.init_kwargs.get("special_tokens_in_texts") == "allow"
        ours = _is_ours(folder, self.settings.get("code"))
        self.model = kind.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=ours, use_safetensors=True
        ).eval()
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")

    @torch.inference_mode()
    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer, score or value each row.

        Args:
            context: not read.
            model_input: column `prompt`, and `response` unless the model answers. A prompt is plain text, or a list of
                messages as JSON.
            params: for a model that answers, `temperature` of the sampling (0 takes the likeliest token) and `seed`.

        Returns:
            In the order of the rows: `score` in logits, of an ensemble what its members make together, divided by the
            temperature that is stored with the model, 0 is the mean of the demonstrations; or `value` in the same unit;
            or `response` and `finished`, whether it ended by itself.
        """
        prompts = [self._prompt_ids(prompt) for prompt in model_input["prompt"]]
        if self.settings["task"] == "generate":
            return self._answers(prompts, **(params or {}))
        scores = self.settings["task"] == "score"
        responses = [self._response_ids(response, ended=scores) for response in model_input["response"]]
        logits = self._read([[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)])
        if not scores:
            return pd.DataFrame({"value": logits[:, 0].tolist()})
        return pd.DataFrame({"score": (self._together(logits) / self.model.config.reward_temperature).tolist()})

    def _prompt_ids(self, prompt: str) -> list[int]:
        ids = self._ids(_turns(prompt))
        limit = self.settings["max_prompt_tokens"]
        if len(ids) > limit > 1 and ids[0] == self.tokenizer.bos_token_id:
            return [ids[0], *ids[1 - limit :]]
        return ids[-limit:]

    def _response_ids(self, response: str, *, ended: bool) -> list[int]:
        ids = self._ids([{"role": "assistant", "content": response}], chat_template=ANSWER)
        end = [self.tokenizer.eos_token_id] if ended else []
        return [*ids, *end][: self.settings["max_response_tokens"]]

    def _ids(self, conversation: list[dict[str, str]], **template: Any) -> list[int]:
        """Ids of a conversation; a special token that its texts write is spelt out, unless the model allows it."""
        ids: Any = self.tokenizer.apply_chat_template(
            conversation,
            add_generation_prompt=True,
            return_dict=False,
            sanitize_control_tokens=not self.allows,
            **template,
        )
        return list(ids)

    def _read(self, sequences: list[list[int]]) -> Tensor:
        """The heads of a classifier at the last token of each of N sequences, shape ``[N, K]``."""
        logits = torch.cat([self.model(**batch).logits.cpu() for batch in self._batches(sequences, "right")])
        if not logits.isfinite().all():
            raise ValueError("the model's scores are not finite: its weights are damaged; take another version of it")
        return logits

    def _together(self, logits: Tensor) -> Tensor:
        """What the members of a reward model make of each row, shape ``[N]``, as its configuration says."""
        config = self.model.config
        how, centre = getattr(config, "reward_aggregate", "mean"), getattr(config, "reward_centre", 0.0)
        if how == "min":
            return logits.amin(dim=1) - centre
        price = config.reward_uncertainty_lambda if how == "uncertainty" else 0.0
        return logits.mean(dim=1) - price * logits.var(dim=1, correction=0) - centre

    def _answers(self, prompts: list[list[int]], *, temperature: float = 0.0, seed: int = 0) -> pd.DataFrame:
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature {temperature}: must be a number from 0, which takes the likeliest token")
        torch.manual_seed(seed)
        chance = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
        listed = self.model.generation_config.eos_token_id
        stops = {self.tokenizer.eos_token_id, *([listed] if isinstance(listed, int) else listed or ())}
        responses: list[list[int]] = []
        for batch in self._batches(prompts, "left"):
            tokens = self.model.generate(
                **batch,
                max_new_tokens=self.settings["max_response_tokens"],
                eos_token_id=sorted(stops),
                pad_token_id=self.tokenizer.pad_token_id,
                **(chance or {"do_sample": False}),
            )
            responses += tokens[:, batch["input_ids"].shape[1] :].tolist()
        ends = (self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        said = [[token for token in response if token not in ends] for response in responses]
        texts = self.tokenizer.batch_decode(said, skip_special_tokens=not self.allows)
        finished = [not stops.isdisjoint(response) for response in responses]
        return pd.DataFrame({"response": [text.strip() for text in texts], "finished": finished})

    def _batches(self, sequences: list[list[int]], side: str) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(sequences), ROWS_AT_ONCE):
            rows = sequences[start : start + ROWS_AT_ONCE]
            padded = self.tokenizer.pad(
                {"input_ids": rows}, padding_side=side, return_attention_mask=True, return_tensors="pt"
            )
            yield dict(padded.to(self.model.device))


def _is_ours(folder: Path, digest: str | None) -> bool:
    """Whether the only code that the configuration of a folder names is that which was packaged with it."""
    named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auto_map")
    if digest is None or not isinstance(named, dict) or set(named) != {"AutoModelForSequenceClassification"}:
        return False
    beside = str(*named.values()).rpartition(".")[0] == Path(CODE).stem
    return beside and hashlib.sha256((folder / CODE).read_bytes()).hexdigest() == digest


def _turns(prompt: str) -> list[dict[str, str]]:
    """The messages of a prompt: itself as a user turn, or those that it lists as JSON objects of role and content."""
    if prompt.lstrip().startswith("["):
        try:
            talk = [{"role": turn["role"], "content": turn["content"]} for turn in json.loads(prompt)]
        except (ValueError, KeyError, TypeError, RecursionError):
            talk = []
        if talk and all(turn["role"] in ROLES and isinstance(turn["content"], str) for turn in talk):
            return talk
    return [{"role": "user", "content": prompt}]


set_model(RegisteredModel())
