"""Rounds of iterated RLHF: agreement of the reward model on the newest policy's answers, with and without a refresh."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.common.climbs.data import Data, digests
from benchmarks.common.climbs.recipe import STAGES, Change, Climb, StageName
from benchmarks.common.climbs.stages import Storage, keys_of
from benchmarks.quality.mitigations.record import Record, bounds
from rlhf_core.annotation import sample_choices
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Choice, Pair, decide
from rlhf_core.embedded_world.annotators import annotate
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.evaluators.reward_model import measure_refresh

ROUNDS = 3
ANSWERS = 4
"""Drawn for each prompt."""
FRESH_PROMPTS, HELD_OUT_PROMPTS = 400, 256
SEEDS_APART = 104_729
"""Between the draws of two rounds."""
NAME = "refreshed"
Keys = Mapping[StageName, str]


class _Stopped(RuntimeError):
    """A stage of a round that would not go on."""


def climb_in_rounds(climb: Climb, folder: Path, *, rounds: int = ROUNDS) -> Record:
    """Climb, then label answers of the newest policy, train reward model and policy again, and so on.

    Fresh pairs are added to those before; reward model and policy start from the SFT model in every round.

    Args:
        climb: the first of the climbs.
        folder: of data and stages.
        rounds: refreshes.

    Returns:
        `rounds`: of each refresh what `_agreements` says of held-out answers of the policy that it learned from, and
        what the policies before and after it are worth in gold and KL; `error`, why there are fewer than asked for.
    """
    told, error = list[Record](), ""
    try:
        told.extend(_rounds(climb, Storage(folder), rounds))
    except _Stopped as stop:
        error = str(stop)
    return {"arm": NAME, "seed": climb.recipe.seed, "rounds": told, "error": error}


def _rounds(climb: Climb, storage: Storage, rounds: int) -> Iterator[Record]:
    data = storage.data(climb)
    keys = _reach(storage, climb, data)
    reward_models = [storage.model("reward_model", keys["reward_model"])]
    for turn in range(1, rounds + 1):
        policy, chance = storage.model("policy", keys["policy"]), climb.recipe.seed + SEEDS_APART * turn
        fresh = _choices(policy, climb, data.prompts["train"][:FRESH_PROMPTS], chance)
        unseen = _choices(policy, climb, data.prompts["test"][:HELD_OUT_PROMPTS], chance)
        pairs = [*data.pairs["train"], *label(climb, fresh, chance)]
        data, before = data._replace(pairs={**data.pairs, "train": pairs}), keys
        keys = _reach(storage, climb, data)
        reward_models.append(storage.model("reward_model", keys["reward_model"]))
        config = climb.recipe.reward_model
        yield {
            "round": turn,
            "fresh": len(fresh),
            "held_out": len(unseen),
            "by_annotators": _agreements(config, reward_models, label(climb, unseen, chance + 1)),
            "by_gold": _agreements(config, reward_models, by_gold(unseen)),
            "before": _worth(storage, before),
            "after": _worth(storage, keys),
        }


def label(climb: Climb, choices: Sequence[Choice], seed: int) -> list[Pair]:
    """Pairs by one vote each of the climb's annotators."""
    votes = annotate(climb.recipe.world.annotators, choices, votes=1, seed=seed)
    return [decide(choice, found) for choice, found in zip(choices, votes, strict=True)]


def by_gold(choices: Sequence[Choice]) -> list[Pair]:
    """Pairs by the gold reward; choices that it cannot tell apart are left out."""
    found = []
    for prompt, first, second in choices:
        gap = gold_reward(prompt, first) - gold_reward(prompt, second)
        if gap:
            found.append(Pair(prompt, first, second) if gap > 0 else Pair(prompt, second, first))
    return found


def _reach(storage: Storage, climb: Climb, data: Data) -> dict[StageName, str]:
    """All stages on these tables, trained now or as they were kept."""
    given = climb._replace(change=Change(NAME, lambda *_: data))
    keys = keys_of(given, digests(data))
    for stage in STAGES:
        if error := storage.reach(stage, given, keys).error:
            raise _Stopped(f"{stage}: {error}")
    return keys


def _choices(policy: Path, climb: Climb, prompts: Sequence[str], seed: int) -> list[Choice]:
    return sample_choices(policy, prompts, climb.recipe.policy.sampling, responses_per_prompt=ANSWERS, seed=seed)


def _agreements(
    config: RewardModelConfig, reward_models: Sequence[Path], held_out: Sequence[Pair]
) -> dict[str, list[float]]:
    """Agreement of three reward models with the labels of the same pairs, and what the refresh gained over the others.

    `never` was trained before all rounds; `last` is what the policy was trained against; `refreshed` has learned from
    other answers of that policy.
    """
    first, last, refreshed = reward_models[0], reward_models[-2], reward_models[-1]
    beside_first, beside_last = (
        measure_refresh(config, reward_model=refreshed, last=other, held_out=held_out) for other in (first, last)
    )
    return {
        "never": bounds(beside_first["last_agreement_on_policy"]),
        "last": bounds(beside_last["last_agreement_on_policy"]),
        "refreshed": bounds(beside_last["agreement_on_policy"]),
        "gain_over_never": bounds(beside_first["agreement_on_policy_gain"]),
        "gain_over_last": bounds(beside_last["agreement_on_policy_gain"]),
    }


def _worth(storage: Storage, keys: Keys) -> dict[str, list[float]]:
    """Gains of a climb's policy over the SFT model, and its KL."""
    found = storage.find(keys["truth"])
    estimates = found.estimates if found else {}
    return {name: bounds(estimates[name]) for name in ("gold_gain", "judge_gain", "reward_gain", "kl_to_sft_nats")}
