"""The arms of the study: settings of climbs, and what each is compared with. Nothing was chosen on the seeds."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.common.climbs.data import Data, draw
from benchmarks.common.climbs.recipe import Change, Climb, Recipe
from rlhf_core.embedded_world.annotators import AnnotatorConfig

SEEDS = (21, 22, 23, 24, 25)
NATS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""KLs at which gold is compared."""
Settings = Mapping[str, Any]
NOTHING: Settings = MappingProxyType({})

RECIPE = Recipe().having({"base.width": 96, "base.layers": 2, "policy.evaluation_prompts": 192, "policy.updates": 20})
"""That of the gate bench with a smaller model, as there are a hundred policies to train."""
BIASED: Settings = {"world.annotators.length_bias": 1.0, "world.annotators.flattery_bias": 0.5}
"""As in docs/evidence/results.md: a logit for ten words, half a logit for a flattering sentence."""
UNLIMITED: Settings = {
    "policy.beta": 0.0,
    "policy.kl_to_rollout_limit_nats": None,
    "policy.kl_budget_nats": 25.0,
    "policy.monitor": None,
    "policy.collapse": None,
    "policy.optimiser.lr": 7e-5,
    "policy.updates": 32,
    "policy.evaluate_every": 2,
}
"""No anchor and no watch, at a quarter of the usual learning rate: at a third, gold of seed 1 peaked before the first
evaluation, at .8 nats. It ends far beyond any peak; a budget changes nothing before it is passed."""
FREE: Settings = UNLIMITED | {"policy.kl_budget_nats": 12.0}
"""The same, ended once it has been seen at all KLs of the comparison."""
MONITORED: Settings = UNLIMITED | {"policy.monitor": {"confidence": 0.95}}
"""The monitor is all that may stop it."""
PATIENT: Settings = UNLIMITED | {"policy.monitor": {"confidence": 0.95, "patience": 4}}
"""It also stops where the judge stalls; thought of on seeds 21 and 22, where the judge flattened and never fell."""
HELD: Settings = {
    "policy.kl_budget_nats": None,
    "policy.monitor": None,
    "policy.collapse": None,
    "policy.updates": 24,
    "policy.evaluate_every": 8,
}
"""Nothing but beta holds it."""
TARGET_NATS = 2.5
ADAPTIVE: Settings = HELD | {
    "policy.kl_control": {"kind": "adaptive", "target_nats": TARGET_NATS, "horizon": 256},
}
"""With a horizon of two rollouts beta changes by a tenth an update at most; with the usual 10,000 responses it would by
a twentieth in the whole run."""
ITERATED: Settings = {
    "policy.beta": 0.05,
    "policy.kl_budget_nats": None,
    "policy.monitor": None,
    "policy.updates": 16,
    "policy.evaluate_every": 8,
}
"""Far enough from the SFT model that the reward model meets answers which it does not know."""


class Arm(NamedTuple):
    """A climb of the study, for every seed.

    Attributes:
        name: what tables and figures call it.
        settings: by dotted field, beside those of the bench's recipe.
        biased: whether annotators are; the judge's too.
        honest_judge: whether the judge alone learns from annotators without bias.
    """

    name: str
    settings: Settings = NOTHING
    biased: bool = True
    honest_judge: bool = False

    def climb(self, recipe: Recipe, seed: int) -> Climb:
        """The climb with one seed.

        Args:
            recipe: settings that all arms share.
            seed: of everything.
        """
        mine = recipe.having({**(BIASED if self.biased else NOTHING), **self.settings, "seed": seed})
        change = Change("honest judge", partial(_honest_judge, recipe=mine)) if self.honest_judge else None
        return Climb(self.name, mine, change)


SINGLE = Arm("one reward model", UNLIMITED)
HEADS = Arm("five heads, mean", FREE | {"reward_model.heads": 5})
REWARDS = (
    SINGLE,
    HEADS,
    Arm("five heads, min", FREE | {"reward_model.heads": 5, "reward_model.aggregate": "min"}),
    Arm("five heads, mean - var / 2", FREE | {"reward_model.heads": 5, "reward_model.aggregate": "uncertainty"}),
    Arm("length head", FREE | {"reward_model.debias": "length", "reward_model.batch_size": 8}),
    Arm("balanced pairs", FREE | {"reward_model.balance": "length"}),
    Arm(
        "length penalty",
        FREE | {"policy.reward.terms": [{"kind": "length", "name": "brevity", "target": 28, "weight": 0.1}]},
    ),
)
"""What PPO maximises. The penalty has the price that the bias puts on a word, which is known in this world only, beyond
the length that gold allows to a plain question."""
PPO = Arm("PPO", {"policy.evaluate_every": 1})
DPO = Arm("DPO", {"policy": {"method": "dpo"}})
HELD_DPO = Arm("DPO, beta 0.5", {"policy": {"method": "dpo", "beta": 0.5}})
METHODS = (PPO, DPO, HELD_DPO)
"""As the bench's recipe has them, PPO with its beta, budget and watches. It is looked at after every update, as four of
them can pass the budget where annotators are biased, which would leave the SFT model. DPO also with five times its
beta, as the default goes far here."""
BETAS = (
    Arm("fixed, 0.15", HELD | {"policy.beta": 0.15}),
    Arm("adaptive from 0.15", ADAPTIVE | {"policy.beta": 0.15}),
    Arm("fixed, 0.05", HELD | {"policy.beta": 0.05}),
    Arm("adaptive from 0.05", ADAPTIVE | {"policy.beta": 0.05}),
)
HONEST = Arm("one reward model, honest annotators", UNLIMITED, biased=False)
MONITORS = {
    "honest": (HONEST, Arm("monitored, honest annotators", MONITORED, biased=False)),
    "biased": (SINGLE, Arm("monitored", MONITORED)),
    "biased, the judge's honest": (SINGLE, Arm("monitored by an honest judge", MONITORED, honest_judge=True)),
    "honest, patient": (HONEST, Arm("patient, honest annotators", PATIENT, biased=False)),
    "biased, patient": (SINGLE, Arm("patient", PATIENT)),
    "biased, the judge's honest, patient": (SINGLE, Arm("patient with an honest judge", PATIENT, honest_judge=True)),
    "biased, five heads": (
        HEADS,
        Arm("five heads, until they disagree", HEADS.settings | {"policy.disagreement_limit": 0.01}),
    ),
}
"""By annotators: the run that nothing stops, and the same one with the monitor, or with a limit on disagreement, which
was chosen on seed 1, where .03 was not reached within 12 nats."""
ARMS = (*REWARDS, *METHODS, HONEST, *(monitored for _, monitored in MONITORS.values()), *BETAS)
"""In the order in which they are climbed with a seed."""
REFRESHED = Arm("refreshed", ITERATED)
"""Where every refresh starts."""


def _honest_judge(data: Data, seed: int, recipe: Recipe) -> Data:
    """The pairs of the judge as annotators without bias label them; all others as they were."""
    world = recipe.world.model_copy(update={"annotators": AnnotatorConfig()})
    return data._replace(pairs={**data.pairs, "judge": draw(world, recipe.shares, seed).pairs["judge"]})
