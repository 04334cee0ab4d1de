"""A trial at load: what the stock forward says of a few sequences, each alone, is what every way must say."""

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from rlhf_core.data.tokenizer import Tree
from rlhf_core.models.rotary import steady_positions
from rlhf_core.models.trunk import trunk

LEAST_TOKENS = 20
"""Tokens of the longest sequence where nothing in a model depends on length."""

BEYOND = 8
"""Tokens of the longest sequence beyond a window."""

BUDGET = {"cpu": 2**31, "cuda": 2**40}
"""Weights times tokens of the longest sequence: a forward of a tenth of a second. A window that lies beyond is not
tried; rows honour it because what `transformers` says of a mask is taken at its word."""

MOST_TOKENS = 4096

LENGTHS = ("window", "chunk", "block_size", "topk")
"""What the names of settings have in common that say from which length on a model reads otherwise."""

TOLERANCE = 3e-5
"""How far a state or the logits of a token may be off, as a share of their norm. Rounding in float32 was at most 7e-6,
over all families and 32 layers of 1024; the least that was another computation was 8e-5, a cache of Nemotron-H."""


class Trial:
    """Two trees, one with two responses, and what the stock forward says of each sequence alone.

    Args:
        model: with the attention that `transformers` gave it.

    Attributes:
        trees: what is read.
        sequences: ids of each prompt with each response.
        states: final hidden states of these, each ``[N, D]``.

    Raises:
        ValueError: if the model cannot read plain text, gives numbers that are none, or is not causal.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        longest = trial_tokens(model)
        ids = _ids(model.config, longest + 7)
        prompt, rest = ids[: longest - 6], ids[longest - 6 :]
        self.trees = [Tree(prompt, [rest[:6], rest[6:9]]), Tree(rest[9:10], [rest[10:13]])]
        self.sequences = [[*tree.prompt, *response] for tree in self.trees for response in tree.responses]
        try:
            self.states = [_alone(model, sequence) for sequence in self.sequences]
        except Exception as error:  # an architecture may want whatever beside ids
            raise ValueError(f"{name_of(model)}: {type(model).__name__} cannot read plain text ({error})") from error
        if not all(bool(states.isfinite().all()) for states in self.states):
            raise ValueError(f"{name_of(model)}: the model gives numbers that are not finite (NaN or infinite)")
        starts = [len(prompt), *range(longest - 4, longest)]
        if not all(same(_alone(model, self.sequences[0][:start]), self.states[0][:start]) for start in starts):
            raise ValueError(
                f"{name_of(model)}: {type(model).__name__} says something else of a text when more of it follows; RLHF "
                "Ladder trains causal language models, which read from left to right"
            )

    @property
    def row_states(self) -> Tensor:
        """The states as they lie in a row, prompts once, shape ``[N, D]``."""
        return torch.cat([self.states[0], self.states[1][len(self.trees[0].prompt) :], self.states[2]])


def trial_tokens(model: PreTrainedModel) -> int:
    """Tokens of the longest sequence of a trial, beyond all windows that can be afforded."""
    config = model.config.get_text_config()
    possible = min(MOST_TOKENS, *(limit for limit in (_positions(config), steady_positions(config)) if limit))
    affordable = min(BUDGET[model.device.type] // model.num_parameters(), possible)
    wanted = [length + BEYOND for length in _lengths(config)]
    return min(possible, max([LEAST_TOKENS, *(tokens for tokens in wanted if tokens <= affordable)]))


def same(found: Tensor, expected: Tensor) -> bool:
    """Whether vectors of some tokens, shape ``[N, D]``, agree but for rounding."""
    if found.shape != expected.shape:
        return False
    gap = (found - expected).norm(dim=-1)
    return bool((gap <= TOLERANCE * expected.norm(dim=-1)).all())


def name_of(model: PreTrainedModel) -> str:
    """Where a model comes from, or what it is."""
    return model.name_or_path or type(model).__name__


def _alone(model: PreTrainedModel, ids: list[int]) -> Tensor:
    text = torch.tensor([ids], device=model.device)
    output = trunk(model)(input_ids=text, attention_mask=torch.ones_like(text), use_cache=False)
    states: Tensor = output.last_hidden_state[0]
    return states


def _ids(config: PreTrainedConfig, count: int) -> list[int]:
    """Tokens of the vocabulary, the same every time; a policy may write its padding, so that is among them."""
    vocabulary, padding = config.get_text_config().vocab_size, getattr(config, "pad_token_id", None)
    ids: list[int] = torch.randint(vocabulary, (count,), generator=torch.Generator().manual_seed(0)).tolist()
    return ids if padding is None else [*ids[:2], padding, *ids[3:]]


def _lengths(config: PreTrainedConfig) -> list[int]:
    values = {name: getattr(config, name, None) for name in config.to_dict() if any(part in name for part in LENGTHS)}
    return [value for value in values.values() if isinstance(value, int) and not isinstance(value, bool)]


def _positions(config: PreTrainedConfig) -> int:
    return int(getattr(config, "max_position_embeddings", None) or MOST_TOKENS)
