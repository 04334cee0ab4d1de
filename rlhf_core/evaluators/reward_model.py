"""Evaluation of a reward model on held-out pairs."""

from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.pair_trees import first_alike, told_apart
from rlhf_core.data.records import Demonstration, Pair, tuning_half
from rlhf_core.data.stress_cases import stress_cases
from rlhf_core.data.tokenizer import encode, load_tokenizer, turns
from rlhf_core.evaluators.evaluation import Evaluation
from rlhf_core.metrics.agreement import floor_hits
from rlhf_core.metrics.calibration import fit_temperature
from rlhf_core.metrics.estimates import Estimate, point
from rlhf_core.metrics.refresh import compare_refresh
from rlhf_core.metrics.reward_model import ScoredPairs
from rlhf_core.metrics.reward_model_evidence import reward_model_evidence, reward_model_figures
from rlhf_core.metrics.stress import stress_table
from rlhf_core.models.ensembles import aggregation, disagreement
from rlhf_core.models.heads import temperature
from rlhf_core.models.loading import load_reward_model, parameters
from rlhf_core.models.precision import to_numpy
from rlhf_core.models.scoring import member_scores, score_trees

STRESSED = 128
"""Prompts at most whose honest answers a stress test makes worse."""


def measure_refresh(
    config: RewardModelConfig, *, reward_model: Path, last: Path, held_out: Sequence[Pair], judge: Path | None = None
) -> dict[str, Estimate]:
    """Measure a refreshed reward model and the one before on labelled answers of the policy that made the refresh due.

    Args:
        config: lengths and precision.
        reward_model: folder of the refreshed reward model.
        last: folder of the reward model before.
        held_out: pairs of answers of the newest policy that no model was trained on.
        judge: folder of the reward model that only measures, if it shall be measured too.

    Returns:
        The estimates of `compare_refresh`.
    """
    folders = {"refreshed": reward_model, "last": last, **({} if judge is None else {"judge": judge})}
    tokenizers = {name: load_tokenizer(str(folder)) for name, folder in folders.items()}
    for tokenizer in tokenizers.values():
        held_out = told_apart(tokenizer, held_out, config.max_response_tokens)
    deltas = {}
    for name, folder in folders.items():
        tokenizer = tokenizers[name]
        deltas[name] = margins(config, load_reward_model(folder, tokenizer), tokenizer, held_out)
    return compare_refresh(held_out, **deltas)


def shown(pairs: Sequence[Pair], deltas: NDArray[np.float64]) -> list[dict[str, str]]:
    """The first pairs with their margins, for people to read."""
    return [
        {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected, "delta": f"{delta:+.2f}"}
        for pair, delta in zip(pairs[:8], deltas[:8], strict=True)
    ]


def evaluate_reward_model(
    config: RewardModelConfig,
    *,
    reward_model: Path,
    train: Sequence[Pair],
    held_out: Sequence[Pair],
    demonstrations: Sequence[Demonstration],
    ceiling: Estimate | None = None,
    tuned: Collection[str] | None = None,
) -> Evaluation:
    """Measure a saved reward model; on the same data the figures are those of its training.

    Args:
        config: lengths and precision; how an ensemble makes one score is stored with it.
        reward_model: folder of the reward model, with its temperature.
        train: pairs that the floors learn from.
        held_out: pairs that no part of it was trained on; those that are told apart are judged.
        demonstrations: whose mean score tells how far the centre has moved.
        ceiling: agreement that a perfect judge would reach on these labels, where that is known.
        tuned: prompts that its temperature was fitted on, whose pairs are not judged; as in training, `tuning_half`
            one unless they are named.

    Returns:
        The estimates of `train_reward_model`, but for that of a length head, which was not saved, and their evidence.
    """
    tokenizer = load_tokenizer(str(reward_model))
    model = load_reward_model(reward_model, tokenizer)
    fit_half, judged_half = (
        told_apart(tokenizer, half, config.max_response_tokens) for half in halves(held_out, tuned)
    )
    judged, scale = score_pairs(config, model, tokenizer, judged_half), temperature(model)
    demonstrated = score_items(model, tokenizer, demonstrations, config) * scale
    fitted = point(scale, len({pair.prompt for pair in fit_half}))
    attacked = stress_test(config, model, tokenizer, judged_half, train)
    return judge_scores(judged, judged_half, train, demonstrations, demonstrated, attacked, fitted, ceiling)


def judge_scores(
    judged: ScoredPairs,
    held_out: Sequence[Pair],
    train: Sequence[Pair],
    demonstrations: Sequence[Demonstration],
    demonstrated: NDArray[np.float64],
    attacked: pa.Table,
    fitted: Estimate,
    ceiling: Estimate | None,
) -> Evaluation:
    """Keep what a reward model says of held-out rows, and measure it by that.

    Args:
        judged: the held-out pairs with their scores, logits as trained.
        held_out: the N pairs.
        train: pairs that the floors learn from.
        demonstrations: the D demonstrations.
        demonstrated: their scores, shape ``[D]``, logits as trained.
        attacked: what `stress_test` gave.
        fitted: the temperature, which other pairs fitted.
        ceiling: as of `evaluate_reward_model`.
    """
    floors = floor_hits(train, held_out, [pair.prompt for pair in held_out])
    evidence = reward_model_evidence(judged, held_out, floors, demonstrations, demonstrated, attacked)
    known = {"temperature": fitted, **({} if ceiling is None else {"ceiling": ceiling})}
    samples = shown(held_out, judged.deltas / fitted.value)
    return Evaluation(reward_model_figures(evidence, known) | known, evidence, samples)


def stress_test(
    config: RewardModelConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    held_out: Sequence[Pair],
    train: Sequence[Pair],
) -> pa.Table:
    """What a model says of answers that were made worse, as `stress_table` keeps it, on at most `STRESSED` prompts.

    Args:
        config: lengths and precision.
        model: with or without a temperature, which changes no order.
        tokenizer: of the model.
        held_out: pairs whose chosen responses are the honest answers.
        train: pairs that say which words chosen responses have more often.
    """
    prompts = set(list(dict.fromkeys(pair.prompt for pair in held_out))[:STRESSED])
    pairs = [pair for pair in held_out if pair.prompt in prompts]
    cases = stress_cases(pairs, train, lambda prompt: turns(prompt)[-1]["content"])
    items = [Demonstration(case.prompt, text) for case in cases for text in (case.honest, case.attack)]
    unique = list(dict.fromkeys(items))
    scores = dict(zip(unique, score_items(model, tokenizer, unique, config), strict=True))
    return stress_table(cases, np.array([scores[item] for item in items]).reshape(-1, 2))


def margins(
    config: RewardModelConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]
) -> NDArray[np.float64]:
    """Chosen minus rejected score of each pair, shape ``[N]``, logits, divided by a stored temperature."""
    return score_pairs(config, model, tokenizer, pairs).deltas / temperature(model)


def score_items(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Demonstration],
    config: RewardModelConfig,
) -> NDArray[np.float64]:
    """Score of each finished response, shape ``[N]``, in logits, divided by the temperature if one is stored.

    Responses that are the same once cut have the same score to the last bit, whichever were computed beside them.
    """
    trees = encode(tokenizer, items, config.lengths)
    return to_numpy(score_trees(model, trees, config.optimiser))[first_alike(trees)]


def score(
    model_path: Path, items: Sequence[Demonstration], config: RewardModelConfig, *, day: date | None = None
) -> list[float]:
    """Calibrated scores of a saved reward model.

    Args:
        model_path: folder that `train_reward_model` wrote.
        items: prompts with responses.
        config: lengths and precision.
        day: what a chat template that reads the clock, and is not pinned, is told; None is today.

    Returns:
        Scores in logits, divided by the stored temperature; 0 is the mean of the demonstrations.
    """
    tokenizer = load_tokenizer(str(model_path), day=day)
    model = load_reward_model(model_path, tokenizer)
    return [float(value) for value in score_items(model, tokenizer, items, config)]


def fitted_temperature(
    config: RewardModelConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]
) -> float:
    """The temperature of a model that stores none, by pairs that it was not trained on.

    Raises:
        ValueError: if there is no pair.
    """
    scored = score_pairs(config, model, tokenizer, pairs)
    return fit_temperature(scored.deltas, scored.shares)


def score_pairs(
    config: RewardModelConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]
) -> ScoredPairs:
    """Pairs as a model scores them, whatever temperature is stored with it."""
    chosen = [Demonstration(pair.prompt, pair.chosen) for pair in pairs]
    rejected = [Demonstration(pair.prompt, pair.rejected) for pair in pairs]
    items = list(dict.fromkeys([*chosen, *rejected]))
    index = {item: position for position, item in enumerate(items)}
    members = member_scores(model, encode(tokenizer, items, config.lengths), config.optimiser)
    return ScoredPairs(
        items=items,
        members=to_numpy(members),
        scores=to_numpy(aggregation(model.config).of(members)),
        spreads=to_numpy(disagreement(members)),
        chosen=[index[item] for item in chosen],
        rejected=[index[item] for item in rejected],
        shares=np.array([pair.share if config.labels == "votes" else 1.0 for pair in pairs]),
    )


def halves(pairs: Sequence[Pair], tuned: Collection[str] | None = None) -> tuple[list[Pair], list[Pair]]:
    """Held-out pairs that fit the temperature, and those that are judged; all pairs of a prompt are in one of them.

    Args:
        pairs: held out.
        tuned: prompts of the first; `tuning_half` unless they are named.
    """
    fitting = tuning_half(pair.prompt for pair in pairs) if tuned is None else tuned
    return [pair for pair in pairs if pair.prompt in fitting], [pair for pair in pairs if pair.prompt not in fitting]


def parameter_ratio(reward_model: Path, policy: Path) -> Estimate:
    """Parameters of a reward model over those of the policy that it scores, or of the SFT model that becomes it.

    A small reward model is fooled by what it cannot judge; Gao et al. (2023) find that larger ones can be optimised
    further before the gold reward falls.

    Args:
        reward_model: folder of the reward model.
        policy: folder of the policy.

    Returns:
        The ratio; it has no sampling error, and n is 1.
    """
    return point(parameters(reward_model) / parameters(policy), 1)
