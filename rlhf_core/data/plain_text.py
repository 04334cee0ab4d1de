"""Demonstrations and pairs as the plain text that a base is pretrained on."""

from collections.abc import Iterable, Iterator

from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import turns


def training_text(demonstrations: Iterable[Demonstration], pairs: Iterable[Pair]) -> list[str]:
    """Every answer below the turns of its prompt, without roles; of a pair both answers."""
    return [
        "\n".join([*(turn["content"] for turn in turns(prompt)), answer])
        for prompt, answer in _answered(demonstrations, pairs)
    ]


def _answered(demonstrations: Iterable[Demonstration], pairs: Iterable[Pair]) -> Iterator[tuple[str, str]]:
    yield from demonstrations
    for pair in pairs:
        yield pair.prompt, pair.chosen
        yield pair.prompt, pair.rejected
