"""The padded way, for models whose layers cannot read a row: each response with its prompt, in the stock forward."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from rlhf_core.data.packing import Row, lay
from rlhf_core.models.trial import Trial, name_of, same
from rlhf_core.models.trunk import trunk

STEPS = 3
"""Tokens that are read one by one in a trial."""


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
    """What a stock model keeps of B sequences that grow by one token at a time, none of them padded.

    Args:
        model: whose cache it is.
        kept: whether the model's own cache is used; else everything is read again for each token.
    """

    def __init__(self, model: PreTrainedModel, *, kept: bool) -> None:
        self._trunk = trunk(model)
        self._kept = kept
        self._cache: object = None
        self._read = 0

    def states(self, ids: Tensor) -> Tensor:
        """Final hidden states of the last token of each sequence, shape ``[B, D]``.

        Args:
            ids: all tokens so far, shape ``[B, N]``; more than at the last call.
        """
        if not self._kept:
            alone: Tensor = self._trunk(input_ids=ids, use_cache=False).last_hidden_state
            return alone[:, -1]
        output = self._trunk(input_ids=ids[:, self._read :], past_key_values=self._cache, use_cache=True)
        self._cache, self._read = output.past_key_values, ids.shape[1]
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
            f"{name_of(model)}: {type(model).__name__} says something else of a text when a longer one is read beside it, "
            "so no batch of it can be trained"
        )


@torch.no_grad()
def cache_holds(model: PreTrainedModel, trial: Trial) -> bool:
    """Whether a model says the same of tokens that it reads one by one, by its own cache."""
    length = min(map(len, trial.sequences[:2]))
    ids = torch.tensor([sequence[:length] for sequence in trial.sequences[:2]], device=model.device)
    cache = StockCache(model, kept=True)
    try:
        found = [cache.states(ids[:, :tokens]) for tokens in range(length - STEPS, length + 1)]
    except Exception:  # whatever an architecture makes of a cache that it does not know
        return False
    expected = [
        torch.stack([states[tokens - 1] for states in trial.states[:2]]) for tokens in range(length - STEPS, length + 1)
    ]
    return all(same(*pair) for pair in zip(found, expected, strict=True))
