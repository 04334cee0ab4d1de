"""How large a year is: what lies there at its start, what lands every week, and how long a climb learns."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from rlhf_core.config.base import PretrainConfig


class Batch(NamedTuple):
    """How much is new.

    Attributes:
        demonstrations: prompts with a written answer.
        compared: prompts whose answers are compared with one another.
        prompts: those that the policy answers.
    """

    demonstrations: int
    compared: int
    prompts: int


class Size(NamedTuple):
    """Of a year.

    Attributes:
        name: by which results tell it.
        stock: what the team begins with.
        weekly: what lands every week; demonstrations and prompts only every fourth, so that SFT is retrained then.
        vendor: prompts that a vendor's batch compares.
        responses: answers compared for each prompt.
        rounds: prompts whose two answers by the champion are compared every week.
        asked: prompts whose answers are judged by the gold reward, over topics, questions and styles alike.
        base: the language model that everything starts from.
        settings: of the configuration, on top of what all sizes share.
        failing: settings with which no policy passes its gates.
    """

    name: Literal["small", "tiny"]
    stock: Batch
    weekly: Batch
    vendor: int
    responses: int
    rounds: int
    asked: int
    base: PretrainConfig
    settings: Mapping[str, Any]
    failing: Mapping[str, Any]


EVERY = 4
"""Weeks from one delivery of demonstrations and prompts to the next."""

FREE: Mapping[str, Any] = MappingProxyType(
    {
        "policy.beta": 0.01,
        "policy.kl_budget_nats": None,
        "policy.kl_to_rollout_limit_nats": None,
        "policy.monitor": None,
        "policy.collapse": None,
    }
)
"""Hardly any price of KL, no limit and no watch."""

SMALL = Size(
    name="small",
    stock=Batch(1600, 2600, 1800),
    weekly=Batch(120, 50, 120),
    vendor=400,
    responses=4,
    rounds=40,
    asked=540,
    base=PretrainConfig(width=96),
    settings=MappingProxyType(
        {
            "shares": {"test": 0.2, "judge": 0.3},
            "sft": {"evaluation_prompts": 200},
            "policy": {
                "updates": 16,
                "beta": 0.15,
                "kl_budget_nats": 3.5,
                "evaluate_every": 2,
                "optimiser": {"lr": 1e-4, "eps": 1e-5, "schedule": "linear", "warmup_share": 0.0},
            },
        }
    ),
    failing=MappingProxyType({**FREE, "policy.optimiser.lr": 1e-3}),
)
"""A climb in half a minute to a minute and a half, with the default gates."""


def _measured(name: str, metric: str, direction: str, threshold: float) -> dict[str, Any]:
    told = {"failure": "not measured", "reason": "So little training can promise no more.", "min_samples": 5}
    return {"name": name, "metric": metric, "direction": direction, "threshold": threshold, **told}


TINY = Size(
    name="tiny",
    stock=Batch(150, 150, 120),
    weekly=Batch(20, 20, 20),
    vendor=40,
    responses=3,
    rounds=10,
    asked=108,
    base=PretrainConfig(width=32, layers=1, heads=2, documents=1500, steps=60, batch_size=16),
    settings=MappingProxyType(
        {
            "shares": {"test": 0.2, "judge": 0.3},
            "sft": {"epochs": 1, "evaluation_prompts": 20},
            "reward_model": {"epochs": 1},
            "judge": {"epochs": 1},
            "policy": {"updates": 2, "rollout_size": 16, "minibatch_size": 8, "epochs": 1, "evaluation_prompts": 20},
            "gates": {
                "data": [],
                "sft": [_measured("learned", "held_out_loss_gain", "above", 0.0)],
                "reward_model": [_measured("measured", "agreement", "above", 0.0)],
                "policy": [_measured("kl-budget", "kl_to_sft_nats", "below", 10.0)],
            },
        }
    ),
    failing=MappingProxyType({"gates.policy": [_measured("impossible", "kl_to_sft_nats", "below", -1000.0)]}),
)
"""A climb in seconds that learns nothing useful, to see that the machinery works."""
