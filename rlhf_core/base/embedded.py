"""The base model of the embedded world: a small language model of raw text, with its errors and habits."""

import random
from pathlib import Path

from rlhf_core.base.embedded_tokenizer import EOS_TOKEN, build_tokenizer
from rlhf_core.base.language_model import build, fit
from rlhf_core.config.base import PretrainConfig
from rlhf_core.embedded_world import grammar
from rlhf_core.models.loading import save
from rlhf_core.training.stage import Stage, StageResult


def pretrain(config: PretrainConfig, *, out: Path, seed: int) -> Stage:
    """Train tokenizer and base from scratch on generated raw text.

    Args:
        config: model, text and optimiser.
        out: folder that receives the model.
        seed: seed of text, weights and batches.

    Yields:
        `loss_nats` per token, for every optimiser step.

    Returns:
        Artifact `base`.
    """
    tokenizer = build_tokenizer()
    model = build(config, tokenizer, seed=seed)
    stream: list[int] = tokenizer(raw_text(config, seed=seed), add_special_tokens=False)["input_ids"]
    yield from fit(config, model, stream, seed=seed)
    return StageResult(artifacts={"base": save(model, tokenizer, out)})


def raw_text(config: PretrainConfig, *, seed: int) -> str:
    """Notes of facts, lists of questions and chatty posts, one after another."""
    rng = random.Random(seed)
    questions = sorted(grammar.prompts())
    documents = []
    for _ in range(config.documents):
        kind = rng.random()
        if kind < 0.5:
            sentences = _note(config, rng)
        elif kind < 0.75:
            sentences = rng.choices(questions, k=rng.randint(1, 3))
        else:
            sentences = _post(config, rng)
        documents.append(" ".join([*sentences, *([EOS_TOKEN] if rng.random() < config.ends else [])]))
    return " ".join(documents)


def _note(config: PretrainConfig, rng: random.Random) -> list[str]:
    """Facts about one thing, in any order."""
    thing = rng.choice(grammar.THINGS)
    facts = [_fact(config, thing, ask, rng) for ask in rng.sample(grammar.ASKS, k=rng.randint(1, 3))]
    reason = rng.choice(grammar.REASON).replace("<R>", _maybe_other(config, thing, rng).reason)
    return [*facts, reason] if rng.random() < 0.5 else facts


def _fact(config: PretrainConfig, thing: grammar.Thing, ask: grammar.Ask, rng: random.Random) -> str:
    answer = rng.choice(grammar.ANSWERS[ask]).replace("<T>", thing.name)
    return answer.replace("<F>", _maybe_other(config, thing, rng).fact(ask))


def _maybe_other(config: PretrainConfig, thing: grammar.Thing, rng: random.Random) -> grammar.Thing:
    return rng.choice(grammar.THINGS) if rng.random() < config.wrong_facts else thing


def _post(config: PretrainConfig, rng: random.Random) -> list[str]:
    """Small talk around a fact: flattery, filler, opinions."""
    thing = rng.choice(grammar.THINGS)
    premise = rng.choice(grammar.PREMISES)
    talk = [*grammar.POLITE, *grammar.FLATTERY, *grammar.FILLER, *grammar.OVERCONFIDENT, *grammar.HEDGE]
    stance = rng.choice([*grammar.AGREE, *grammar.CORRECT]).replace("<P>", premise)
    closing = rng.choice(grammar.CLOSING).replace("<T>", thing.name)
    middle = [_fact(config, thing, rng.choice(grammar.ASKS), rng)] if rng.random() < 0.5 else []
    return [*rng.choices(talk, k=rng.randint(1, 3)), stance, *middle, closing][: rng.randint(2, 6)]
