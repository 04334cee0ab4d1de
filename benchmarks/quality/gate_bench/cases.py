"""The table of the bench: what is broken where, and what is sound."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from benchmarks.common.climbs.recipe import Change, Climb, Fault, Recipe
from benchmarks.quality.gate_bench import changes, faults

Kind = Literal["broken", "healthy", "guarded"]
Half = Literal["choose", "report"]
NOTHING: Mapping[str, Any] = MappingProxyType({})
FREE = {
    "policy.kl_budget_nats": None,
    "policy.kl_to_rollout_limit_nats": None,
    "policy.monitor": None,
    "policy.collapse": None,
}
"""No limit and no watch: what PPO does where nobody looks."""
UNLIMITED = {**FREE, "policy.beta": 0.01, "policy.optimiser.lr": 1e-3}
"""The same with hardly any price of KL and large steps."""
UNTESTED = (faults.NO_SELF_TEST,)
"""For a second climb of what a self-test refuses."""


class Case(NamedTuple):
    """A ladder of the bench.

    Attributes:
        where: stage at which the mistake sits; what is varied, of a healthy one.
        seed: of everything.
        settings: by dotted field, beside those of the bench.
        change: to the data.
        faults: in the code.
        unseen: faults besides, so that the damage is known where a self-test would not let the stage go on.
    """

    name: str
    kind: Kind
    where: str
    seed: int
    settings: Mapping[str, Any] = NOTHING
    change: Change | None = None
    faults: tuple[Fault, ...] = ()
    unseen: tuple[Fault, ...] = ()

    def climbs(self, small: Recipe) -> list[Climb]:
        """The climb, and the one that no self-test stops if there is one.

        Args:
            small: settings of the bench.
        """
        recipe = small.having({**self.settings, "seed": self.seed})
        each = [self.faults, *([self.faults + self.unseen] if self.unseen else [])]
        return [Climb(self.name, recipe, self.change, found) for found in each]


def _broken(name: str, where: str, seed: int, **rest: Any) -> Case:
    return Case(name, "broken", where, seed, **rest)


def _healthy(name: str, varied: str, seed: int, **settings: Any) -> Case:
    return Case(name, "healthy", varied, seed, {name.replace("__", "."): value for name, value in settings.items()})


HEALTHY = (
    _healthy("seed 1", "nothing", 1),
    _healthy("seed 2", "nothing", 2),
    _healthy("seed 3", "nothing", 3),
    _healthy("seed 4", "nothing", 4),
    _healthy("seed 5", "nothing", 5),
    _healthy("seed 6", "nothing", 6),
    _healthy("five heads", "reward model", 1, reward_model__heads=5),
    _healthy("DPO, beta 0.5", "policy", 2, policy={"method": "dpo", "beta": 0.5}),
    _healthy("length head", "reward model", 3, reward_model__debias="length", reward_model__batch_size=8),
    _healthy(
        "adaptive beta", "policy", 4, policy__kl_control={"kind": "adaptive", "target_nats": 2.5, "horizon": 4000}
    ),
    _healthy("more data", "sizes", 7, world__preference_prompts=7000, world__demonstrations=3600),
    _healthy("fewer pairs", "sizes", 8, world__preference_prompts=3600),
    _healthy("narrower model", "sizes", 9, base__width=96),
    _healthy("careless labellers, 10 %", "labels", 2, world__annotators={"careless_share": 0.1}),
)
BROKEN = (
    _broken("labels shuffled", "labels", 1, settings={"world.annotators.careless_share": 1.0}),
    _broken("labels of one source flipped", "labels", 1, change=changes.FLIP_SOURCE),
    _broken("labels shuffled, 40 %", "labels", 2, settings={"world.annotators.careless_share": 0.4}),
    _broken("all labels flipped", "labels", 2, change=changes.FLIP_ALL),
    _broken("annotators like length", "labels", 1, settings={"world.annotators.length_bias": 2.0}),
    _broken("annotators like flattery", "labels", 2, settings={"world.annotators.flattery_bias": 4.0}),
    _broken("reward of the wrong sign", "policy", 1, settings={"policy.reward.model.weight": -1.0}),
    _broken("beta 0, no watch", "policy", 2, settings={**FREE, "policy.beta": 0.0}),
    _broken("reward model undertrained", "reward model", 1, settings={"reward_model.batch_size": 256}),
    _broken(
        "reward model overtrained", "reward model", 2, settings={"reward_model.epochs": 20}, change=changes.FEW_PAIRS
    ),
    _broken("head lost after training", "reward model", 1, faults=(faults.HEAD_LOST,)),
    _broken("head lost on loading", "policy", 2, faults=(faults.HEAD_LOST_ON_THE_WAY,), unseen=UNTESTED),
    _broken("reward model reads 6 tokens", "reward model", 1, settings={"reward_model.max_response_tokens": 6}),
    _broken("scored without end token", "policy", 2, faults=(faults.SCORED_WITHOUT_END,), unseen=UNTESTED),
    _broken("held-out pairs leaked", "data", 1, settings={"reward_model.epochs": 10}, change=changes.LEAK),
    _broken("prompts of one topic", "data", 2, change=changes.ONE_TOPIC),
    _broken("SFT on prompts too", "SFT", 1, faults=(faults.PROMPTS_TOO,)),
    _broken("SFT without end token", "SFT", 2, faults=(faults.NO_END,)),
    _broken("SFT on cut answers", "SFT", 1, change=changes.CUT_DEMONSTRATIONS),
    _broken("SFT at a huge learning rate", "SFT", 2, settings={"sft.optimiser.lr": 0.05}),
    _broken("other template in rollouts", "policy", 1, faults=(faults.OTHER_TEMPLATE_IN_ROLLOUTS,), unseen=UNTESTED),
    _broken("other template in PPO", "policy", 2, faults=(faults.OTHER_TEMPLATE,), unseen=UNTESTED),
    _broken("no KL limit", "policy", 1, settings=UNLIMITED),
    _broken("policy at a huge learning rate", "policy", 2, settings={**FREE, "policy.optimiser.lr": 1e-2}),
    _broken("values from noise", "policy", 1, faults=(faults.VALUE_OF_NOISE,)),
    _broken("stale reference", "policy", 2, faults=(faults.STALE_REFERENCE,), unseen=UNTESTED),
    _broken("prompts drifted", "data", 1, change=changes.DRIFTED),
    _broken("prompts garbled", "data", 2, change=changes.GARBLED),
    _broken("members identical", "reward model", 1, settings={"reward_model.heads": 5}, faults=(faults.SAME_MEMBERS,)),
    _broken("reference moves with the policy", "policy", 2, faults=(faults.REFERENCE_MOVES,), unseen=UNTESTED),
    _broken("advantages of the wrong sign", "policy", 1, faults=(faults.WRONG_ADVANTAGES,)),
    _broken("few prompts over and over", "data", 2, change=changes.REPEATED),
    _broken("reward model at a huge learning rate", "reward model", 1, settings={"reward_model.optimiser.lr": 0.05}),
    _broken("hardly any demonstrations", "SFT", 2, change=changes.LITTLE_TO_IMITATE),
    _broken("DPO at a small beta", "policy", 2, settings={"policy": {"method": "dpo", "beta": 0.1}}),
    _broken("reward model much too small", "reward model", 1, faults=(faults.SMALL_REWARD_MODEL,)),
)
GUARDED = (
    Case("no KL limit, entropy bonus", "guarded", "policy", 1, {**UNLIMITED, "policy.entropy_coef": 0.01}),
    Case("no KL limit, watched for collapse", "guarded", "policy", 1, {**UNLIMITED, "policy.collapse": {}}),
    Case(
        "huge learning rate, watched for collapse",
        "guarded",
        "policy",
        2,
        {**FREE, "policy.optimiser.lr": 1e-2, "policy.collapse": {}},
    ),
)
"""Broken ones with what the recipe has against them; no gate is graded by them."""
CASES = (*HEALTHY[:2], *BROKEN, *HEALTHY[2:], *GUARDED)
"""In the order in which they are climbed: first what the broken ones are compared with."""


def half_of(case: Case) -> Half:
    """Whether a case was looked at when thresholds were chosen; every second one of its kind was."""
    kind = {"broken": BROKEN, "healthy": HEALTHY, "guarded": GUARDED}[case.kind]
    return "choose" if kind.index(case) % 2 == 0 else "report"
