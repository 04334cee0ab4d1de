"""One stage of a climb, called as the flows call the recipe, its result kept under a key of all that decides it."""

import functools
import hashlib
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from pydantic import ConfigDict

import rlhf_core
from benchmarks.common.climbs.data import Data, draw, kept
from benchmarks.common.climbs.recipe import PARENTS, STAGES, Climb, Recipe, StageName
from benchmarks.common.climbs.truth import tell_truth
from flows.storage.locks import exclusive
from rlhf_core import dpo, sft
from rlhf_core.base.embedded import pretrain
from rlhf_core.config import Frozen
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.array_cache import content_key
from rlhf_core.evaluators.policy import halves
from rlhf_core.evaluators.reward_model import parameter_ratio
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.prompt_quality import prompt_figures
from rlhf_core.ppo import train as ppo
from rlhf_core.ppo.answers_file import ANSWERS
from rlhf_core.reward_model import train as reward_model
from rlhf_core.training.stage import Stage, StageResult

JUDGE_SEED_OFFSET = 1000  # as in flows/stages/reward_model.py
REFUSALS = (RuntimeError, ValueError, ArithmeticError)
"""What a stage raises that will not go on; anything else is a mistake of the bench and ends it."""


class Kept(Frozen):
    """What is remembered of a stage beside its model.

    Attributes:
        error: why it would not go on, empty where it finished; then there is no model and no figure.
        seconds: of process time.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    stage: StageName
    key: str
    estimates: dict[str, Estimate] = {}
    series: dict[str, list[float]] = {}
    samples: list[dict[str, str]] = []
    outcome: str = ""
    error: str = ""
    seconds: float = 0.0


class Storage:
    """Where data and stages lie.

    Args:
        folder: made if absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def data(self, climb: Climb, *, changed: bool = True) -> Data:
        """The tables of a climb, with its change or before it."""
        recipe = climb.recipe
        if climb.change is None or not changed:
            key = content_key("data", recipe.world.model_dump(mode="json"), recipe.shares.model_dump(), recipe.seed)
            return kept(self.folder / "data" / f"{key}.pickle", lambda: draw(recipe.world, recipe.shares, recipe.seed))
        return climb.change.apply(self.data(climb, changed=False), recipe.seed)

    def model(self, stage: StageName, key: str) -> Path:
        """The model of a finished stage."""
        folder = self.folder / "stages" / key / "model"
        return folder / "policy" if stage == "policy" else folder

    def answers(self, key: str) -> Path:
        """The answers of every evaluation of a policy stage; DPO writes none."""
        return self.folder / "stages" / key / "model" / ANSWERS

    def find(self, key: str) -> Kept | None:
        """What is remembered of a stage; None where it has not ended."""
        path = self.folder / "stages" / key / "result.json"
        return Kept.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None

    def reach(self, stage: StageName, climb: Climb, keys: Mapping[StageName, str]) -> Kept:
        """A stage of a climb: trained now, or as it was kept; of two processes that need it one waits.

        Args:
            stage: whose parents are finished.
            climb: what is climbed.
            keys: of all its stages.
        """
        key = keys[stage]
        with exclusive(self.folder / "locks" / f"{key}.lock"):
            found = self.find(key)
            if found is None:
                found = self._train(stage, climb, keys)
                path = self.folder / "stages" / key / "result.json"
                path.with_suffix(".part").write_text(found.model_dump_json(indent=1), encoding="utf-8")
                path.with_suffix(".part").replace(path)
        return found

    def _train(self, stage: StageName, climb: Climb, keys: Mapping[StageName, str]) -> Kept:
        folder = self.folder / "stages" / keys[stage]
        shutil.rmtree(folder, ignore_errors=True)  # of a stage that was cut
        folder.mkdir(parents=True)
        parents = {parent: self.model(parent, keys[parent]) for parent in PARENTS[stage]}
        data = self.data(climb, changed=stage != "truth")
        faults = [fault for fault in climb.faults if fault.stage == stage]
        cache = folder / "cache" if faults else self.folder / "cache"  # what a mistake computes no other stage may read
        started = time.process_time()
        with ExitStack() as stack:
            for fault in faults:
                stack.enter_context(fault.active(parents))
            try:
                result = _finish(start(stage, climb.recipe, data, parents, folder / "model", cache))
            except REFUSALS as error:
                spent = time.process_time() - started
                return Kept(stage=stage, key=keys[stage], error=f"{type(error).__name__}: {error}", seconds=spent)
        return Kept(
            stage=stage,
            key=keys[stage],
            estimates=result.estimates,
            series=result.series,
            samples=result.samples,
            outcome=result.outcome,
            seconds=time.process_time() - started,
        )


def start(
    stage: StageName, recipe: Recipe, data: Data, parents: Mapping[StageName, Path], out: Path, cache: Path
) -> Stage:
    """A stage that is ready to be run, as the flow of that stage would start it.

    Args:
        stage: which one.
        recipe: settings of all.
        data: the tables.
        parents: folders of the models that go in.
        out: folder that receives the model.
        cache: folder of what may be computed once.
    """
    seed = recipe.seed
    match stage:
        case "data":
            return _prompts(data)
        case "base":
            return pretrain(recipe.base, out=out, seed=seed)
        case "sft":
            rows = data.demonstrations
            return sft.train_sft(
                recipe.sft, base=parents["base"], train=rows["train"], held_out=rows["test"], out=out, seed=seed
            )
        case "reward_model":
            return _scorer(recipe.reward_model, "train", data, parents["sft"], out, seed, cache)
        case "judge":
            return _scorer(recipe.judge, "judge", data, parents["sft"], out, seed + JUDGE_SEED_OFFSET, cache)
        case "policy":
            return _policy(recipe, data, parents, out, cache)
        case "truth":
            prompts = halves(recipe.policy, data.prompts["test"])[1]
            models = {name: parents[name] for name in PARENTS["truth"]}
            return tell_truth(recipe.policy, **models, prompts=prompts, seed=seed, cache=cache)


def keys_of(climb: Climb, digests: Mapping[str, str]) -> dict[StageName, str]:
    """A key for each stage of a climb, which changes with all that decides its result, the code included.

    Args:
        climb: what is climbed.
        digests: of the parts of its tables.
    """
    recipe, keys = climb.recipe, dict[StageName, str]()
    for stage in STAGES:
        fields = {"policy", "world", "shares"} if stage == "truth" else {stage} - {"data"}
        parts = [
            stage,
            recipe.model_dump(mode="json", include=fields),
            recipe.seed,
            {part: digests[part] for part in reads(stage, recipe)},
            {parent: keys[parent] for parent in PARENTS[stage]},
            [fault.name for fault in climb.faults if fault.stage == stage],
            code_version(),
        ]
        keys[stage] = f"{stage}-{content_key(*parts)[:40]}"
    return keys


def reads(stage: StageName, recipe: Recipe) -> tuple[str, ...]:
    """The parts of the tables that a stage reads."""
    match stage:
        case "data":
            return "prompts.train", "pairs.train"
        case "sft":
            return "demonstrations.train", "demonstrations.test"
        case "reward_model":
            return "pairs.train", "pairs.test", "demonstrations.train", "ceiling"
        case "judge":
            return "pairs.judge", "pairs.test", "demonstrations.train", "ceiling"
        case "policy" if isinstance(recipe.policy, DPOConfig):
            return "pairs.train", "pairs.test", "prompts.test"
        case "policy":
            return "prompts.train", "prompts.test", *(["demonstrations.train"] if recipe.policy.ptx_coef else [])
        case _:
            return ()


@functools.cache
def code_version() -> str:
    """A hash of the sources of the recipe without its gates, which judge what was trained and change none of it."""
    root = Path(rlhf_core.__file__).parent
    sources = [path for path in root.rglob("*.py") if "gates" not in path.relative_to(root).parts]
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in sources)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def _prompts(data: Data) -> Stage:
    """What ingestion measures: the distinct prompts of PPO beside those of the pairs."""
    yield from ()
    of_pairs = dict.fromkeys(pair.prompt for pair in data.pairs["train"])
    return StageResult(
        artifacts={}, estimates=prompt_figures(list(dict.fromkeys(data.prompts["train"])), list(of_pairs))
    )


def _scorer(config: RewardModelConfig, split: str, data: Data, sft: Path, out: Path, seed: int, cache: Path) -> Stage:
    training = reward_model.train_reward_model(
        config,
        init_from=sft,
        train=data.pairs[split],
        held_out=data.pairs["test"],
        demonstrations=data.demonstrations["train"],
        out=out,
        seed=seed,
        ceiling=data.ceiling,
        cache=cache,
    )
    result = yield from training
    ratio = parameter_ratio(result.artifacts["reward_model"], sft)
    return replace(result, estimates=result.estimates | {"parameter_ratio": ratio})


def _policy(recipe: Recipe, data: Data, parents: Mapping[StageName, Path], out: Path, cache: Path) -> Stage:
    config = recipe.policy
    models = {name: parents[name] for name in ("sft", "reward_model", "judge")}
    if isinstance(config, DPOConfig):
        return dpo.train_policy(
            config,
            **models,
            train=data.pairs["train"],
            held_out=data.pairs["test"],
            held_out_prompts=data.prompts["test"],
            out=out,
            seed=recipe.seed,
            cache=cache,
        )
    return ppo.train_policy(
        config,
        **models,
        prompts=data.prompts["train"],
        held_out_prompts=data.prompts["test"],
        demonstrations=data.demonstrations["train"] if config.ptx_coef else (),
        out=out,
        seed=recipe.seed,
        cache=cache,
    )


def _finish(stage: Stage) -> StageResult:
    """Run a stage to its end; its metrics are not kept."""
    while True:
        try:
            next(stage)
        except StopIteration as end:
            result: StageResult = end.value
            return result
