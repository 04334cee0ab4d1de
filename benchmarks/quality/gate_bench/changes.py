"""Mistakes in the data: what a careless ingestion, a careless labeller or a changed source makes of sound tables."""

import hashlib
import random
from collections.abc import Callable, Mapping
from typing import TypeVar

from benchmarks.common.climbs.data import Data
from benchmarks.common.climbs.recipe import Change
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.embedded_world import grammar

FLIPPED_SHARE = 0.4
"""Share of the prompts that come from the source whose labels are the wrong way round."""
CUT_WORDS = 8
"""Words of an answer that a limit on the length of a field leaves."""
FEW_PROMPTS = 100
"""Prompts whose pairs are left where most of a table is lost."""
FEW_DEMONSTRATIONS = 60

Row = TypeVar("Row")


def _of_every_split(rows: Mapping[str, list[Row]], change: Callable[[Row], Row]) -> dict[str, list[Row]]:
    return {split: list(map(change, found)) for split, found in rows.items()}


def _flip(pair: Pair) -> Pair:
    return pair._replace(chosen=pair.rejected, rejected=pair.chosen)


def _from_flipped_source(prompt: str) -> bool:
    return hashlib.sha256(f"source\0{prompt}".encode()).digest()[0] < 256 * FLIPPED_SHARE


def _flip_all(data: Data, _: int) -> Data:
    return data._replace(pairs=_of_every_split(data.pairs, _flip))


def _flip_source(data: Data, _: int) -> Data:
    flipped = _of_every_split(data.pairs, lambda pair: _flip(pair) if _from_flipped_source(pair.prompt) else pair)
    return data._replace(pairs=flipped)


def _cut_demonstrations(data: Data, _: int) -> Data:
    def cut(row: Demonstration) -> Demonstration:
        return row._replace(response=" ".join(row.response.split()[:CUT_WORDS]))

    return data._replace(demonstrations=_of_every_split(data.demonstrations, cut))


def _few_demonstrations(data: Data, _: int) -> Data:
    rows = data.demonstrations
    return data._replace(demonstrations={**rows, "train": rows["train"][:FEW_DEMONSTRATIONS]})


def _few_pairs(data: Data, _: int) -> Data:
    return data._replace(pairs={**data.pairs, "train": _first_prompts(data.pairs["train"])})


def _leak(data: Data, _: int) -> Data:
    """Held-out pairs among those that are learned from, most of which are lost."""
    train = [*_first_prompts(data.pairs["train"]), *data.pairs["test"]]
    return data._replace(pairs={**data.pairs, "train": train})


def _one_topic(data: Data, seed: int) -> Data:
    thing = grammar.THINGS[seed % len(grammar.THINGS)].name
    return _train_prompts(data, [text for text in data.prompts["train"] if grammar.prompts()[text].thing == thing])


def _drifted(data: Data, _: int) -> Data:
    """Only users in a hurry with a wrong idea."""
    known = {text: grammar.prompts()[text] for text in data.prompts["train"]}
    return _train_prompts(data, [text for text, ask in known.items() if ask.style == "brief" and ask.premise])


def _garbled(data: Data, seed: int) -> Data:
    """The words of each prompt in another order."""
    rng = random.Random(seed)
    return _train_prompts(
        data, [" ".join(rng.sample(words, len(words))) for words in map(str.split, data.prompts["train"])]
    )


def _repeated_prompts(data: Data, _: int) -> Data:
    """The same few prompts over and over."""
    prompts = data.prompts["train"]
    return _train_prompts(data, (prompts[:24] * len(prompts))[: len(prompts)])


def _train_prompts(data: Data, prompts: list[str]) -> Data:
    return data._replace(prompts={**data.prompts, "train": prompts})


def _first_prompts(pairs: list[Pair]) -> list[Pair]:
    kept = set(list(dict.fromkeys(pair.prompt for pair in pairs))[:FEW_PROMPTS])
    return [pair for pair in pairs if pair.prompt in kept]


FLIP_ALL = Change("all pairs flipped", _flip_all)
FLIP_SOURCE = Change("pairs of one source flipped", _flip_source)
CUT_DEMONSTRATIONS = Change("demonstrations cut", _cut_demonstrations)
LITTLE_TO_IMITATE = Change("most demonstrations lost", _few_demonstrations)
FEW_PAIRS = Change("most pairs lost", _few_pairs)
LEAK = Change("held-out pairs trained on", _leak)
ONE_TOPIC = Change("prompts of one topic", _one_topic)
DRIFTED = Change("prompts of one kind of user", _drifted)
GARBLED = Change("words of prompts in disorder", _garbled)
REPEATED = Change("few prompts over and over", _repeated_prompts)
