"""The padded way, for models whose layers cannot read a row: each response with its prompt, in the stock forward."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

from rlhf_core.data.packing import Row, lay
from rlhf_core.models.trial import BEYOND, LEAST_TOKENS, Trial, name_of, same
from rlhf_core.models.trunk import cache_name, trunk


def padded_states(model: PreTrainedModel, row: Row) -> Tensor:
    """Final hidden states of a row, shape ``[N, D]``, each sequence by itself, padded at its end.

    What follows a token changes nothing for a causal model, so no padding is seen; a prompt is read once for each of
    its responses.
    """
    queries, keys = (ends.diff().tolist() for ends in row.segments[:2])
    sequences = row.ids[row.segments.indices].split(keys)
    mask = pad_sequence([torch.ones_like(sequence) for sequence in sequences], batch_first=True)
    output = trunk(model)(
        input_ids=pad_sequence(list(sequences), batch_first=True), attention_mask=mask, use_cache=False
    )
    pieces = zip(output.last_hidden_state, queries, keys, strict=True)
    return torch.cat([states[length - asked : length] for states, asked, length in pieces])


class StockCache:
    """What a stock model keeps of B sequences that grow by a token at a time, none of them padded.

    Args:
        model: whose cache it is.
        kept: whether the model's own cache is used; else all is read again for each token.
    """

    def __init__(self, model: PreTrainedModel, *, kept: bool) -> None:
        self._trunk = trunk(model)
        arguments = inspect.signature(self._trunk.forward).parameters
        self._name = cache_name(self._trunk)
        self._takes_positions = "position_ids" in arguments
        self._cache = DynamicCache(config=model.config) if kept else None
        self._read = 0

    def states(self, ids: Tensor) -> Tensor:
        """Final hidden states of the last token of each sequence, shape ``[B, D]``.

        Args:
            ids: all tokens so far, shape ``[B, N]``; more than at the last call.
        """
        if self._cache is None:
            output = self._trunk(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        else:
            options: dict[str, Any] = {self._name: self._cache}
            if self._takes_positions:
                positions = torch.arange(self._read, ids.shape[1], device=ids.device)
                options["position_ids"] = positions.expand(len(ids), -1)
            output = self._trunk(input_ids=ids[:, self._read :], use_cache=True, **options)
            self._read = ids.shape[1]
        states: Tensor = output.last_hidden_state
        return states[:, -1]


@torch.no_grad()
def check_padding(model: PreTrainedModel, trial: Trial) -> None:
    """Test that padding changes nothing.

    Raises:
        ValueError: if it does.
    """
    if not same(padded_states(model, lay(trial.trees, model.device)), trial.row_states):
        raise ValueError(
            f"{name_of(model)}: {type(model).__name__} says something else of a text when a longer one is read beside "
            "it, so it cannot be trained in batches"
        )


@torch.no_grad()
def cache_holds(model: PreTrainedModel, trial: Trial) -> bool:
    """Whether a model says the same of tokens that it reads one by one, by its own cache, from the first to the last.

    Where a trial is long, its middle is read at once.
    """
    ids, longest = torch.tensor([trial.sequences[0]], device=model.device), len(trial.sequences[0])
    lengths = [length for length in range(1, longest + 1) if length <= LEAST_TOKENS or length >= longest - BEYOND]
    cache = StockCache(model, kept=True)
    try:
        states = torch.cat([cache.states(ids[:, :length]) for length in lengths])
    except Exception:  # whatever an architecture makes of a cache that it does not know
        return False
    return same(states, trial.states[0][[length - 1 for length in lengths]])
