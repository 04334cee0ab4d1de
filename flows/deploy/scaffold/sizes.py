"""Sizes that fit a new project: lengths from its data and tokenizer, steps from how much there is and where it runs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from flows.deploy.scaffold.sources import DataSource, prompts_of, texts_of
from rlhf_core.models.model_files import CONFIG, read_document

JUDGED = 400
"""Held-out prompts of pairs that the default gates ask for: 200, beside as many that fit a temperature."""

TEMPLATE_TOKENS = 48
"""What a chat template with a short system prompt adds to a prompt."""

CHARACTERS = 3.0
"""Of a token, where the tokenizer cannot be read: fewer than English has, so that lengths are rather too long."""

COVERED = 0.98
"""Share of the texts that shall not be cut."""

LONGEST = 512
"""Tokens of a prompt or a response, at most; what is longer is cut."""

STEP = 32
POSITIONS = 2048
ACCELERATOR = Path("/dev/nvidiactl")


class TextLengths(NamedTuple):
    """Where prompts and responses are cut, and which share of them is.

    Attributes:
        measured: by the tokenizer, not estimated from characters.
        texts: that were read; without any, the limits are the most.
    """

    max_prompt_tokens: int
    max_response_tokens: int
    prompts_cut: float
    responses_cut: float
    measured: bool
    texts: int


class Sizes(NamedTuple):
    """Numbers of a configuration.

    Attributes:
        test: share of the groups that is held out.
        pair_prompts: different prompts that were compared, of those that were read.
        demonstrations: of those that were read.
        accelerator: whether they are for a GPU.
    """

    lengths: TextLengths
    test: float
    pair_prompts: int
    demonstrations: int
    accelerator: bool

    @property
    def held_out(self) -> int:
        """Prompts of pairs that are held out, about."""
        return round(self.pair_prompts * self.test)

    @property
    def wanted(self) -> int:
        """Those that the default gates ask for."""
        return JUDGED

    @property
    def remarks(self) -> list[str]:
        """What a person should know before the first run."""
        limits = self.lengths
        how = "by the model's tokenizer" if limits.measured else f"estimated, {CHARACTERS:g} characters a token"
        if not limits.texts:
            how = "the most, as no text can be read yet: `rlhf config check` counts what other limits would cut"
        lines = [f"lengths: {limits.max_prompt_tokens} and {limits.max_response_tokens} tokens, {how}"]
        if self.pair_prompts and self.held_out < JUDGED:
            lines.append(
                f"few pairs: they have {self.pair_prompts} different prompts, {self.held_out} of them held out; the "
                f"gates ask for {JUDGED} and may abstain, which ends the climb (`gates: {{mode: advisory}}` goes on)"
            )
        return lines


def fit(sources: Sequence[DataSource], model: Path | None) -> Sizes:
    """Choose the sizes.

    Args:
        sources: of the project.
        model: folder of its base, None where that is not on this machine.
    """
    lengths = _lengths(sources, model)
    pairs = prompts_of(sources, "preferences")
    test = min(max(math.ceil(20 * JUDGED / max(pairs, 1)) / 20, 0.15), 0.4)
    return Sizes(lengths, test, pairs, prompts_of(sources, "demonstrations") or pairs, ACCELERATOR.exists())


def _lengths(sources: Sequence[DataSource], model: Path | None) -> TextLengths:
    tokenizer = None if model is None else _tokenizer(model)
    prompts, responses = (_counts(texts, tokenizer) for texts in texts_of(sources))
    half = (POSITIONS if model is None else _positions(model)) // 2
    most = min(LONGEST, half)
    prompt_limit = _limit([count + TEMPLATE_TOKENS for count in prompts], most)
    response_limit = _limit([count + 1 for count in responses], most)
    return TextLengths(
        prompt_limit,
        response_limit,
        _share_above(prompts, prompt_limit - TEMPLATE_TOKENS),
        _share_above(responses, response_limit - 1),
        tokenizer is not None,
        len(prompts) + len(responses),
    )


def _counts(texts: Sequence[str], tokenizer: Tokenizer | None) -> list[int]:
    """Tokens of each text."""
    if tokenizer is None:
        return [math.ceil(len(text) / CHARACTERS) for text in texts]
    return [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _limit(counts: Sequence[int], most: int) -> int:
    """The least multiple of a step within which most texts stay."""
    wanted = sorted(counts)[math.ceil(COVERED * len(counts)) - 1] if counts else most
    return min(math.ceil(wanted / STEP) * STEP, most)


def _share_above(counts: Sequence[int], limit: int) -> float:
    return sum(count > limit for count in counts) / max(len(counts), 1)


def _tokenizer(model: Path) -> Tokenizer | None:
    file = model / "tokenizer.json"
    return Tokenizer.from_file(str(file)) if file.is_file() else None


def _positions(model: Path) -> int:
    """Tokens that a model can read at once."""
    config = read_document(model / CONFIG)
    text = config.get("text_config")
    settings = {**config, **(text if isinstance(text, dict) else {})}
    found = (settings.get(name) for name in ("max_position_embeddings", "n_positions", "n_ctx"))
    return next((positions for positions in found if type(positions) is int and positions > 1), POSITIONS)
