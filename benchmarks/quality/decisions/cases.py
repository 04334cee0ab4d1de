"""Six climbs of one project, each with what a person should decide: three are to be promoted, three are not."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

PROJECT = "helpdesk"

Answer = Literal["promote", "do not promote"]

BASIS: Mapping[str, Any] = MappingProxyType(
    {
        "project": PROJECT,
        "seed": 1,
        "threads": 1,
        "data": {"kind": "embedded", "demonstrations": 2600, "preference_prompts": 4400, "prompts": 3600},
        "shares": {"test": 0.15, "judge": 0.3},
        "base": {"kind": "embedded"},
        "sft": {"evaluation_prompts": 300},
        "policy": {"updates": 20, "rollout_size": 128, "beta": 0.15, "kl_budget_nats": 3.5},
    }
)
"""What all climbs share: the embedded world in the sizes of the gate bench, with the default gates."""


class ReaderCase(NamedTuple):
    """A climb whose report a reader decides on.

    Attributes:
        name: for the key; no report says it.
        right: what a person should decide.
        why: what makes that right.
        settings: by dotted field, on top of `BASIS`.
        before, after: commands around the climb, without their `--config`; `after` follows the report.
    """

    name: str
    right: Answer
    why: str
    settings: Mapping[str, Any]
    before: tuple[tuple[str, ...], ...] = ()
    after: tuple[tuple[str, ...], ...] = ()

    @property
    def overrides(self) -> list[str]:
        """Its settings as `--set` takes them."""
        return [f"{field}={json.dumps(value)}" for field, value in self.settings.items()]


def _promote(*models: str) -> tuple[tuple[str, ...], ...]:
    return tuple(("promote", f"{PROJECT}-{model}", "--yes", "--why", "better than before") for model in models)


CASES = (
    ReaderCase(
        "the first policy",
        "promote",
        "there is no champion, and it is better than its SFT model; its training was short",
        {"policy.updates": 6},
        after=_promote("sft", "reward-model", "policy"),
    ),
    ReaderCase(
        "trained to the end",
        "promote",
        "it is better than the champion, whose training was short",
        {},
        after=_promote("policy"),
    ),
    ReaderCase(
        "worse than what runs today",
        "do not promote",
        "it is better than its SFT model and worse than the champion, as its training was cut short",
        {"policy.updates": 5, "policy.evaluate_every": 5},
    ),
    ReaderCase(
        "annotators who like length",
        "do not promote",
        "its reward model and its judge learned from annotators who like long answers, and gates only advise",
        {"data.annotators": {"length_bias": 2.0}, "gates.mode": "advisory"},
    ),
    ReaderCase(
        "too few prompts",
        "do not promote",
        "so few prompts are held out that nothing can be said of it",
        {"data.prompts": 900},
    ),
    ReaderCase(
        "an adaptive price of KL",
        "promote",
        "it is better than the champion, which is the first policy again",
        {"policy.kl_control": {"kind": "adaptive", "target_nats": 2.5, "horizon": 4000}},
        before=(("rollback", f"{PROJECT}-policy", "--yes", "--why", "to look at another recipe"),),
    ),
)
"""In the order in which they are climbed, in one storage, so that stages which two of them share are trained once."""
